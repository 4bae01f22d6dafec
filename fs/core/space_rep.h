// The state of Space, shared by space.cc (allocation) and space_reuse.cc (reuse).
#pragma once

#include <deque>
#include <map>
#include <thread>

#include "fs/core/allocation_windows.h"
#include "fs/core/reader_epochs.h"
#include "fs/core/space.h"

namespace cofs {

// A list of ranges and their sum.
class RangeList {
 public:
  void Add(DeviceRange range) {
    ranges_.push_back(range);
    bytes_ += range.length_bytes;
  }
  void Add(const std::vector<DeviceRange>& ranges) {
    for (const DeviceRange& range : ranges) Add(range);
  }
  std::vector<DeviceRange> TakeAll() {
    bytes_ = 0;
    return std::exchange(ranges_, {});
  }
  bool empty() const { return ranges_.empty(); }
  uint64_t bytes() const { return bytes_; }

 private:
  std::vector<DeviceRange> ranges_;
  uint64_t bytes_ = 0;
};

// Sorted, touching ranges joined.
std::vector<DeviceRange> Joined(std::vector<DeviceRange> ranges);

// Invariants:
//  1. Every block of the data area is in exactly one place: in the allocator, in a
//     window, in one of the lists below, or handed out. `withheld_bytes` of those that
//     are handed out are scratch or abandoned: nothing will ever refer to them.
//  2. Blocks move only from left to right: freed, sealed, retired, (pinned), to_discard,
//     allocator. Only ReturnUnused and ReturnFromPool go to the allocator directly.
//  3. `clean_flag_cleared` before anything moves.
struct Space::Rep {
  Rep(BlockDevice& device, std::unique_ptr<Allocator> allocator, Options options);

  // ---- allocation (space.cc) ----
  Status ClearCleanFlag() EXCLUDES(clean_flag_mutex);
  Result<std::vector<DeviceRange>> TryAllocate(uint64_t length_bytes,
                                               std::optional<DeviceOffset> goal,
                                               uint64_t window_bytes) REQUIRES(mutex);
  Result<std::vector<DeviceRange>> AllocateRuns(uint64_t length_bytes,
                                                std::optional<DeviceOffset> goal,
                                                uint64_t window_bytes) REQUIRES(mutex);
  uint64_t FreeBytes() const REQUIRES(mutex) {
    return allocator->free_bytes() + windows.kept_bytes();
  }

  // ---- reuse (space_reuse.cc) ----
  // Moves on what has passed its readers and pins.
  void Reap() REQUIRES(mutex);
  void MoveOn(DeviceRange range) REQUIRES(mutex);
  void MoveToAllocator(DeviceRange range) REQUIRES(mutex);
  // The same for what was only borrowed: the free space is as it was before.
  void GiveBack(DeviceRange range) REQUIRES(mutex);
  void RebuildPinned() REQUIRES(mutex);
  // Somebody waits: what readers and pins held back may be free now.
  void OnIoEnd() EXCLUDES(mutex);
  void DiscardLoop() EXCLUDES(mutex);
  // What becomes free without a commit, by readers and discards that end.
  uint64_t ArrivingBytes() const REQUIRES(mutex) { return retired_bytes + discarding_bytes; }
  uint64_t UncommittedBytes() const REQUIRES(mutex) {
    return freed.bytes() + sealed_bytes;
  }

  BlockDevice& device;
  const std::unique_ptr<Allocator> allocator;  // has a lock of its own
  const Options options;
  const bool discards;
  uint64_t overwrite_reserve_bytes = 0;
  uint64_t pool_reserve_bytes = 0;  // part of the former

  ReaderEpochs epochs;  // advanced under `mutex`
  std::atomic<uint32_t> waiter_count{0};
  std::atomic<bool> changed{false};

  std::atomic<bool> clean_flag_cleared{true};
  Mutex clean_flag_mutex;  // held while the flag is being cleared
  std::function<Status()> clear_clean_flag GUARDED_BY(clean_flag_mutex);

  mutable Mutex mutex;
  CondVar progress;  // something has moved on
  AllocationWindows windows GUARDED_BY(mutex);
  uint64_t withheld_bytes GUARDED_BY(mutex) = 0;
  RangeList freed GUARDED_BY(mutex);
  uint64_t next_token GUARDED_BY(mutex) = 1;
  std::map<uint64_t, std::vector<DeviceRange>> sealed GUARDED_BY(mutex);
  uint64_t sealed_bytes GUARDED_BY(mutex) = 0;
  struct Retired {
    uint64_t epoch = 0;
    std::vector<DeviceRange> ranges;
  };
  std::deque<Retired> retired GUARDED_BY(mutex);  // epochs ascend
  uint64_t retired_bytes GUARDED_BY(mutex) = 0;
  RangeList held_by_pins GUARDED_BY(mutex);
  RangeList to_discard GUARDED_BY(mutex);
  uint64_t discarding_bytes GUARDED_BY(mutex) = 0;  // to_discard, and in work

  std::list<std::vector<DeviceRange>> pins GUARDED_BY(mutex);
  std::vector<DeviceRange> pinned GUARDED_BY(mutex);  // all pins, joined
  bool pinned_is_current GUARDED_BY(mutex) = true;

  bool stopping GUARDED_BY(mutex) = false;
  CondVar discard_wanted;
  std::thread discard_thread;
};

}  // namespace cofs
