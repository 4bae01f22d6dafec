// mount.cofs as mount(8) runs it: in the background, exit codes, sentences, signals.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "tests/mount/file_io.h"
#include "tests/mount/mounted_volume.h"
#include "tests/mount/subprocess.h"

namespace cofs {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class MountProgramTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const auto reason = WhyNoMounts(false)) GTEST_SKIP() << *reason;
    image_ = directory_.path() + "/image";
    root_ = directory_.path() + "/root";
    MakeDirectory(root_);
  }
  void TearDown() override {
    while (IsMountPoint(root_) && umount2(root_.c_str(), MNT_DETACH) == 0) {
    }
  }

  void MakeVolume() {
    WriteFile(image_, "");
    ASSERT_EQ(truncate(image_.c_str(), 256 << 20), 0);
    const ProgramResult made = RunProgram({Bin("mkfs.cofs"), image_});
    ASSERT_EQ(made.exit_code, 0) << made.err;
  }
  ProgramResult Mount(const std::string& options = "") {
    std::vector<std::string> command{Bin("mount.cofs"), image_, root_};
    if (!options.empty()) command.insert(command.end(), {"-o", options});
    return RunProgram(command);
  }
  nlohmann::json Stats() {
    const ProgramResult result = RunProgram({Bin("cofs"), "stat", "--json", root_});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return nlohmann::json::parse(result.out, nullptr, false);
  }
  // The daemon ends some time after the mount is gone; its lock is free then.
  void ExpectVolumeIsFree() {
    const ProgramResult checked = RunProgram({Bin("mount.cofs"), image_, root_, "-o", "ro"});
    EXPECT_EQ(checked.exit_code, 0) << checked.err;
    EXPECT_EQ(umount2(root_.c_str(), 0), 0);
  }

  ScratchDirectory directory_;
  std::string image_, root_;
};

TEST_F(MountProgramTest, ReturnsWhenTheMountIsLive) {
  MakeVolume();
  const ProgramResult mounted = Mount();
  ASSERT_EQ(mounted.exit_code, 0) << mounted.err;
  EXPECT_EQ(mounted.err, "");
  ASSERT_TRUE(IsMountPoint(root_));
  WriteFile(root_ + "/file", "contents");
  ASSERT_EQ(rename((root_ + "/file").c_str(), (root_ + "/renamed").c_str()), 0);
  ASSERT_EQ(umount2(root_.c_str(), 0), 0);
  // It waits for the daemon that is letting go.
  ASSERT_EQ(Mount("ro").exit_code, 0);
  EXPECT_EQ(ReadFile(root_ + "/renamed"), "contents");
  EXPECT_FALSE(Exists(root_ + "/file"));
  ASSERT_EQ(umount2(root_.c_str(), 0), 0);
}

TEST_F(MountProgramTest, ShowsWhatItIsInTheMountTable) {
  MakeVolume();
  ASSERT_EQ(Mount("noatime,nodev,x-note=1,_netdev").exit_code, 0);
  std::ifstream mounts("/proc/self/mounts");
  std::string found;
  for (std::string line; std::getline(mounts, line);)
    if (line.find(" " + root_ + " ") != std::string::npos) found = line;
  EXPECT_THAT(found, AllOf(HasSubstr(image_ + " "), HasSubstr(" fuse.cofs "),
                           HasSubstr("noatime"), HasSubstr("nodev"),
                           HasSubstr("default_permissions"), HasSubstr("allow_other")));
  EXPECT_THAT(found, Not(HasSubstr("nosuid")));
  const nlohmann::json stats = Stats();
  EXPECT_EQ(stats["options"]["atime"], "noatime");
  EXPECT_EQ(stats["volume"]["device"], image_);
  EXPECT_GT(stats["space"]["free_bytes"], 0);
  ASSERT_EQ(umount2(root_.c_str(), 0), 0);
}

TEST_F(MountProgramTest, SignalsUnmountCleanly) {
  MakeVolume();
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) {
    ASSERT_EQ(Mount().exit_code, 0);
    const pid_t daemon = Stats()["pid"].get<pid_t>();
    WriteFile(root_ + "/" + std::to_string(signal), "written");
    ASSERT_EQ(kill(daemon, signal), 0);
    const auto deadline =
        std::chrono::steady_clock::now() + std::chrono::seconds(HangLimitSeconds());
    while (IsMountPoint(root_) && std::chrono::steady_clock::now() < deadline)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    ASSERT_FALSE(IsMountPoint(root_)) << "signal " << signal;
    ASSERT_EQ(Mount().exit_code, 0);
    EXPECT_EQ(ReadFile(root_ + "/" + std::to_string(signal)), "written");
    ASSERT_EQ(umount2(root_.c_str(), 0), 0);
  }
}

