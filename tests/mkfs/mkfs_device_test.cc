// mkfs.cofs as a program, on images and on loop devices.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "device/file_device.h"
#include "extent_map/superblock.h"
#include "tests/mkfs/scratch_folder.h"
#include "tests/mount/loop_device.h"
#include "tests/mount/subprocess.h"

namespace cofs {
namespace {

constexpr uint64_t kMiB = 1 << 20;

class MkfsTest : public testing::Test {
 protected:
  static ProgramResult Mkfs(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), Bin("mkfs.cofs"));
    return RunProgram(arguments);
  }
  static void MakeImage(const std::string& path, uint64_t bytes) {
    const Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    ASSERT_EQ(::ftruncate(fd.get(), static_cast<off_t>(bytes)), 0);
  }
  static std::optional<Superblock> SuperblockOf(const std::string& path) {
    const auto device = FileDevice::Open(path, OpenMode::kReadOnly);
    if (!device.ok()) return std::nullopt;
    const auto slots = SuperblockSlots::Load(**device);
    if (!slots.ok()) return std::nullopt;
    return (*slots)->current();
  }

  ScratchFolder folder_;
  const std::string image_ = folder_.File("volume.img");
};

TEST_F(MkfsTest, MakesAnImageAndSaysWhatItMade) {
  const ProgramResult made =
      Mkfs({"--size", "128M", "-L", "data", "-U", "00112233-4455-6677-8899-aabbccddeeff",
            image_});
  EXPECT_EQ(made.exit_code, 0) << made.err;
  for (const char* part : {"data", "00112233-4455-6677-8899-aabbccddeeff", "128.0 MiB",
                           "block size     4096", "metadata pool", "version 1"})
    EXPECT_NE(made.out.find(part), std::string::npos) << part << "\n" << made.out;
  const auto superblock = SuperblockOf(image_);
  ASSERT_TRUE(superblock);
  EXPECT_EQ(superblock->label, "data");
}

TEST_F(MkfsTest, TakesWhatMkfsPasses) {
  // mkfs -t cofs -v IMAGE BLOCKS
  EXPECT_EQ(Mkfs({"-t", "cofs", "-v", image_, "102400"}).exit_code, 0);
  ASSERT_TRUE(SuperblockOf(image_));
  EXPECT_EQ(SuperblockOf(image_)->volume_bytes, 100 * kMiB);
  const ProgramResult quiet = Mkfs({"-q", "-f", image_});
  EXPECT_EQ(quiet.exit_code, 0);
  EXPECT_EQ(quiet.out, "");
  const ProgramResult version = Mkfs({"-V"});
  EXPECT_EQ(version.exit_code, 0);
  EXPECT_NE(version.out.find("mkfs.cofs"), std::string::npos);
}

TEST_F(MkfsTest, RefusalsAreOneSentenceAndExitCodeOne) {
  EXPECT_EQ(Mkfs({"-q", "--size", "80M", image_}).exit_code, 0);
  const std::vector<std::string> cases[] = {
      {},                                      // no device
      {"--bogus", image_},                     // no such option
      {"--size", "10X", folder_.File("x")},    // no size
      {"--size", "1M", folder_.File("x")},     // too small
      {"-U", "nonsense", "-f", image_},        // no UUID
      {"-L", std::string(33, 'x'), "-f", image_},
      {"--size", "80M", image_, "100"},        // two sizes
      {image_},                                // a volume is there
      {folder_.File(".")},                     // a directory
      {folder_.File("none")},                  // nothing there, no size
  };
  for (const auto& arguments : cases) {
    const ProgramResult refused = Mkfs(arguments);
    EXPECT_EQ(refused.exit_code, 1);
    EXPECT_NE(refused.err, "");
  }
  EXPECT_NE(Mkfs({image_}).err.find("holds a cofs volume"), std::string::npos);
}

class MkfsLoopTest : public MkfsTest {
 protected:
  void SetUp() override {
    if (::geteuid() != 0 || ::access("/dev/loop-control", R_OK | W_OK) != 0)
      GTEST_SKIP() << "loop devices need root and /dev/loop-control";
    MakeImage(image_, 128 * kMiB);
    loop_ = LoopDevice(image_);
  }
  LoopDevice loop_;
};

TEST_F(MkfsLoopTest, FormatsABlockDevice) {
  const ProgramResult made = Mkfs({"-L", "loop", loop_.path()});
  EXPECT_EQ(made.exit_code, 0) << made.err;
  ASSERT_TRUE(SuperblockOf(loop_.path()));
  EXPECT_EQ(SuperblockOf(loop_.path())->label, "loop");
  EXPECT_EQ(SuperblockOf(loop_.path())->volume_bytes, 128 * kMiB);
}

TEST_F(MkfsLoopTest, UsesAPartOfABlockDeviceAndNotMoreThanThereIs) {
  EXPECT_EQ(Mkfs({"--size", "100M", loop_.path()}).exit_code, 0);
  EXPECT_EQ(SuperblockOf(loop_.path())->volume_bytes, 100 * kMiB);
  const ProgramResult refused = Mkfs({"-f", "--size", "200M", loop_.path()});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_NE(refused.err.find("less than"), std::string::npos) << refused.err;
}

TEST_F(MkfsLoopTest, RefusesTheImageOfALoopDevice) {
  const ProgramResult refused = Mkfs({"-f", image_});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_NE(refused.err.find("/dev/loop"), std::string::npos) << refused.err;
  EXPECT_FALSE(SuperblockOf(image_));
}

TEST_F(MkfsLoopTest, RefusesAMountedFileSystem) {
  if (RunProgram({"mkfs.ext4", "-q", loop_.path()}).exit_code != 0)
    GTEST_SKIP() << "mkfs.ext4 is not installed";
  const ProgramResult foreign = Mkfs({loop_.path()});
  EXPECT_EQ(foreign.exit_code, 1);
  EXPECT_NE(foreign.err.find("ext4"), std::string::npos) << foreign.err;
  const std::string mount_point = folder_.File("mnt");
  ASSERT_EQ(::mkdir(mount_point.c_str(), 0700), 0);
  if (::mount(loop_.path().c_str(), mount_point.c_str(), "ext4", 0, nullptr) != 0)
    GTEST_SKIP() << "ext4 can't be mounted here";
  const ProgramResult refused = Mkfs({"-f", loop_.path()});
  EXPECT_EQ(::umount(mount_point.c_str()), 0);
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_NE(refused.err.find("mounted"), std::string::npos) << refused.err;
  // Nothing was changed; and once it is let go of, -f takes it.
  EXPECT_EQ(RunProgram({"e2fsck", "-fn", loop_.path()}).exit_code, 0);
  EXPECT_EQ(Mkfs({"-f", loop_.path()}).exit_code, 0);
  EXPECT_TRUE(SuperblockOf(loop_.path()));
}

TEST_F(MkfsLoopTest, RefusesAReadOnlyDevice) {
  if (RunProgram({"blockdev", "--setro", loop_.path()}).exit_code != 0)
    GTEST_SKIP() << "blockdev can't make the device read-only";
  const ProgramResult refused = Mkfs({loop_.path()});
  RunProgram({"blockdev", "--setrw", loop_.path()});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_NE(refused.err.find("can't be written"), std::string::npos) << refused.err;
}

}  // namespace
}  // namespace cofs
