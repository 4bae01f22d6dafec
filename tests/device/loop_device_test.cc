// FileDevice on a real block device: a loop device over an image. Needs root.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cstdlib>

#include "device/device_use.h"
#include "device/file_device.h"
#include "tests/device/block_device_contract.h"
#include "tests/device/device_fixture.h"

namespace cofs {
namespace {

struct LoopBelow {
  TempFolder folder;
  std::unique_ptr<LoopDevice> loop;
};

std::shared_ptr<LoopBelow> MakeLoop(std::string* reason) {
  auto below = std::make_shared<LoopBelow>();
  MakeImage(below->folder / "image", kContractDeviceBytes);
  below->loop = LoopDevice::Attach(below->folder / "image", reason);
  return below;
}

DeviceUnderTest MakeLoopDevice() {
  std::string reason;
  auto below = MakeLoop(&reason);
  if (below->loop == nullptr) return {nullptr, nullptr, reason};
  auto device = FileDevice::Open(below->loop->path(), OpenMode::kReadWrite);
  if (!device.ok()) return {nullptr, nullptr, device.error().ToString()};
  return {below, std::move(*device), ""};
}

INSTANTIATE_TEST_SUITE_P(Devices, BlockDeviceContract,
                         ::testing::Values(DeviceCase{"Loop", MakeLoopDevice}),
                         DeviceCaseName);

class LoopTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string reason;
    below_ = MakeLoop(&reason);
    if (below_->loop == nullptr) GTEST_SKIP() << reason;
    path_ = below_->loop->path();
  }

  std::shared_ptr<LoopBelow> below_;
  std::string path_;
};

TEST_F(LoopTest, Geometry) {
  const auto device = FileDevice::Open(path_, OpenMode::kReadWrite);
  ASSERT_TRUE(device.ok()) << device.error().ToString();
  const DeviceGeometry& geometry = (*device)->geometry();
  EXPECT_TRUE(geometry.is_block_device);
  EXPECT_TRUE(geometry.is_direct) << (*device)->buffered_reason();
  EXPECT_EQ(geometry.size_bytes, kContractDeviceBytes);
  EXPECT_EQ(geometry.logical_block_bytes, 512u);
}

TEST_F(LoopTest, DirectWritesReachTheImage) {
  const AlignedBuffer data = Pattern(1 << 20, 3);
  const auto device = FileDevice::Open(path_, OpenMode::kReadWrite);
  ASSERT_TRUE(device.ok());
  ASSERT_TRUE((*device)->Write(DeviceOffset(4096), data.span()).ok());
  ASSERT_TRUE((*device)->Flush().ok());
  const auto image =
      FileDevice::Open(below_->folder / "image", OpenMode::kReadOnly, {.lock = false});
  ASSERT_TRUE(image.ok());
  EXPECT_EQ(ViewOf(ReadAll(**image, DeviceOffset(4096), 1 << 20)), ViewOf(data));
}

TEST_F(LoopTest, LockOfANode) {
  const std::string link = below_->folder / "link";
  ASSERT_EQ(::symlink(path_.c_str(), link.c_str()), 0);
  const auto device = FileDevice::Open(path_, OpenMode::kReadWrite);
  ASSERT_TRUE(device.ok());
  EXPECT_TRUE(FileDevice::Open(link, OpenMode::kReadWrite).Is(ErrorCode::kBusy));
  EXPECT_TRUE(FileDevice::Open(link, OpenMode::kReadOnly).Is(ErrorCode::kBusy));
}

// A loop device locks its part of what lies below it, whichever is opened first.
TEST_F(LoopTest, TheImageAndLoopDevicesOverItMeet) {
  const std::string image = below_->folder / "image";
  std::string reason;
  const auto second = LoopDevice::Attach(image, &reason);
  ASSERT_NE(second, nullptr) << reason;
  const auto over = LoopDevice::Attach(second->path(), &reason);
  ASSERT_NE(over, nullptr) << reason;
  const std::string paths[] = {image, path_, second->path(), over->path()};
  for (const std::string& first : paths) {
    const auto device = FileDevice::Open(first, OpenMode::kReadWrite);
    ASSERT_TRUE(device.ok()) << device.error().ToString();
    for (const std::string& other : paths)
      for (const OpenMode mode : {OpenMode::kReadWrite, OpenMode::kReadOnly})
        EXPECT_TRUE(FileDevice::Open(other, mode).Is(ErrorCode::kBusy))
            << other << " while " << first << " is open";
  }
  // Readers share.
  const auto reader = FileDevice::Open(over->path(), OpenMode::kReadOnly);
  ASSERT_TRUE(reader.ok()) << reader.error().ToString();
  EXPECT_TRUE(FileDevice::Open(image, OpenMode::kReadOnly).ok());
  EXPECT_TRUE(FileDevice::Open(image, OpenMode::kReadWrite).Is(ErrorCode::kBusy));
}

