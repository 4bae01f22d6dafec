// One volume is mounted once: by an image and by a loop device over it, by two paths, by
// two hosts.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <nlohmann/json.hpp>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "extent_map/heartbeat.h"
#include "tests/mount/file_io.h"
#include "tests/mount/mounted_volume.h"

namespace cofs {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using Clock = std::chrono::steady_clock;

Result<Heartbeat> HeartbeatOf(const std::string& path) {
  const Fd fd = Open(path, O_RDONLY);
  return DecodeHeartbeat(ReadAt(fd.get(), kHeartbeatOffset.value(), kBlockBytes));
}

void PutHeartbeat(const std::string& image, const Heartbeat& heartbeat) {
  const Fd fd = Open(image, O_RDWR);
  WriteAt(fd.get(), kHeartbeatOffset.value(), EncodeHeartbeat(heartbeat));
  if (fdatasync(fd.get()) != 0) 
    throw std::system_error(errno, std::generic_category(), "fdatasync " + image);
}

// As another host has it, which was booted at another time.
Heartbeat OfAnotherHost() {
  Heartbeat heartbeat;
  heartbeat.state = HeartbeatState::kMounted;
  heartbeat.sequence = 1;
  heartbeat.holder.bytes[0] = 1;
  heartbeat.boot.bytes[0] = 1;
  heartbeat.interval_ms = 2000;
  heartbeat.written_s = 0x65000000;
  heartbeat.pid = 12;
  heartbeat.host = "beta";
  heartbeat.device = "/dev/vdb";
  return heartbeat;
}

// Another host's heartbeat in an image, twice a second.
class OtherHost {
 public:
  explicit OtherHost(std::string image)
      : image_(std::move(image)), thread_([this] {
          Heartbeat heartbeat = OfAnotherHost();
          while (!is_done_) {
            ++heartbeat.sequence;
            PutHeartbeat(image_, heartbeat);
            ++beats_;
            std::this_thread::sleep_for(std::chrono::milliseconds(500));
          }
        }) {
    while (beats_ == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  ~OtherHost() {
    is_done_ = true;
    thread_.join();
  }

 private:
  const std::string image_;
  std::atomic<bool> is_done_{false};
  std::atomic<int> beats_{0};
  std::thread thread_;
};

nlohmann::json StatsOf(const std::string& root) {
  const ProgramResult stat = RunProgram({Bin("cofs"), "stat", "--json", root});
  EXPECT_EQ(stat.exit_code, 0) << stat.err;
  return nlohmann::json::parse(stat.out);
}

void ExpectRefused(const ProgramResult& program, const std::string& words) {
  EXPECT_NE(program.exit_code, 0);
  EXPECT_THAT(program.err + program.out, HasSubstr(words));
}

// mount.cofs of `device` somewhere else; unmounts when it has succeeded.
ProgramResult MountElsewhere(const std::string& device, const std::string& options = "rw") {
  const ScratchDirectory directory;
  ProgramResult result =
      RunProgram({Bin("mount.cofs"), "-o", options, device, directory.path()});
  if (result.exit_code == 0) umount2(directory.path().c_str(), 0);
  return result;
}

class MultiMountTest : public CofsMountTest {
 protected:
  MultiMountTest() : CofsMountTest({.size_bytes = 256 << 20}) {}
  void SetUp() override {
    if (const auto reason = WhyNoMounts(/*needs_loop_device=*/true))
      GTEST_SKIP() << "SKIPPED-AS-A-WHOLE: " << *reason;
    CofsMountTest::SetUp();
  }
};

class MultiMountOfABlockDeviceTest : public MultiMountTest {
 protected:
  MultiMountOfABlockDeviceTest() { setup_.block_device = true; }
};

// What others have is neither mounted nor checked nor formatted. All of them wait for a
// while, in case somebody is just letting go of it: at the same time.
void ExpectAllBusy(const std::vector<std::string>& paths) {
  std::vector<std::thread> threads;
  for (const std::string& path : paths) {
    threads.emplace_back([path] {
      ExpectRefused(MountElsewhere(path), "used by another program");
    });
    threads.emplace_back(
        [path] { ExpectRefused(RunProgram({Bin("fsck.cofs"), "-n", path}), path); });
    threads.emplace_back(
        [path] { ExpectRefused(RunProgram({Bin("mkfs.cofs"), "-f", path}), path); });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(MultiMountTest, AMountedImageIsNotUsedByALoopDeviceOrByAnotherPath) {
  WriteFile(Path("file"), "here");
  const ScratchDirectory elsewhere;
  const std::string& image = volume().image();
  const std::string directory = image.substr(0, image.rfind('/'));
  ASSERT_TRUE(Succeeds(
      mount(directory.c_str(), elsewhere.path().c_str(), "", MS_BIND, nullptr)));
  {
    const LoopDevice loop(image);
    ExpectAllBusy({loop.path(), elsewhere.path() + image.substr(directory.size())});
  }
  EXPECT_TRUE(Succeeds(umount2(elsewhere.path().c_str(), 0)));
  EXPECT_EQ(ReadFile(Path("file")), "here");
}

TEST_F(MultiMountOfABlockDeviceTest, AMountedLoopDeviceIsNotUsedByItsImageOrAnotherOne) {
  WriteFile(Path("file"), "here");
  const LoopDevice second(volume().image());
  ExpectAllBusy({volume().image(), second.path()});
  EXPECT_EQ(ReadFile(Path("file")), "here");
}

TEST_F(MultiMountOfABlockDeviceTest, ABlockDeviceBeatsAndAnImageDoesNot) {
  const auto beat = HeartbeatOf(volume().image());
  ASSERT_TRUE(beat.ok()) << beat.error().ToString();
  EXPECT_EQ(beat->state, HeartbeatState::kMounted);
  EXPECT_EQ(beat->pid, static_cast<uint32_t>(volume().daemon_pid()));
  EXPECT_EQ(beat->device, volume().device());
  EXPECT_EQ(StatsOf(root())["options"]["mmp"], true);
  const auto deadline = Clock::now() + std::chrono::seconds(HangLimitSeconds());
  while (HeartbeatOf(volume().image())->sequence == beat->sequence && Clock::now() < deadline)
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_GT(HeartbeatOf(volume().image())->sequence, beat->sequence);
  volume().Unmount();
  EXPECT_EQ(HeartbeatOf(volume().image())->state, HeartbeatState::kEnded);
  volume().Mount("nommp");
  EXPECT_EQ(HeartbeatOf(volume().image())->state, HeartbeatState::kEnded);
  EXPECT_EQ(StatsOf(root())["options"]["mmp"], false);
}

TEST_F(MultiMountTest, AnImageBeatsWhenItIsAskedTo) {
  EXPECT_TRUE(HeartbeatOf(volume().image()).Is(ErrorCode::kNotFound));
  volume().Unmount();
  volume().Mount("mmp");
  ASSERT_TRUE(HeartbeatOf(volume().image()).ok());
  EXPECT_EQ(HeartbeatOf(volume().image())->state, HeartbeatState::kMounted);
}

TEST_F(MultiMountOfABlockDeviceTest, AfterKill9ItIsMountedWithoutWaiting) {
  WriteFile(Path("file"), "synced");
  { ASSERT_TRUE(Succeeds(fsync(Open(Path("file"), O_RDWR).get()))); }
  volume().Kill();
  ASSERT_TRUE(HeartbeatOf(volume().image()).ok());
  EXPECT_EQ(HeartbeatOf(volume().image())->state, HeartbeatState::kMounted);
  volume().Mount();
  EXPECT_THAT(ReadFile(volume().log_path()), Not(HasSubstr("for its heartbeat")));
  EXPECT_EQ(ReadFile(Path("file")), "synced");
}

TEST_F(MultiMountTest, AHeartbeatOfAnotherHostThatStoppedIsWaitedFor) {
  volume().Unmount();
  PutHeartbeat(volume().image(), OfAnotherHost());
  const auto begin = Clock::now();
  volume().Mount();
  EXPECT_GE(Clock::now() - begin, std::chrono::seconds(5));
  EXPECT_THAT(ReadFile(volume().log_path()),
              AllOf(HasSubstr("host beta (mounted from /dev/vdb, process 12"),
                    HasSubstr("for its heartbeat"),
                    HasSubstr("left by a crash")));
  // Once.
  EXPECT_EQ(HeartbeatOf(volume().image())->state, HeartbeatState::kEnded);
}

TEST_F(MultiMountTest, WhatAnotherHostHasIsLeftAlone) {
  volume().Unmount();
  const std::string image = volume().image();
  {
    const OtherHost other(image);
    const std::string who = "in use by host beta (mounted from /dev/vdb, process 12";
    ExpectRefused(MountElsewhere(image), who);
    ExpectRefused(MountElsewhere(image, "mmp"), who);
    ExpectRefused(MountElsewhere(image, "ro"), who);
    ExpectRefused(RunProgram({Bin("fsck.cofs"), "-n", image}), who);
    ExpectRefused(RunProgram({Bin("fsck.cofs"), "-y", image}), who);
    ExpectRefused(RunProgram({Bin("mkfs.cofs"), "-f", image}), who);
    ExpectRefused(RunProgram({Bin("cofs"), "probe", image}), who);
  }
  Heartbeat ended = OfAnotherHost();
  ended.state = HeartbeatState::kEnded;
  PutHeartbeat(image, ended);
  volume().Mount();
}

TEST_F(MultiMountOfABlockDeviceTest, WhatAnotherHostHasTakenIsReadOnlyAtOnce) {
  WriteFile(Path("file"), "before");
  { ASSERT_TRUE(Succeeds(fsync(Open(Path("file"), O_RDWR).get()))); }
  PutHeartbeat(volume().image(), OfAnotherHost());
  const auto deadline = Clock::now() + std::chrono::seconds(HangLimitSeconds());
  while (StatsOf(root())["read_only"] != true && Clock::now() < deadline)
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_THAT(StatsOf(root())["read_only_reason"].get<std::string>(),
              AllOf(HasSubstr("another one has taken the volume"), HasSubstr("beta")));
  EXPECT_TRUE(FailsWith(open(Path("new").c_str(), O_CREAT | O_WRONLY, 0600), EROFS));
  EXPECT_EQ(ReadFile(Path("file")), "before");
  volume().UnmountFailed();
  EXPECT_EQ(*HeartbeatOf(volume().image()), OfAnotherHost());
  Heartbeat ended = OfAnotherHost();
  ended.state = HeartbeatState::kEnded;
  PutHeartbeat(volume().image(), ended);
  volume().Mount();
}

class SecondMountTest : public CofsMountTest {
 protected:
  SecondMountTest() : CofsMountTest({.size_bytes = 256 << 20, .block_device = true}) {}
};

TEST_F(SecondMountTest, ShowsTheSameAndIsNoPeer) {
  MakeDirectory(Path("below"));
  ASSERT_TRUE(Succeeds(mount(nullptr, root().c_str(), nullptr, MS_SHARED, nullptr)));
  const ScratchDirectory second;
  const ProgramResult result =
      RunProgram({Bin("mount.cofs"), "-o", "nosuid", volume().device(), second.path()});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  WriteFile(Path("file"), "seen by both");
  EXPECT_EQ(ReadFile(second.path() + "/file"), "seen by both");
  // What is mounted below the one does not appear below the other.
  ASSERT_TRUE(Succeeds(mount("none", Path("below").c_str(), "tmpfs", 0, "size=1M")));
  WriteFile(Path("below/hidden"), "x");
  EXPECT_FALSE(Exists(second.path() + "/below/hidden"));
  ASSERT_TRUE(Succeeds(umount2(Path("below").c_str(), 0)));
  ASSERT_TRUE(Succeeds(umount2(second.path().c_str(), 0)));
  EXPECT_EQ(ReadFile(Path("file")), "seen by both");
}

}  // namespace
}  // namespace cofs
