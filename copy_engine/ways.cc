#include "copy_engine/ways.h"

#include <utility>

#include "copy_engine/device_way.h"

namespace cofs {

std::vector<std::unique_ptr<CopyWay>> FindWays(BlockDevice& device) {
  std::vector<std::unique_ptr<CopyWay>> ways;
  if (auto way = DeviceWay::Create(device); way.ok()) ways.push_back(std::move(*way));
  return ways;
}

}  // namespace cofs
