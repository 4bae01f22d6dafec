// CopyRange: copies and clones between files of the volume.
//
// Thread-safety: all functions; called with no lock held. See docs/ARCHITECTURE.md,
// "Life of a copy".
#pragma once

#include <cstdint>
#include <functional>

#include "base/result.h"
#include "copy_engine/copy_engine.h"
#include "fs/core/core.h"
#include "fs/core/inode.h"

namespace cofs {

struct CopyRangeRequest {
  InodeRef source;
  FileOffset source_offset;
  InodeRef destination;
  FileOffset destination_offset;
  uint64_t length_bytes = 0;
  std::function<bool()> interrupted;  // may be empty
};

class CopyRange {
 public:
  explicit CopyRange(Core& core) : core_(core) {}

  // copy_file_range(2): the number of bytes copied, less than asked at the end of the
  // source or on an interrupt, 0 at or past the end. kInvalidArgument when the ranges
  // overlap in one file. Holes stay holes, unwritten extents stay unwritten. Follows
  // CopyRangePolicy.
  Result<uint64_t> Copy(const CopyRangeRequest& request);
  // FICLONERANGE: shares the extents. Offsets and length block-aligned, except that
  // the length may end at the end of the source (length 0: to its end); else
  // kInvalidArgument. Atomic up to a bounded number of extents.
  Status Clone(const CopyRangeRequest& request);

 private:
  Core& core_;
};

}  // namespace cofs
