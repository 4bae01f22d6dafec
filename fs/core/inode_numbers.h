// InodeNumbers: numbers for new inodes, never given twice in a volume's life.
//
// The store's counter record is ahead of every number given: numbers come from a
// lease, and a lease is used only once the counter behind it is durable (a crash
// may lose inodes, but not the memory that their numbers were seen by somebody). What
// is left of a lease at the end of a mount is never used.
// Thread-safety: all functions; call them without locks.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/mutex.h"
#include "base/result.h"
#include "extent_map/store/store.h"
#include "fs/core/transaction.h"

namespace cofs {

class InodeNumbers {
 public:
  static constexpr uint64_t kLeaseCount = 1 << 20;

  InodeNumbers(const Store& store, Committer& committer,
               uint64_t lease_count = kLeaseCount)
      : store_(store), committer_(committer), lease_count_(lease_count) {}

  // The counter in the store: all numbers in use are below it. kCorrupt.
  static Result<InodeId> ReadCounter(const Store& store);
  // Starts from the counter.
  Status Load();
  // Applies the first lease; the caller commits before the first Take().
  Status TakeFirstLease();
  // Waits for a commit only when numbers are used faster than leases become durable.
  Result<InodeId> Take() EXCLUDES(mutex_);

 private:
  // Applies the lease behind the last one.
  Status TakeLease() REQUIRES(mutex_);

  const Store& store_;
  Committer& committer_;
  const uint64_t lease_count_;

  Mutex mutex_;
  uint64_t next_ GUARDED_BY(mutex_) = 0;
  uint64_t durable_end_ GUARDED_BY(mutex_) = 0;  // numbers below it may be given
  // The newest lease, durable once the committer has committed so many batches.
  uint64_t leased_end_ GUARDED_BY(mutex_) = 0;
  uint64_t leased_count_ GUARDED_BY(mutex_) = 0;
};

}  // namespace cofs
