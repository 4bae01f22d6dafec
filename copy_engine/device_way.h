// DeviceWay: the copy command of a BlockDevice itself (BlockDevice::Copy). Memory and
// test devices have one; drives are reached by the ways that send commands to them.
//
// Commands run one after another. A failed one may have written a part of its
// destination; it does not count.
// Thread-safety: as CopyWay.
#pragma once

#include <memory>

#include "base/result.h"
#include "copy_engine/copy_way.h"
#include "copy_engine/stack_map.h"

namespace cofs {

class DeviceWay final : public CopyWay {
 public:
  // kNotSupported where the device has no copy command or zero limits. `device`
  // outlives the way.
  static Result<std::unique_ptr<DeviceWay>> Create(BlockDevice& device);

  CopyWayId id() const override { return CopyWayId::kDevice; }
  const CopyLimits& limits() const override { return limits_; }
  CopyOutcome Run(const CopyTask& task) override;

 private:
  DeviceWay(BlockDevice& device, const CopyLimits& limits);

  BlockDevice& device_;
  const CopyLimits limits_;
  const StackMap map_;  // nothing lies below
};

}  // namespace cofs
