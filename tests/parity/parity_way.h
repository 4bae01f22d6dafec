// The ways of copying that a case is run by, and what a volume is made on for each.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "copy_engine/copy_engine.h"
#include "device/block_device.h"
#include "fs/core/volume_options.h"

namespace cofs {

// A device that outlives the volumes on it.
class ParityDevice {
 public:
  virtual ~ParityDevice() = default;
  // For a volume to own; one at a time.
  virtual std::unique_ptr<BlockDevice> Open() = 0;
};

struct ParityWay {
  std::string name;
  CopyWayId id = CopyWayId::kBuffered;
  CopyRangePolicy policy = CopyRangePolicy::kDevice;
  // Of at least `size_bytes`, with any contents. Null: `why_not` says why there is none.
  std::function<std::unique_ptr<ParityDevice>(uint64_t size_bytes, std::string* why_not)>
      make;
};

// Through memory on a device in memory: what the others are compared with.
const ParityWay& ReferenceWay();
// Those of this machine; with COFS_PARITY_DEVICE and COFS_PARITY_WAY that one alone.
std::vector<ParityWay> WaysOfThisMachine();

}  // namespace cofs
