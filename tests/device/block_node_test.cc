// What sysfs and /proc tell, from trees made up for the test.
#include "device/block_node.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "device/device_use.h"
#include "tests/device/device_fixture.h"

namespace cofs {
namespace {

namespace fs = std::filesystem;

// As the kernel lays it out: /sys/dev/block/M:m is a link to the device's folder.
class SysfsTest : public ::testing::Test {
 protected:
  void AddDevice(const std::string& folder, const std::string& number) {
    fs::create_directories(sys_ + "/" + folder);
    fs::create_directories(sys_ + "/dev/block");
    fs::create_directory_symlink("../../" + folder, sys_ + "/dev/block/" + number);
    WriteText(sys_ + "/" + folder + "/dev", number + "\n");
  }

  TempFolder folder_;
  const std::string sys_ = folder_ / "sys";
  const std::string proc_ = folder_ / "proc";
};

TEST_F(SysfsTest, DiskAndPartition) {
  AddDevice("block/sda", "8:0");
  WriteText(sys_ + "/block/sda/queue/discard_max_bytes", "1073741824\n");
  WriteText(sys_ + "/block/sda/queue/write_zeroes_max_bytes", "0\n");
  WriteText(sys_ + "/block/sda/queue/zoned", "none\n");
  WriteText(sys_ + "/block/sda/integrity/format", "none\n");
  AddDevice("block/sda/sda2", "8:2");
  WriteText(sys_ + "/block/sda/sda2/partition", "2\n");
  WriteText(sys_ + "/block/sda/sda2/holders/dm-0/x", "");

  const BlockNode disk = ReadBlockNode(sys_, {8, 0});
  EXPECT_FALSE(disk.is_partition);
  EXPECT_TRUE(disk.can_discard);
  EXPECT_FALSE(disk.can_write_zeroes);
  EXPECT_TRUE(disk.holders.empty());
  ASSERT_EQ(disk.partitions.size(), 1u);
  EXPECT_EQ(disk.partitions[0].name, "sda2");
  EXPECT_EQ(disk.partitions[0].number, (BlockNumber{8, 2}));
  EXPECT_TRUE(CheckUsable(disk, "/dev/sda").ok());

  const BlockNode partition = ReadBlockNode(sys_, {8, 2});
  EXPECT_TRUE(partition.is_partition);
  EXPECT_TRUE(partition.can_discard) << "the queue is the disk's";
  EXPECT_EQ(partition.holders, std::vector<std::string>{"dm-0"});
}

// Emulated drives take a write with FUA for one without, and so does what is built on them.
TEST_F(SysfsTest, DrivesThatIgnoreFuaAreKnown) {
  AddDevice("block/nvme0n1", "259:0");
  WriteText(sys_ + "/block/nvme0n1/device/model", "QEMU NVMe Ctrl                          \n");
  AddDevice("block/nvme0n1/nvme0n1p1", "259:1");
  WriteText(sys_ + "/block/nvme0n1/nvme0n1p1/partition", "1\n");
  AddDevice("block/nvme1n1", "259:2");
  WriteText(sys_ + "/block/nvme1n1/device/model", "INTEL SSDPE2KX040T8\n");
  AddDevice("block/dm-0", "253:0");
  AddDevice("block/dm-1", "253:1");
  AddDevice("block/dm-2", "253:2");
  const auto lies_on = [&](const std::string& upper, const std::string& lower) {
    fs::create_directories(sys_ + "/block/" + upper + "/slaves");
    fs::create_directory_symlink(sys_ + "/block/" + lower,
                                 sys_ + "/block/" + upper + "/slaves/" +
                                     fs::path(lower).filename().string());
  };
  lies_on("dm-0", "nvme1n1");
  lies_on("dm-0", "nvme0n1/nvme0n1p1");
  lies_on("dm-1", "dm-0");
  lies_on("dm-2", "nvme1n1");
  EXPECT_TRUE(ReadBlockNode(sys_, {259, 0}).ignores_fua);
  EXPECT_TRUE(ReadBlockNode(sys_, {259, 1}).ignores_fua);
  EXPECT_FALSE(ReadBlockNode(sys_, {259, 2}).ignores_fua);
  EXPECT_TRUE(ReadBlockNode(sys_, {253, 0}).ignores_fua);
  EXPECT_TRUE(ReadBlockNode(sys_, {253, 1}).ignores_fua);
  EXPECT_FALSE(ReadBlockNode(sys_, {253, 2}).ignores_fua);
}

TEST_F(SysfsTest, ZonedAndProtectedAreRefused) {
  const struct {
    const char *zoned, *protection;
    bool is_usable;
    std::string_view says;
  } cases[] = {
      {"none", "none", true, ""},
      {"none", "nop", true, ""},
      {"host-managed", "none", false, "host-managed"},
      {"host-aware", "none", false, "host-aware"},
      {"none", "T10-DIF-TYPE1-CRC", false, "T10-DIF-TYPE1-CRC"},
      {"none", "EXT-DIF-TYPE1-CRC64", false, "protection information"},
  };
  unsigned minor = 0;
  for (const auto& c : cases) {
    const std::string name = "block/nvme" + std::to_string(minor) + "n1";
    AddDevice(name, "259:" + std::to_string(minor));
    WriteText(sys_ + "/" + name + "/queue/zoned", c.zoned);
    WriteText(sys_ + "/" + name + "/integrity/format", c.protection);
    // A partition of it is no better.
    AddDevice(name + "/p1", "260:" + std::to_string(minor));
    WriteText(sys_ + "/" + name + "/p1/partition", "1");
    for (const unsigned major : {259u, 260u}) {
      const Status status = CheckUsable(ReadBlockNode(sys_, {major, minor}), "/dev/x");
      EXPECT_EQ(status.ok(), c.is_usable) << name;
      if (!status.ok()) {
        EXPECT_EQ(status.error().code(), ErrorCode::kNotSupported);
        EXPECT_NE(status.error().ToString().find(c.says), std::string::npos);
      }
    }
    ++minor;
  }
}

TEST_F(SysfsTest, NoSysfsIsNoReasonToRefuse) {
  const BlockNode node = ReadBlockNode(sys_, {1, 2});
  EXPECT_FALSE(node.can_discard);
  EXPECT_TRUE(CheckUsable(node, "/dev/x").ok());
}

// Who uses an image, from made-up tables. Block devices are tested on loop devices.
TEST_F(SysfsTest, UsersOfAnImage) {
  const std::string image = folder_ / "an image";
  MakeImage(image, kBlockBytes);
  ASSERT_EQ(::link(image.c_str(), (folder_ / "other-name").c_str()), 0);
  // /proc writes a space as \040.
  const std::string escaped = folder_ / "an\\040image";
  const std::string heading = "Filename Type Size Used Priority\n";
  const std::string mounts =
      "20 1 0:19 / /proc rw - proc proc rw\n"
      "36 20 0:44 / /mnt/a\\040b rw,relatime shared:1 - fuse.cofs " +
      escaped + " rw\n";
  const struct {
    std::string mounts, swaps, backing;
    std::string_view says;
  } cases[] = {
      {"20 1 0:19 / /proc rw - proc proc rw\n", heading, "", ""},
      {mounts, heading, "", "is mounted on /mnt/a b"},
      {"", heading + escaped + " file 1024 0 -2\n", "", "is used as swap"},
      {"", heading, folder_ / "other-name", "is the image of /dev/loop3"},
      {"", heading, folder_ / "gone (deleted)", ""},
      {"broken", "", "", ""},
  };
  for (const auto& c : cases) {
    WriteText(proc_ + "/self/mountinfo", c.mounts);
    WriteText(proc_ + "/swaps", c.swaps);
    WriteText(sys_ + "/block/loop3/loop/backing_file", c.backing);
    const auto use = FindDeviceUse(image, {.proc = proc_, .sys = sys_});
    ASSERT_TRUE(use.ok());
    if (c.says.empty())
      EXPECT_EQ(*use, "");
    else
      EXPECT_NE(use->find(c.says), std::string::npos) << *use;
  }
  EXPECT_TRUE(FindDeviceUse(folder_ / "nothing").Is(ErrorCode::kNotFound));
}

}  // namespace
}  // namespace cofs
