#include "fs/core/placement.h"

#include <algorithm>

namespace cofs {

void Placement::Note(FileOffset file_end, DeviceOffset device_end) {
  MutexLock lock(mutex_);
  // The stream that this is part of, else the one that was used longest ago.
  for (Stream& stream : streams_) {
    const bool is_part =
        stream.last_use != 0 &&
        device_end.value() - file_end.value() ==
            stream.device_end.value() - stream.file_end.value() &&
        std::max(file_end, stream.file_end) - std::min(file_end, stream.file_end) <=
            8 * kGapBytesMax;
    if (!is_part) continue;
    if (file_end > stream.file_end) stream = {file_end, device_end, 0};
    stream.last_use = ++use_count_;
    return;
  }
  *std::ranges::min_element(streams_, {}, &Stream::last_use) = {file_end, device_end,
                                                                ++use_count_};
}

std::optional<DeviceOffset> Placement::GoalFor(FileOffset begin, uint64_t gap_bytes_max) const {
  MutexLock lock(mutex_);
  const Stream* nearest = nullptr;
  uint64_t nearest_bytes = std::min(gap_bytes_max, kGapBytesMax);
  for (const Stream& stream : streams_) {
    if (stream.last_use == 0) continue;
    const uint64_t bytes = std::max(begin, stream.file_end) - std::min(begin, stream.file_end);
    if (bytes > nearest_bytes || (nearest != nullptr && bytes == nearest_bytes)) continue;
    nearest = &stream;
    nearest_bytes = bytes;
  }
  if (nearest == nullptr) return std::nullopt;
  if (begin >= nearest->file_end) return nearest->device_end + nearest_bytes;
  if (nearest->device_end.value() < nearest_bytes) return std::nullopt;
  return nearest->device_end - nearest_bytes;
}

}  // namespace cofs