TEST_F(MountProgramTest, ASignalDetachesWhatIsInUse) {
  MakeVolume();
  ASSERT_EQ(Mount().exit_code, 0);
  const pid_t daemon = Stats()["pid"].get<pid_t>();
  Fd open = Open(root_ + "/open", O_RDWR | O_CREAT);
  WriteAt(open.get(), 0, "in use");
  ASSERT_EQ(kill(daemon, SIGTERM), 0);
  const auto deadline =
      std::chrono::steady_clock::now() + std::chrono::seconds(HangLimitSeconds());
  while (IsMountPoint(root_) && std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  ASSERT_FALSE(IsMountPoint(root_));
  open.Reset();  // the last user: the daemon ends
  ASSERT_EQ(Mount().exit_code, 0);
  EXPECT_EQ(ReadFile(root_ + "/open"), "in use");
  ASSERT_EQ(umount2(root_.c_str(), 0), 0);
}

TEST_F(MountProgramTest, SeekSeesWhatIsStillInTheKernelsCache) {
  MakeVolume();
  ASSERT_EQ(Mount().exit_code, 0);
  const Fd file = Open(root_ + "/file", O_RDWR | O_CREAT);
  WriteAt(file.get(), 1 << 20, std::string(8192, 'x'));
  EXPECT_EQ(DataRanges(file.get()),
            (std::vector<DataRange>{{1 << 20, (1 << 20) + 8192}}));
  EXPECT_EQ(ReadAt(file.get(), 1 << 20, 8192), std::string(8192, 'x'));
}

TEST_F(MountProgramTest, RefusesWithASentence) {
  MakeVolume();
  const std::string other = directory_.path() + "/other";
  const std::string empty = directory_.path() + "/empty";
  WriteFile(other, std::string(1 << 20, 'z'));
  WriteFile(empty, "");
  const std::string truncated = directory_.path() + "/truncated";
  ASSERT_EQ(RunProgram({"cp", "--sparse=always", image_, truncated}).exit_code, 0);
  ASSERT_EQ(truncate(truncated.c_str(), 128 << 20), 0);
  struct Case {
    std::vector<std::string> arguments;
    int exit_code;
    const char* sentence;
  };
  const std::vector<Case> kCases = {
      {{}, 1, "a device or image and a directory are needed"},
      {{image_, root_, "-o", "frobnicate"}, 1, "option 'frobnicate' is not known"},
      {{image_, root_, "-o", "commit=never"}, 1, "option 'commit'"},
      {{image_, root_ + "/nothing"}, 32, "/nothing: no such file or directory"},
      {{image_, other}, 32, "not a directory"},
      {{directory_.path() + "/nothing", root_}, 32, "/nothing: no such file or directory"},
      {{directory_.path(), root_}, 32, "neither a block device nor an image"},
      {{other, root_}, 32, "not a cofs volume"},
      {{empty, root_}, 32, "empty"},
      {{truncated, root_}, 32, "truncated"},
  };
  for (const Case& c : kCases) {
    std::vector<std::string> command{Bin("mount.cofs")};
    command.insert(command.end(), c.arguments.begin(), c.arguments.end());
    const ProgramResult result = RunProgram(command);
    EXPECT_EQ(result.exit_code, c.exit_code) << testing::PrintToString(c.arguments) << result.err;
    EXPECT_THAT(result.err, HasSubstr(c.sentence));
    EXPECT_THAT(result.err, HasSubstr("mount.cofs: "));
    EXPECT_FALSE(IsMountPoint(root_));
  }
  EXPECT_EQ(ReadFile(other), std::string(1 << 20, 'z'));
}

TEST_F(MountProgramTest, AnswersOnlyItsOwnIoctls) {
  const ProgramResult result = RunProgram({Bin("cofs"), "stat", directory_.path()});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("not a cofs volume"));
}

}  // namespace
}  // namespace cofs
