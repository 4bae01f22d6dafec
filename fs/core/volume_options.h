// What a mount is asked to do. Parsed from -o by fs/fuse/mount_options.h.
#pragma once

#include <cstdint>

#include "copy_engine/copy_engine.h"

namespace cofs {

enum class AtimePolicy : uint8_t { kRelative, kNone, kStrict };
// What copy_file_range does.
enum class CopyRangePolicy : uint8_t {
  kAuto,      // device copy where it is worth it, else buffered
  kShare,     // shares extents
  kDevice,    // device copy or kNotSupported
  kBuffered,  // through memory
};

struct VolumeOptions {
  bool read_only = false;
  bool sync = false;     // every operation is committed before it returns
  bool discard = false;  // freed blocks are discarded before they are reused
  AtimePolicy atime = AtimePolicy::kRelative;
  CopyRangePolicy copy = CopyRangePolicy::kAuto;
  uint64_t cache_bytes = 64ull << 20;  // store's block cache and inodes together
  uint32_t commit_interval_ms = 5000;
};

}  // namespace cofs