TEST_F(LoopTest, OtherPartsOfAnImageAreNotLocked) {
  const std::string image = below_->folder / "image";
  constexpr uint64_t kHalf = kContractDeviceBytes / 2;
  std::string reason;
  const auto front = LoopDevice::Attach(image, &reason, false, {DeviceOffset{}, kHalf});
  const auto back = LoopDevice::Attach(image, &reason, false, {DeviceOffset{kHalf}, kHalf});
  ASSERT_TRUE(front != nullptr && back != nullptr) << reason;
  const auto device = FileDevice::Open(front->path(), OpenMode::kReadWrite);
  ASSERT_TRUE(device.ok()) << device.error().ToString();
  const auto other = FileDevice::Open(back->path(), OpenMode::kReadWrite);
  EXPECT_TRUE(other.ok()) << other.error().ToString();
  EXPECT_TRUE(FileDevice::Open(path_, OpenMode::kReadWrite).Is(ErrorCode::kBusy))
      << "all of it";
}

TEST_F(LoopTest, ClaimedByTheKernel) {
  // As a mounted fuseblk holds it.
  Fd claim(::open(path_.c_str(), O_RDONLY | O_EXCL | O_CLOEXEC));
  ASSERT_TRUE(claim.valid());
  {
    const auto mount = FileDevice::Open(path_, OpenMode::kReadWrite);
    ASSERT_TRUE(mount.ok()) << mount.error().ToString();
    const AlignedBuffer data = Pattern(kBlockBytes, 4);
    EXPECT_TRUE((*mount)->Write(DeviceOffset(0), data.span()).ok());
    EXPECT_TRUE((*mount)->Discard({DeviceOffset(1 << 20), 1 << 20}).ok());
    EXPECT_TRUE((*mount)->WriteZeroes({DeviceOffset(1 << 20), 1 << 20}).ok());
    EXPECT_TRUE((*mount)->Flush().ok());
  }
  const FileDevice::Options exclusive{.exclusive_kernel_open = true};
  const auto mkfs = FileDevice::Open(path_, OpenMode::kReadWrite, exclusive);
  ASSERT_TRUE(mkfs.Is(ErrorCode::kBusy));
  EXPECT_NE(mkfs.error().ToString().find("is mounted"), std::string::npos);
  claim.Reset();

  {
    const auto now = FileDevice::Open(path_, OpenMode::kReadWrite, exclusive);
    ASSERT_TRUE(now.ok()) << now.error().ToString();
    const AlignedBuffer data = Pattern(kBlockBytes, 5);
    EXPECT_TRUE((*now)->Write(DeviceOffset(0), data.span(), /*fua=*/true).ok());
    EXPECT_TRUE((*now)->Discard({DeviceOffset(1 << 20), 1 << 20}).ok());
    EXPECT_FALSE(Fd(::open(path_.c_str(), O_RDONLY | O_EXCL | O_CLOEXEC)).valid());
  }
  EXPECT_TRUE(Fd(::open(path_.c_str(), O_RDONLY | O_EXCL | O_CLOEXEC)).valid())
      << "closing keeps the claim";
}

TEST_F(LoopTest, ReadOnlyNode) {
  const std::string image = below_->folder / "read-only";
  MakeImage(image, 1 << 20);
  std::string reason;
  const auto loop = LoopDevice::Attach(image, &reason, /*read_only=*/true);
  if (loop == nullptr) GTEST_SKIP() << reason;
  EXPECT_TRUE(
      FileDevice::Open(loop->path(), OpenMode::kReadWrite).Is(ErrorCode::kReadOnly));
  const auto device = FileDevice::Open(loop->path(), OpenMode::kReadOnly);
  ASSERT_TRUE(device.ok());
  EXPECT_TRUE((*device)->geometry().is_read_only);
  ReadAll(**device, DeviceOffset(0), 1 << 20);
}

TEST_F(LoopTest, UsersOfABlockDevice) {
  EXPECT_EQ(*FindDeviceUse(path_), "");
  const std::string image_use = *FindDeviceUse(below_->folder / "image");
  EXPECT_NE(image_use.find("is the image of " + path_), std::string::npos) << image_use;

  const std::string command = "mkfs.ext4 -q -F " + path_ + " >/dev/null 2>&1 && mkdir " +
                              (below_->folder / "mount");
  if (std::system(command.c_str()) != 0)
    GTEST_SKIP() << "no mkfs.ext4 to mount something";
  const std::string mount_point = below_->folder / "mount";
  if (::mount(path_.c_str(), mount_point.c_str(), "ext4", 0, nullptr) != 0)
    GTEST_SKIP() << "ext4 can't be mounted here";
  const auto use = FindDeviceUse(path_);
  const auto mkfs =
      FileDevice::Open(path_, OpenMode::kReadWrite, {.exclusive_kernel_open = true});
  EXPECT_EQ(::umount(mount_point.c_str()), 0);
  ASSERT_TRUE(use.ok());
  EXPECT_NE(use->find("is mounted on " + mount_point), std::string::npos) << *use;
  EXPECT_TRUE(mkfs.Is(ErrorCode::kBusy));
}

}  // namespace
}  // namespace cofs
