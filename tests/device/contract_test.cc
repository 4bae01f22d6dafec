// The contract of BlockDevice on every device that needs no privileges.
#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "device/fault_device.h"
#include "device/file_device.h"
#include "device/memory_device.h"
#include "device/recording_device.h"
#include "device/watched_device.h"
#include "tests/device/block_device_contract.h"
#include "tests/device/device_fixture.h"

namespace cofs {
namespace {

DeviceUnderTest MakeMemory(MemoryDevice::Options options) {
  return {.below = nullptr,
          .device = std::make_unique<MemoryDevice>(kContractDeviceBytes, options),
          .skip_reason = ""};
}

DeviceUnderTest MakeImageDevice(bool allow_direct, const std::string& parent = "") {
  auto folder = std::make_shared<TempFolder>(parent);
  const std::string path = *folder / "image";
  MakeImage(path, kContractDeviceBytes);
  auto device =
      FileDevice::Open(path, OpenMode::kReadWrite, {.allow_direct = allow_direct});
  if (!device.ok()) return {nullptr, nullptr, device.error().ToString()};
  return {folder, std::move(*device), ""};
}

// tmpfs can punch holes and can't zero ranges.
DeviceUnderTest MakeTmpfsImage() {
  struct statfs file_system = {};
  if (::statfs("/dev/shm", &file_system) != 0 || file_system.f_type != TMPFS_MAGIC ||
      ::access("/dev/shm", W_OK) != 0)
    return {nullptr, nullptr, "/dev/shm is no tmpfs to write to"};
  return MakeImageDevice(true, "/dev/shm");
}

template <typename Wrapper>
DeviceUnderTest Wrap() {
  auto base = std::make_shared<MemoryDevice>(
      kContractDeviceBytes,
      MemoryDevice::Options{.copy_limits = DeviceCopyLimits{1 << 20, 1 << 20, 4}});
  auto device = std::make_unique<Wrapper>(*base, TestSeed());
  return {base, std::move(device), ""};
}

INSTANTIATE_TEST_SUITE_P(
    Devices, BlockDeviceContract,
    ::testing::Values(
        DeviceCase{"Memory", [] { return MakeMemory({}); }},
        DeviceCase{"MemoryShuffled",
                   [] { return MakeMemory({.queue_shuffle_seed = TestSeed()}); }},
        DeviceCase{
            "MemoryThatCopies",
            [] {
              return MakeMemory({.copy_limits = DeviceCopyLimits{1 << 20, 4 << 20, 8}});
            }},
        DeviceCase{"Image", [] { return MakeImageDevice(true); }},
        DeviceCase{"ImageThroughPageCache", [] { return MakeImageDevice(false); }},
        DeviceCase{"ImageOnTmpfs", MakeTmpfsImage},
        DeviceCase{"Fault", Wrap<FaultDevice>},
        DeviceCase{"Recording", Wrap<RecordingDevice>},
        DeviceCase{"Watched",
                   [] {
                     DeviceUnderTest watched = Wrap<FaultDevice>();
                     watched.device = std::make_unique<WatchedDevice>(
                         std::move(watched.device), std::chrono::seconds(30));
                     return watched;
                   }}),
    DeviceCaseName);

}  // namespace
}  // namespace cofs
