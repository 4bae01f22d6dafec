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

std::optional<DeviceOffset> Placement::GoalFor(FileOffset begin) const {
  MutexLock lock(mutex_);
  const Stream* nearest = nullptr;
  for (const Stream& stream : streams_) {
    if (stream.last_use == 0 || stream.file_end > begin ||
        begin - stream.file_end > kGapBytesMax)
      continue;
    if (nearest == nullptr || stream.file_end > nearest->file_end) nearest = &stream;
  }
  if (nearest == nullptr) return std::nullopt;
  return nearest->device_end + (begin - nearest->file_end);
}

}  // namespace cofs
