// The claims of device/block_device.h, tested on every kind of device. A test program
// links block_device_contract.cc and instantiates BlockDeviceContract with its devices.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <ostream>
#include <string>

#include "device/block_device.h"

namespace cofs {

// A device with what it stands on.
struct DeviceUnderTest {
  std::shared_ptr<void> below;
  std::unique_ptr<BlockDevice> device;
  std::string skip_reason;  // when there is none
};

struct DeviceCase {
  std::string name;
  // At least kContractDeviceBytes large, all zeros.
  std::function<DeviceUnderTest()> make;
  friend std::ostream& operator<<(std::ostream& out, const DeviceCase& device_case) {
    return out << device_case.name;
  }
};

inline constexpr uint64_t kContractDeviceBytes = 32 << 20;

class BlockDeviceContract : public ::testing::TestWithParam<DeviceCase> {
 protected:
  void SetUp() override {
    under_test_ = GetParam().make();
    if (!under_test_.skip_reason.empty()) GTEST_SKIP() << under_test_.skip_reason;
  }
  void TearDown() override {
    under_test_.device.reset();
    under_test_.below.reset();
  }
  BlockDevice& device() { return *under_test_.device; }

  DeviceUnderTest under_test_;
};

inline std::string DeviceCaseName(const ::testing::TestParamInfo<DeviceCase>& info) {
  return info.param.name;
}

}  // namespace cofs
