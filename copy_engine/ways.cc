#include "copy_engine/ways.h"

#include <utility>

#include "copy_engine/device_way.h"

namespace cofs {

FoundWays FindAllWays(BlockDevice& device, std::optional<DeviceRange> scratch) {
  FoundWays found;
  found.ways = FindWays(device, scratch, &found.findings);
  auto own = DeviceWay::Create(device);
  WayFinding finding{
      .way = CopyWayId::kDevice, .limits = {}, .description = "", .reason = ""};
  if (own.ok()) {
    finding.state = WayFinding::State::kFound;
    finding.limits = (*own)->limits();
    finding.description = "the copy command of " + device.geometry().path;
    found.ways.insert(found.ways.begin(), std::move(*own));
  } else {
    finding.reason = own.error().context();
  }
  found.findings.push_back(std::move(finding));
  return found;
}

}  // namespace cofs
