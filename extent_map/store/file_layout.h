// FileLayout: where the bytes of one file of the store are.
//
// A file is a list of blocks, each with up to kPayloadBytes of the file's bytes. Only
// the last block before a Sync may be partly filled, so that byte offsets follow from
// block indices within a section, and a new section begins after each partly filled
// block.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "device/block_device.h"
#include "extent_map/store/envelope.h"

namespace cofs::store {

struct Section {
  uint64_t first_block = 0;
  uint64_t first_byte = 0;
  friend bool operator==(const Section&, const Section&) = default;
};

struct FileLayout {
  std::vector<DeviceRange> extents;  // in file order
  std::vector<Section> sections;     // after the first, which begins at block 0
  uint64_t block_count = 0;          // with contents
  uint64_t size_bytes = 0;           // of contents

  // Appends `bytes` as full blocks and a last one that may be partly filled.
  void Append(uint64_t bytes);
  uint64_t capacity_blocks() const;
  friend bool operator==(const FileLayout&, const FileLayout&) = default;
};

// Joins a range that follows the last extent.
void AppendExtent(std::vector<DeviceRange>& extents, DeviceRange range);

// Calls `piece(range, first block)` for the parts of `extents` that hold blocks
// [first, first + count). The blocks are inside the extents.
void ForEachRun(const std::vector<DeviceRange>& extents, uint64_t first, uint64_t count,
                const std::function<void(DeviceRange, uint64_t)>& piece);

// Reads blocks [first, first + count) as they are, without looking at them.
Status ReadBlocks(BlockDevice& device, const std::vector<DeviceRange>& extents,
                  uint64_t first, uint64_t count, char* out);

// Reads up to `length` bytes at `offset` to `out`, verifying every block; the number
// of bytes, fewer only at the end of the file. kCorrupt or kIo with the block's place.
Result<size_t> ReadFile(BlockDevice& device, uint64_t file_id, const FileLayout& layout,
                        uint64_t offset, size_t length, char* out);

// Finds what a file holds that was written group by group and that nobody closed: all
// its complete groups. Fills in the layout's sections, block_count and size_bytes.
// `proven_blocks` are known to have been durable: damage among them is kCorrupt, and
// so is a damaged group that a later one follows, because a group is only written
// when the one before is durable. Other damage is a torn group, never acknowledged.
// `last_group` gets the number of the last complete group.
Status ScanGroups(BlockDevice& device, uint64_t file_id, uint64_t proven_blocks,
                  FileLayout& layout, uint64_t& last_group);

}  // namespace cofs::store
