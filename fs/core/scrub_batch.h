// ScrubBatch: the next blocks of files that a scrub verifies.
//
// It follows the extents, in the order of inodes and of offsets in them: only extents say
// which checksums mean something (freed blocks keep theirs), and a bad block is known by
// its file at once.
//
// Data that changes meanwhile is never taken for damage: whoever calls holds a
// Space::ReadSection from before CollectScrubBatch() until VerifyScrubBatch() has
// returned. What was mapped in between is not reused, so neither the blocks nor their
// checksums change; a mapping appears only when its blocks have been written.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "extent_map/extent.h"
#include "fs/core/core.h"

namespace cofs {

// Blocks of shared extents that this scrub has found good: not to be read again for the
// other owners. Forgets all when it has become large, which costs time and nothing else.
class GoodSharedBlocks {
 public:
  bool Has(DeviceOffset block) const;
  void Add(DeviceOffset block);

 private:
  std::unordered_map<uint64_t, uint64_t> chunks_;  // 64 blocks each
};

// Where the next batch begins.
struct ScrubPosition {
  InodeId inode;
  FileOffset file_offset;
};

struct ScrubPiece {
  InodeId inode;
  Extent extent;  // or the part of one that is to be read
};

struct ScrubBatch {
  std::vector<ScrubPiece> pieces;
  uint64_t read_bytes = 0;
  uint64_t unwritten_bytes = 0;  // passed by
  ScrubPosition next;
  bool is_last = false;
  // Records that can't be right, and why.
  struct BadRecord {
    InodeId inode;
    FileOffset file_offset;
    std::string reason;
  };
  std::vector<BadRecord> bad_records;
};

struct ScrubLimits {
  InodeId inode_end;        // numbers from here on are younger than the scrub
  uint64_t volume_bytes = 0;
  uint64_t read_bytes_max = 0;
};

// Memory: the batch is bounded by read_bytes_max and by a number of records.
Result<ScrubBatch> CollectScrubBatch(const Store& store, ScrubPosition position,
                                     const ScrubLimits& limits,
                                     const GoodSharedBlocks& good);

// One block that is not what it must be.
struct BadBlock {
  InodeId inode;
  FileOffset file_offset;
  DeviceOffset device_offset;
  std::string reason;
};
// Reads all of the batch into `memory` (at least read_bytes) and compares it with its
// checksums. A block that can't be read, or does not match, is read once more before it
// is bad. Errors: of the store.
Status VerifyScrubBatch(Core& core, const ScrubBatch& batch, std::span<char> memory,
                        GoodSharedBlocks& good,
                        const std::function<void(BadBlock)>& found);

}  // namespace cofs
