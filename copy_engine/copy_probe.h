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
  CopyLimits limits;        // kFound, kProved, kFailed
  std::string description;  // "NVMe Copy by io_uring passthrough for nvme0n1"
  std::string reason;       // why it is not proved, in words
  // kAbsent, and it stays so: another kind of device.
  bool is_for_good = false;
  std::optional<CopyCost> cost{};  // kProved
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

// The trial by itself: kOk, or how the way failed. kRetry, kTimedOut: a command may still
// run; the scratch must not be used again.
Status TryWay(CopyWay& way, BlockDevice& device, DeviceRange scratch);

// What a copy costs by `way`: the fastest of a few small and a few large copies within
// the scratch, bounded to 100 ms each unless a single one takes longer. Never called
// for a way that was not proved.
Result<CopyCost> MeasureWay(CopyWay& way, DeviceRange scratch);
// What reading back 64 KiB of source and destination takes, in microseconds.
Result<double> MeasureReadBack(BlockDevice& device, DeviceRange scratch);

// Scratch that is borrowed when it is first asked for, and given back by the destructor
// unless something may still run in it.
class LazyScratch {
 public:
  explicit LazyScratch(CopyScratch* source) : source_(source) {}
  // Scratch of somebody else, who keeps it.
  explicit LazyScratch(std::optional<DeviceRange> range);
  ~LazyScratch();
  LazyScratch(const LazyScratch&) = delete;
  LazyScratch& operator=(const LazyScratch&) = delete;

  // nullopt: there is none, and why() says why.
  std::optional<DeviceRange> Get();
  const std::string& why() const { return why_; }
  // Never to be used again.
  void Abandon();

 private:
  CopyScratch* source_ = nullptr;
  bool is_asked_ = false;
  std::optional<DeviceRange> range_;
  std::string why_ = "no scratch blocks were given";
};

// As the first one; ways of `known` are left out.
std::vector<std::unique_ptr<CopyWay>> FindWays(BlockDevice& device, LazyScratch& scratch,
                                               std::span<const CopyWayId> known,
                                               std::vector<WayFinding>* findings);
// Tries a way that is there; `finding` gets state, reason and cost.
void ProveWay(CopyWay& way, BlockDevice& device, LazyScratch& scratch,
              WayFinding& finding);

}  // namespace cofs
