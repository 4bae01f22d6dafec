// Which ways of copying a device has.
#pragma once

#include <memory>
#include <vector>

#include "copy_engine/copy_way.h"

namespace cofs {

// The ways by which `device`, or what lies below it, copies without the host, best
// first; the buffered way, which is always there, is not among them. `device` outlives
// them.
std::vector<std::unique_ptr<CopyWay>> FindWays(BlockDevice& device);

}  // namespace cofs
