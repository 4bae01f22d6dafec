// CopyOrigins: where the latest copies by the device took their bytes from, so that a
// block that turns out wrong can be traced to the copy that brought it.
//
// Holds the last kCopyOriginsMax pieces; a look-up walks them, newest first, which is
// right for what happens after a checksum error only.
// Thread-safety: all functions. Its lock is a leaf.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/mutex.h"
#include "copy_engine/copy_engine.h"

namespace cofs {

inline constexpr size_t kCopyOriginsMax = 4096;

class CopyOrigins {
 public:
  // The first `completed_bytes` of `pieces` were copied by `way`.
  void Note(CopyWayId way, std::span<const CopyPiece> pieces, uint64_t completed_bytes)
      EXCLUDES(mutex_);
  std::optional<CopyOrigin> Find(DeviceOffset block) const EXCLUDES(mutex_);

 private:
  struct Entry {
    CopyPiece piece;
    CopyWayId way;
  };
  mutable Mutex mutex_;
  std::vector<Entry> entries_ GUARDED_BY(mutex_);  // a ring, once it is full
  size_t next_ GUARDED_BY(mutex_) = 0;             // the oldest then
};

}  // namespace cofs
