// CopyProbe: which ways of copying a device has, proved by a trial copy.
//
// Support bits lie: of drives that announce a copy command some refuse it, and some
// have limits of zero. So a way is believed when a trial in scratch blocks has put the
// right bytes in the right place and nowhere else.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "copy_engine/copy_way.h"
#include "device/block_device.h"

namespace cofs {

// What was found out about one way.
struct WayFinding {
  enum class State : uint8_t {
    kAbsent,  // the device does not have it
    kFailed,  // it says it has, and the trial copy failed
    kFound,   // it says it has; not tried, for there were no scratch blocks
    kProved,
  };
  CopyWayId way{};
  State state = State::kAbsent;
  CopyLimits limits;        // kFound, kProved
  std::string description;  // "NVMe Copy by io_uring passthrough for nvme0n1"
  std::string reason;       // kAbsent, kFailed: in words
};
std::string_view NameOf(WayFinding::State state);  // "absent", "failed" ...

// The ways below `device` that are proved (without `scratch`: found), best first; the
// buffered way and BlockDevice::Copy() are not among them. `device` outlives them.
//
// `scratch` are free blocks, at least kProbeScratchBytesMin; what was in them is lost.
// The more there is, up to kProbeScratchBytesMax, the more limits of a command are
// tried to the full. Does not touch anything else. On a stack of several drives the
// trial reaches only those below the scratch.
inline constexpr uint64_t kProbeScratchBytesMin = 8 * kBlockBytes;
inline constexpr uint64_t kProbeScratchBytesMax = 4 << 20;
std::vector<std::unique_ptr<CopyWay>> FindWays(BlockDevice& device,
                                               std::optional<DeviceRange> scratch,
                                               std::vector<WayFinding>* findings);

// The trial by itself: kOk, or how the way failed.
Status TryWay(CopyWay& way, BlockDevice& device, DeviceRange scratch);

}  // namespace cofs
