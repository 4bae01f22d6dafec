// Extents of one file: what maps file offsets to device offsets.
//
// Pure functions over sorted lists; the records' owner (fs/core) applies the result.
// O(n log n) in the extents passed in, no more: pass only those that matter.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/types.h"

namespace cofs {

// Flags of an extent.
inline constexpr uint8_t kExtentUnwritten = 1;  // reads as zeros; has no checksums
// A hint: other extents may map the same blocks. Set on all owners when a range
// becomes shared; may stay set when it no longer is. Never missing while shared.
inline constexpr uint8_t kExtentShared = 2;

// Block-aligned. No two extents of a file overlap.
struct Extent {
  FileOffset file_offset;
  DeviceOffset device_offset;
  uint64_t length_bytes = 0;
  uint8_t flags = 0;

  FileOffset file_end() const { return file_offset + length_bytes; }
  DeviceOffset device_end() const { return device_offset + length_bytes; }
  bool unwritten() const { return (flags & kExtentUnwritten) != 0; }
  bool shared() const { return (flags & kExtentShared) != 0; }
  friend bool operator==(const Extent&, const Extent&) = default;
};

// The part of `extent` inside [begin, end); length 0 when there is none.
Extent Clip(const Extent& extent, FileOffset begin, FileOffset end);
// Whether `b` continues `a` in the file and on the device, with the same flags.
bool CanMerge(const Extent& a, const Extent& b);

// What must change in the records for a replacement; each list in file order.
struct ExtentChange {
  std::vector<FileOffset> erased;  // keys of records to delete
  std::vector<Extent> written;     // records to put (never one also in `erased`)
  // Pieces whose blocks this range no longer maps. A piece that the replacement maps to
  // the same blocks (with other flags, say) is none.
  std::vector<Extent> dropped;
};

// Replaces whatever [begin, end) maps by `replacement` (sorted, inside the range;
// empty: a hole). `existing` (sorted) holds every extent that overlaps the range and,
// when there are any, the neighbours that end at `begin` and start at `end`, which are
// merged with where possible. Offsets are block-aligned.
ExtentChange ReplaceRange(std::span<const Extent> existing, FileOffset begin, FileOffset end,
                          std::span<const Extent> replacement);

// Applies `change` to a sorted list that holds the extents it was made from.
void ApplyChange(std::vector<Extent>& extents, const ExtentChange& change);

}  // namespace cofs
