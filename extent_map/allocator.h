// Allocator: the free space of the data area, in memory.
//
// Thread-safety: all functions; the lock inside is a leaf (nothing is called with it
// held). Time: O(log n) in the number of free runs; memory: about 100 bytes a run.
// Nothing here is durable: see docs/ARCHITECTURE.md, "Free space".
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/types.h"

namespace cofs {

struct AllocateOptions {
  uint64_t length_bytes = 0;          // block-aligned, > 0
  std::optional<DeviceOffset> goal = std::nullopt;  // next to this place if it is free
  // 1: one contiguous run or kNoSpace. Otherwise at most so many runs.
  uint32_t run_count_max = UINT32_MAX;
  // False: kNoSpace when not all of it is free. True: what there is (at least a
  // block).
  bool may_be_short = false;
};

class Allocator {
 public:
  // Everything is in use at first; Release() makes the free space known.
  explicit Allocator(uint64_t volume_bytes);
  ~Allocator();

  // Runs in the order to be filled. Best fit near the goal: exactly at the goal when
  // that is free, else the smallest run that holds all of it, nearest first, else
  // the largest runs, in order of offset. kNoSpace, and nothing is taken.
  Result<std::vector<DeviceRange>> Allocate(const AllocateOptions& options);
  // Makes `range` free and joins it with its neighbours. kCorrupt, and nothing has
  // changed, when any of it is free already or outside the volume.
  Status Release(DeviceRange range);
  // Takes exactly `range`. kCorrupt, and nothing has changed, unless all of it is free.
  Status Take(DeviceRange range);

  uint64_t free_bytes() const;
  uint64_t largest_run_bytes() const;
  uint64_t run_count() const;
  // All free runs in order of offset.
  std::vector<DeviceRange> FreeRuns() const;

  // For tests: how many runs were looked at while the indexes were searched.
  uint64_t comparison_count() const;

  // The image that a clean unmount leaves, whole blocks, and back (docs/FORMAT.md).
  // Decode refuses, with kCorrupt, what Encode would not have written: runs that touch,
  // overlap or are outside, another volume size, bytes after the end that are not zero.
  std::string EncodeImage() const;
  static Result<std::unique_ptr<Allocator>> DecodeImage(std::string_view image,
                                                        uint64_t volume_bytes);

 private:
  struct Rep;
  std::unique_ptr<Rep> rep_;
};

}  // namespace cofs
