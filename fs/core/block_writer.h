// WriteBlocks: puts data for a range of a file onto the device, at blocks that are not
// mapped yet, so that one batch can make it the file's contents.
#pragma once

#include <span>
#include <vector>

#include "base/result.h"
#include "extent_map/extent.h"
#include "fs/core/allocation.h"
#include "fs/core/core.h"
#include "fs/core/inode.h"

namespace cofs {

// Whole blocks that hold the new contents of [begin, end).
struct WrittenBlocks {
  FileOffset begin, end;
  std::vector<Extent> extents;  // sorted, without a gap
  std::vector<uint32_t> crcs;   // of each block
  Allocation allocation;
};

// The blocks that `data` at `offset` touches, the rest of them as it was (verified;
// zeros behind the end of the file). New blocks are allocated next to what the file has,
// but for unwritten blocks, which are written where they are. The I/O has completed. The
// caller holds the file's data_lock over the blocks, through the batch. kNoSpace,
// kChecksum when the rest can't be read.
Result<WrittenBlocks> WriteBlocks(Core& core, Inode& inode, FileOffset offset,
                                  std::span<const char> data) EXCLUDES(inode.mutex);

// Where blocks for the file from `begin` on should go; `around` holds what it maps there
// and the neighbours.
std::optional<DeviceOffset> GoalFor(const Inode& inode, std::span<const Extent> around,
                                    FileOffset begin);

// Overwriting frees as much as it takes: whether all of [begin, end) that is to be
// allocated (is not unwritten) is mapped by blocks with one owner.
bool IsOverwrite(std::span<const Extent> existing, FileOffset begin, FileOffset end);

}  // namespace cofs
