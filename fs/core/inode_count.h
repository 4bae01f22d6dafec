// InodeCount: how many inodes the volume holds, for statfs.
//
// The number is nowhere on the device, where it could disagree with the records.
// After a crash the rebuild of the allocator has just seen every inode. After a clean
// unmount a thread counts them in a view of the store taken at the mount, while
// operations add and subtract what they change.
// Thread-safety: all functions.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>

#include "extent_map/store/store.h"

namespace cofs {

class InodeCount {
 public:
  InodeCount() = default;
  ~InodeCount() { Stop(); }

  void Add() { changed_.fetch_add(1, std::memory_order_relaxed); }
  void Remove(uint64_t count = 1) {
    changed_.fetch_sub(static_cast<int64_t>(count), std::memory_order_relaxed);
  }
  uint64_t value() const;

  // The number at the mount.
  void Set(uint64_t count) { found_.store(count, std::memory_order_relaxed); }
  // Counts in the background. Before any operation runs; `store` outlives Stop().
  void StartCounting(const Store& store);
  void Stop();

 private:
  void CountAll(Cursor& cursor);

  std::atomic<uint64_t> found_{0};
  std::atomic<int64_t> changed_{0};
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace cofs
