// Which ways of copying a device has.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "copy_engine/copy_probe.h"
#include "copy_engine/copy_way.h"

namespace cofs {

struct FoundWays {
  // The ways by which a device, or what lies below it, copies without the host, best
  // first; the buffered way, which is always there, is not among them.
  std::vector<std::unique_ptr<CopyWay>> ways{};
  std::vector<WayFinding> findings{};  // of these and of those that are not there
  // The yardstick, measured where a way was proved.
  std::optional<CopyCost> buffered_cost{};
  double read_back_us = 0;  // of one sample
};

// `device` outlives the ways. Those in `known` are not looked for. Scratch is borrowed,
// from `scratch` if it is not null, when a way is there that can be tried.
FoundWays FindAllWays(BlockDevice& device, CopyScratch* scratch,
                      std::span<const CopyWayId> known = {});

}  // namespace cofs
