// ChunkPool: the free space inside the pool's ranges, in whole chunks.
//
// Not thread-safe: its owner (FileTable) has the lock. In memory only: the journal
// says which chunks are taken. Chunks are counted from the start of each range; what
// is left at a range's end is not used.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "base/result.h"
#include "base/types.h"

namespace cofs::store {

class ChunkPool {
 public:
  explicit ChunkPool(uint64_t chunk_bytes) : chunk_bytes_(chunk_bytes) {}

  // A new range, all of it free. kCorrupt when it overlaps an earlier one.
  Status AddRange(DeviceRange range);
  // Takes exactly `range`: whole chunks, all of them free, else kCorrupt.
  Status Take(DeviceRange range);

  // At least `length_bytes` in whole chunks: going on at `goal` when that is free, else
  // in one run if there is one, else in the largest runs. kNoSpace, and nothing is
  // taken.
  Result<std::vector<DeviceRange>> Allocate(uint64_t length_bytes,
                                            std::optional<DeviceOffset> goal);
  // One run, from the far end, where it does not split the room of growing files; the
  // longest if none is that long, but at least `least_bytes`.
  Result<DeviceRange> AllocateRun(uint64_t length_bytes, uint64_t least_bytes);
  void Release(DeviceRange range);
  // Takes up to `bytes_max` out of the pool for good: whole free runs of at least
  // kGiveBackChunksMin chunks, the longest first, kGiveBackRunsMax at most, of the last one
  // its end. Nothing of the pool's range that begins at `kept`.
  std::vector<DeviceRange> GiveBack(uint64_t bytes_max, DeviceOffset kept);

  uint64_t chunk_bytes() const { return chunk_bytes_; }
  uint64_t free_bytes() const { return free_bytes_; }
  // Of all ranges, with their unusable ends.
  uint64_t total_bytes() const { return total_bytes_; }

 private:
  static constexpr uint64_t kGiveBackChunksMin = 64;
  static constexpr size_t kGiveBackRunsMax = 64;
  using Runs = std::map<uint64_t, uint64_t>;  // offset to length
  DeviceRange TakeFrom(Runs::iterator run, uint64_t offset, uint64_t length_bytes);
  // Cuts `range` at the borders of the pool's ranges; kCorrupt unless all of it is whole
  // chunks. A file's extents may run on from one range to the next.
  Result<std::vector<DeviceRange>> CutAtRanges(DeviceRange range) const;
  void ReleasePiece(DeviceRange piece);
  void RemoveRange(DeviceRange range);

  uint64_t chunk_bytes_;
  uint64_t free_bytes_ = 0;
  uint64_t total_bytes_ = 0;
  Runs ranges_;  // of the pool, as added
  Runs free_;    // joined inside a range, never across two
};

}  // namespace cofs::store
