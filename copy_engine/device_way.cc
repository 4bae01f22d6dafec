#include "copy_engine/device_way.h"

#include <vector>

#include "copy_engine/planner.h"

namespace cofs {

Result<std::unique_ptr<DeviceWay>> DeviceWay::Create(BlockDevice& device) {
  const std::optional<DeviceCopyLimits> of_device = device.copy_limits();
  if (!of_device)
    return Error(ErrorCode::kNotSupported,
                 device.geometry().path + " has no copy command");
  CopyLimits limits;
  limits.segment_bytes_max = RoundDown(of_device->segment_bytes_max, kBlockBytes);
  limits.command_bytes_max = RoundDown(of_device->command_bytes_max, kBlockBytes);
  limits.segments_max = of_device->segments_max;
  if (limits.segment_bytes_max == 0 || limits.command_bytes_max == 0 ||
      limits.segments_max == 0) {
    return Error(ErrorCode::kNotSupported,
                 "the copy limits of " + device.geometry().path + " allow no block");
  }
  return std::unique_ptr<DeviceWay>(new DeviceWay(device, limits));
}

DeviceWay::DeviceWay(BlockDevice& device, const CopyLimits& limits)
    : device_(device),
      limits_(limits),
      map_(StackMap::Identity(device.geometry().size_bytes)) {}

CopyOutcome DeviceWay::Run(const CopyTask& task) {
  CopyOutcome outcome;
  auto plan = PlanCopy(task.pieces, limits_, map_);
  if (!plan.ok()) {
    outcome.stop = CopyStop::kNotApplicable;
    outcome.error = plan.error();
    return outcome;
  }
  CopyProgress progress;
  std::vector<DeviceRange> sources;
  for (const CopyCommand& command : plan->commands) {
    if (task.interrupted && task.interrupted()) {
      outcome.stop = CopyStop::kInterrupted;
      break;
    }
    sources.clear();
    for (const CopySegment& segment : command.segments)
      sources.push_back({DeviceOffset(segment.source), segment.length_bytes});
    ++outcome.command_count;
    const Status status = [&] {
      const LatencyTimer timer(task.latency);
      return device_.Copy(sources, DeviceOffset(command.destination));
    }();
    if (!status.ok()) {
      outcome.stop = CopyStop::kWayFailed;
      outcome.error = status.error();
      break;
    }
    progress.AddAll(command);
  }
  outcome.completed_bytes = progress.PrefixBytes();
  return outcome;
}

}  // namespace cofs
