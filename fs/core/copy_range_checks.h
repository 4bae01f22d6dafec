// What copies and clones check alike.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "base/types.h"
#include "fs/core/core.h"
#include "fs/core/inode.h"

namespace cofs {

// kReadOnly; kIsDirectory, kInvalidArgument unless both are regular files;
// kNotPermitted when the destination is immutable.
Status CheckCopyFiles(const Core& core, Inode& source, Inode& destination);

// Whether ranges of one length overlap.
inline bool Overlap(FileOffset a, FileOffset b, uint64_t length_bytes) {
  return (a < b ? b - a : a - b) < length_bytes;
}

}  // namespace cofs
