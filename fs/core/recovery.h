// Recovery: the free space of a volume that is being mounted.
//
// After a clean unmount it is the allocator image that the superblock refers to. After
// a crash, and when the image can't be trusted, it is what nothing uses: not an extent,
// not the pool of the store, not the region of the superblocks. The rebuild reads every
// extent (in parallel, by ranges of inode numbers), 16 bytes of memory for each.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "device/block_device.h"
#include "extent_map/allocator.h"
#include "extent_map/store/store.h"
#include "extent_map/superblock.h"

namespace cofs {

struct RecoveredSpace {
  std::unique_ptr<Allocator> allocator;
  // What a rebuild has seen besides, for the census.
  struct Seen {
    uint64_t inode_count = 0;
    bool has_collisions = false;
  };
  std::optional<Seen> seen;
};

// Reads only. kCorrupt when two owners claim the same blocks, or one claims what is
// outside of the volume or in use by the volume itself: nothing may be written then.
Result<RecoveredSpace> RecoverSpace(BlockDevice& device, const Store& store,
                                    const Superblock& superblock, InodeId inode_counter);

// The parts, for tests.

// Ranges that are used, in block numbers.
struct BlockRun {
  uint64_t first = 0, count = 0;
  uint64_t end() const { return first + count; }
};
struct UsedBlocks {
  std::vector<BlockRun> exclusive;  // of one owner each
  std::vector<BlockRun> shared;     // may overlap each other
};
// What is left of `volume_bytes`, sorted. kCorrupt when runs of `exclusive` overlap
// each other or one of `shared`, or a run ends outside.
Result<std::vector<DeviceRange>> FreeOf(UsedBlocks used, uint64_t volume_bytes);

}  // namespace cofs
