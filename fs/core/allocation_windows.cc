#include "fs/core/allocation_windows.h"

#include <algorithm>

#include "base/check.h"

namespace cofs {
namespace {

// Less is not worth a window.
constexpr uint64_t kWindowBytesMin = 64 << 10;

}  // namespace

std::optional<DeviceRange> AllocationWindows::Take(DeviceOffset goal,
                                                   uint64_t length_bytes) {
  auto window = windows_.upper_bound(goal.value());
  if (window == windows_.begin()) return std::nullopt;
  --window;
  const uint64_t begin = window->first;
  const uint64_t end = begin + window->second.length_bytes;
  if (goal.value() >= end) return std::nullopt;
  const uint64_t taken_bytes = std::min(length_bytes, end - goal.value());
  const uint64_t taken_end = goal.value() + taken_bytes;
  if (goal.value() > begin)
    window->second = {goal.value() - begin, age_};
  else
    windows_.erase(window);
  if (taken_end < end) windows_[taken_end] = {end - taken_end, age_};
  kept_bytes_ -= taken_bytes;
  return DeviceRange{goal, taken_bytes};
}

void AllocationWindows::Open(DeviceOffset begin, uint64_t length_bytes) {
  while (windows_.size() >= kWindowCountMax) {
    auto oldest = std::min_element(
        windows_.begin(), windows_.end(), [](const auto& a, const auto& b) {
          return a.second.last_use < b.second.last_use;
        });
    Release(oldest);
  }
  for (uint64_t bytes = RoundDown(length_bytes, kBlockBytes); bytes >= kWindowBytesMin;
       bytes = RoundDown(bytes / 2, kBlockBytes)) {
    if (!allocator_.Take({begin, bytes}).ok()) continue;
    windows_[begin.value()] = {bytes, age_};
    kept_bytes_ += bytes;
    return;
  }
}

AllocationWindows::Windows::iterator AllocationWindows::Release(Windows::iterator window) {
  const Status released =
      allocator_.Release({DeviceOffset{window->first}, window->second.length_bytes});
  CHECK(released.ok(), "window at ", window->first, ": ", released.error().ToString());
  kept_bytes_ -= window->second.length_bytes;
  return windows_.erase(window);
}

void AllocationWindows::Age() {
  ++age_;
  for (auto window = windows_.begin(); window != windows_.end();)
    window = window->second.last_use + 2 <= age_ ? Release(window) : std::next(window);
}

bool AllocationWindows::ReleaseAll() {
  const bool any = !windows_.empty();
  while (!windows_.empty()) Release(windows_.begin());
  return any;
}

}  // namespace cofs
