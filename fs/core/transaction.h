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
//
// Invariants:
//  1. Apply() counts a batch after Store::Write() has returned and after Space knows
//     what it freed. Commit() reads the count before Space::BeginCommit(), and that
//     before Store::Commit(): what a commit covers is durable, and what was freed by
//     it is sealed with it.
//  2. One commit at a time; whoever waits meanwhile shares the next.
//  3. The first failure of a write or a commit ends all changes for good: later ones
//     would stand on ground that may not be there after a crash.
class Committer {
 public:
  struct Options {
    uint32_t interval_ms = 5000;
    bool sync = false;  // CommitIfSync() commits
    // The volume goes read-only: called once, from any thread, with locks held.
    std::function<void(const Error&)> on_failure;
    // Called before the first batch that frees something is written: the allocator
    // image of the last unmount must not be used any more. May be empty.
    std::function<Status()> before_first_free;
  };
  Committer(Store& store, Space& space, Options options);
  ~Committer();

  // Writes the batch; then hands what it freed to Space. The caller holds the locks
  // of all inodes that the batch describes. Not durable on return. kReadOnly when the
  // volume is read-only or has latched.
  Status Apply(Transaction&& transaction);
  // Everything applied before the call is durable on return. Waiters share commits.
  // Call it without locks. kIo once a commit has failed, for ever.
  Status Commit() EXCLUDES(mutex_);
  // With Options::sync: Commit(), else OK. At the end of an operation, without locks.
  Status CommitIfSync() { return options_.sync ? Commit() : OkStatus(); }
  // The background thread commits now. Never blocks.
  void CommitSoon() EXCLUDES(mutex_);

  // Batches applied so far. What was applied before count n was read is durable when
  // committed_count() >= n.
  uint64_t applied_count() const {
    return applied_count_.load(std::memory_order_acquire);
  }
  uint64_t committed_count() const {
    return committed_count_.load(std::memory_order_acquire);
  }

  // From now on Apply() and Commit() answer kReadOnly.
  void LatchReadOnly();
  // As after a failed commit: logs, latches, calls on_failure. Only the first counts.
  void Fail(const Error& error);
  bool read_only() const { return read_only_.load(std::memory_order_acquire); }
  // kReadOnly: what operations ask before they ask anything else of the store.
  Status CheckWritable() const {
    if (read_only()) return Error(ErrorCode::kReadOnly, "change");
    return OkStatus();
  }
  // The thread that commits every interval_ms when something was applied.
  void StartBackground();
  // No commit of its own at the end.
  void StopBackground();

 private:
  void BackgroundLoop();
  Status RunCommit();
  Status Refusal() const;

  Store& store_;
  Space& space_;
  const Options options_;
  std::atomic<bool> read_only_{false};
  std::atomic<bool> failed_{false};
  std::atomic<uint64_t> applied_count_{0};
  std::atomic<uint64_t> committed_count_{0};

  Mutex first_free_mutex_;
  std::atomic<bool> first_free_done_{false};

  Mutex mutex_;
  CondVar wake_;       // the background thread
  CondVar committed_;  // waiters of the commit that runs
  bool committing_ GUARDED_BY(mutex_) = false;
  bool commit_soon_ GUARDED_BY(mutex_) = false;
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::thread background_;
};

}  // namespace cofs
