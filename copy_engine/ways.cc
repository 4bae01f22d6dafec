#include "copy_engine/ways.h"

#include <algorithm>
#include <utility>

#include "copy_engine/buffered_way.h"
#include "copy_engine/device_way.h"

namespace cofs {
namespace {

void FindOwnWay(BlockDevice& device, LazyScratch& scratch, FoundWays& found) {
  WayFinding finding{
      .way = CopyWayId::kDevice, .limits = {}, .description = "", .reason = ""};
  auto own = DeviceWay::Create(device);
  if (!own.ok()) {
    finding.reason = own.error().context();
    finding.is_for_good = true;
  } else {
    finding.limits = (*own)->limits();
    finding.description = "the copy command of " + device.geometry().path;
    ProveWay(**own, device, scratch, finding);
    if (finding.state >= WayFinding::State::kFound)
      found.ways.insert(found.ways.begin(), *std::move(own));
  }
  found.findings.push_back(std::move(finding));
}

}  // namespace

FoundWays FindAllWays(BlockDevice& device, CopyScratch* source,
                      std::span<const CopyWayId> known) {
  FoundWays found;
  LazyScratch scratch(source);
  found.ways = FindWays(device, scratch, known, &found.findings);
  if (std::find(known.begin(), known.end(), CopyWayId::kDevice) == known.end())
    FindOwnWay(device, scratch, found);
  const bool has_proved =
      std::any_of(found.findings.begin(), found.findings.end(),
                  [](const WayFinding& f) { return f.cost.has_value(); });
  const std::optional<DeviceRange> range = has_proved ? scratch.Get() : std::nullopt;
  if (range) {
    BufferedWay buffered(device, CopyEngine::Options());
    const Result<CopyCost> cost = MeasureWay(buffered, *range);
    if (cost.ok()) found.buffered_cost = *cost;
    const Result<double> read_back_us = MeasureReadBack(device, *range);
    if (read_back_us.ok()) found.read_back_us = *read_back_us;
  }
  return found;
}

}  // namespace cofs
