// Lists of block runs: sorted by place and disjoint.
#pragma once

#include <algorithm>
#include <vector>

#include "base/types.h"

namespace cofs {

// Adds `range`, which does not begin before the last one; joins it where they meet.
inline void AppendRun(std::vector<DeviceRange>& runs, DeviceRange range) {
  if (runs.empty() || runs.back().end() < range.offset) {
    runs.push_back(range);
  } else if (runs.back().end() < range.end()) {
    runs.back().length_bytes = range.end() - runs.back().offset;
  }
}

inline bool Overlaps(const std::vector<DeviceRange>& runs, DeviceRange range) {
  const auto first = std::ranges::upper_bound(runs, range.offset, {}, &DeviceRange::end);
  return first != runs.end() && first->offset < range.end();
}

}  // namespace cofs
