// Which ways of copying a device has.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "copy_engine/copy_probe.h"
#include "copy_engine/copy_way.h"

namespace cofs {

struct FoundWays {
  // The ways by which a device, or what lies below it, copies without the host, best
  // first; the buffered way, which is always there, is not among them.
  std::vector<std::unique_ptr<CopyWay>> ways;
  std::vector<WayFinding> findings;  // of these and of those that are not there
};

// `device` outlives the ways. `scratch` as in copy_probe.h.
FoundWays FindAllWays(BlockDevice& device, std::optional<DeviceRange> scratch);

}  // namespace cofs
