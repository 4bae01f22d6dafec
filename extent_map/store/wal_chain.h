// WalChain: commits all WALs of the store in their order.
//
// RocksDB goes on to a new WAL without syncing the old one; what the old one holds may
// only exist in memory until its memtable is a table. So a commit writes the staged bytes
// of all WALs, oldest first, and none of a later one is issued before the earlier ones
// are durable. Then whatever a crash leaves is a prefix of what was written. Thread-safe.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"
#include "device/block_device.h"
#include "extent_map/store/group_writer.h"
#include "extent_map/store/shared_run.h"

namespace cofs::store {

class WalChain {
 public:
  explicit WalChain(BlockDevice& device, FailureLatch& latch)
      : device_(device), latch_(latch), sync_([this] { return SyncOnce(); }) {}

  // WALs are added in the order of their making.
  void Add(std::shared_ptr<GroupWriter> wal) EXCLUDES(mutex_);
  // Its file is deleted: its records are durable in tables.
  void Remove(uint64_t file_id) EXCLUDES(mutex_);
  // Durable on return: every whole record appended before the call, and all that had
  // been written to the device before those were appended. Concurrent callers share.
  Status Sync();
  // Blocks of the WAL that is written now.
  uint64_t newest_bytes() const EXCLUDES(mutex_);
  // Runs of Sync() that wrote something.
  uint64_t sync_count() const { return sync_count_.load(std::memory_order_relaxed); }

 private:
  Status SyncOnce() EXCLUDES(mutex_);

  BlockDevice& device_;
  FailureLatch& latch_;
  SharedRun sync_;
  std::atomic<uint64_t> sync_count_{0};
  mutable Mutex mutex_;
  std::vector<std::shared_ptr<GroupWriter>> wals_ GUARDED_BY(mutex_);
};

}  // namespace cofs::store
