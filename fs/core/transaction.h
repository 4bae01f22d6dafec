// Transaction: one atomic change of the volume, and Committer, which applies it and
// makes it durable.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"
#include "extent_map/records.h"
#include "extent_map/store/store.h"
#include "fs/core/inode.h"
#include "fs/core/space.h"

namespace cofs {

// Belongs to one thread. Move-only.
class Transaction {
 public:
  Batch& batch() { return batch_; }
  void PutInode(InodeId id, const InodeRecord& record) {
    batch_.Put(InodeKey(id), EncodeInode(record));
  }
  // The batch stops referring to `range`: reusable once it is durable.
  void Free(DeviceRange range) { freed_.push_back(range); }
  const std::vector<DeviceRange>& freed() const { return freed_; }

 private:
  friend class Committer;
  Batch batch_;
  std::vector<DeviceRange> freed_;
};

// Thread-safe.
class Committer {
 public:
  struct Options {
    uint32_t interval_ms = 5000;
    bool sync = false;  // Apply() also commits
    std::function<void(const Error&)> on_failure;  // the volume goes read-only
  };
  Committer(Store& store, Space& space, Options options);
  ~Committer();

  // Writes the batch; then hands what it freed to Space. The caller holds the locks
  // of all inodes that the batch describes. Not durable on return. kReadOnly when the
  // volume is read-only or has latched.
  Status Apply(Transaction&& transaction);
  // Everything applied before the call is durable on return. Waiters share commits.
  // Call it without locks. kIo once a commit has failed, for ever.
  Status Commit();
  // With Options::sync: Commit(), else OK. At the end of an operation, without locks.
  Status CommitIfSync() { return options_.sync ? Commit() : OkStatus(); }

  // From now on Apply() and Commit() answer kReadOnly.
  void LatchReadOnly();
  bool read_only() const { return read_only_.load(std::memory_order_acquire); }
  // The thread that commits every interval_ms when something was applied.
  void StartBackground();
  void StopBackground();

 private:
  void BackgroundLoop();

  Store& store_;
  Space& space_;
  const Options options_;
  std::atomic<bool> read_only_{false};
  std::atomic<uint64_t> applied_count_{0};
  std::atomic<uint64_t> committed_count_{0};
  Mutex mutex_;
  CondVar wake_;
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::thread background_;
};

}  // namespace cofs
