// Placement: where on the device the next blocks of a file had best go. Knows what was
// allocated for writes that are still on their way to the device, and so are not in the
// extents yet. A hint: in memory only, and nothing depends on it.
//
// Thread-safety: all functions; the lock inside is a leaf.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "base/mutex.h"
#include "base/types.h"

namespace cofs {

class Placement {
 public:
  // Blocks were allocated for a range of the file that ends at `file_end`, the last of
  // them before `device_end`.
  void Note(FileOffset file_end, DeviceOffset device_end) EXCLUDES(mutex_);
  // Where the blocks from `begin` on belong if they are part of a stream that has come to
  // `begin`, or to within `gap_bytes_max` of it on either side.
  std::optional<DeviceOffset> GoalFor(FileOffset begin,
                                      uint64_t gap_bytes_max = kGapBytesMax) const
      EXCLUDES(mutex_);

  // Writes of one stream can arrive in another order: a gap of at most so much is left
  // for those that are still to come.
  static constexpr uint64_t kGapBytesMax = 4 << 20;

 private:
  // Streams of one file.
  static constexpr size_t kStreamCountMax = 4;

  struct Stream {
    FileOffset file_end;
    DeviceOffset device_end;
    uint64_t last_use = 0;  // 0: none
  };
  mutable Mutex mutex_;
  uint64_t use_count_ GUARDED_BY(mutex_) = 0;
  std::array<Stream, kStreamCountMax> streams_ GUARDED_BY(mutex_);
};

}  // namespace cofs
