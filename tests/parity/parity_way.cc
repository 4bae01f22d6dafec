#include "tests/parity/parity_way.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>

#include "base/check.h"
#include "device/file_device.h"
#include "device/memory_device.h"
#include "tests/core/test_volume.h"
#include "tests/mount/host_file_system.h"

namespace cofs {
namespace {

constexpr DeviceCopyLimits kCopyLimits{.segment_bytes_max = 64 << 10,
                                       .command_bytes_max = 192 << 10,
                                       .segments_max = 5};
constexpr uint64_t kHostBytes = 600 << 20;  // btrfs wants more than it stores

class InMemory : public ParityDevice {
 public:
  InMemory(uint64_t size_bytes, MemoryDevice::Options options)
      : memory_(size_bytes, options) {}
  std::unique_ptr<BlockDevice> Open() override { return Borrow(memory_); }

 private:
  MemoryDevice memory_;
};

// A device node, or an image with what it lies on.
class AtPath : public ParityDevice {
 public:
  explicit AtPath(std::string path, std::unique_ptr<HostFileSystem> host = nullptr)
      : host_(std::move(host)), path_(std::move(path)) {}
  std::unique_ptr<BlockDevice> Open() override {
    auto device = FileDevice::Open(path_, OpenMode::kReadWrite);
    CHECK(device.ok(), device.ok() ? "" : device.error().ToString());
    return *std::move(device);
  }

 private:
  const std::unique_ptr<HostFileSystem> host_;
  const std::string path_;
};

ParityWay MemoryWay(std::string name, CopyWayId id, CopyRangePolicy policy,
                    std::optional<DeviceCopyLimits> limits) {
  return {.name = std::move(name), .id = id, .policy = policy,
          .make = [limits](uint64_t size_bytes, std::string*) {
            MemoryDevice::Options options;
            options.copy_limits = limits;
            return std::make_unique<InMemory>(size_bytes, options);
          }};
}

ParityWay ImageOn(const std::string& type) {
  return {.name = "ImageOn" + type, .id = CopyWayId::kHostFile,
          .policy = CopyRangePolicy::kDevice,
          .make = [type](uint64_t size_bytes,
                         std::string* why_not) -> std::unique_ptr<ParityDevice> {
            auto host = HostFileSystem::Make({.type = type, .size_bytes = kHostBytes},
                                             why_not);
            if (host == nullptr) return nullptr;
            const std::string image = host->path() + "/image";
            const Status made = FileDevice::CreateImage(image, size_bytes);
            CHECK(made.ok(), made.ok() ? "" : made.error().ToString());
            return std::make_unique<AtPath>(image, std::move(host));
          }};
}

ParityWay OfDevice(const std::string& path, std::string_view name) {
  ParityWay way{.name = "OfTheDevice", .id = CopyWayId::kBuffered,
                .policy = CopyRangePolicy::kDevice,
                .make = [path](uint64_t, std::string*) {
                  return std::make_unique<AtPath>(path);
                }};
  bool is_known = false;
  for (size_t i = 0; i < kCopyWayCount; ++i) {
    const auto id = static_cast<CopyWayId>(i);
    if (NameOf(id) != name) continue;
    way.id = id;
    is_known = true;
  }
  CHECK(is_known, "COFS_PARITY_WAY names no way: ", name);
  if (way.id == CopyWayId::kBuffered) way.policy = CopyRangePolicy::kBuffered;
  return way;
}

}  // namespace

const ParityWay& ReferenceWay() {
  static const ParityWay way = MemoryWay("ThroughMemory", CopyWayId::kBuffered,
                                         CopyRangePolicy::kBuffered, std::nullopt);
  return way;
}

std::vector<ParityWay> WaysOfThisMachine() {
  const char* const device = std::getenv("COFS_PARITY_DEVICE");
  const char* const way = std::getenv("COFS_PARITY_WAY");
  if (device != nullptr && way != nullptr) return {OfDevice(device, way)};
  return {ReferenceWay(),
          MemoryWay("CopyCommand", CopyWayId::kDevice, CopyRangePolicy::kDevice,
                    kCopyLimits),
          ImageOn("xfs"), ImageOn("btrfs")};
}

}  // namespace cofs
