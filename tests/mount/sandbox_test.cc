// What a live daemon has given up, and that it still ends cleanly without it.
#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "tests/mount/file_io.h"
#include "tests/mount/mounted_volume.h"
#include "tests/mount/superblock_bytes.h"

namespace cofs {
namespace {

constexpr uint64_t kMiB = 1 << 20;
constexpr uint64_t kSysAdmin = uint64_t{1} << 21, kReadSearch = uint64_t{1} << 2;

std::string StatusOf(const std::string& process, const std::string& field) {
  std::ifstream status("/proc/" + process + "/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(field + ":\t")) return line.substr(field.size() + 2);
  return "";
}

uint64_t Capabilities(const std::string& process) {
  return std::stoull("0" + StatusOf(process, "CapEff"), nullptr, 16);
}

std::vector<std::string> ThreadsOf(pid_t pid) {
  std::vector<std::string> threads;
  const std::string folder = "/proc/" + std::to_string(pid) + "/task";
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    threads.push_back(std::to_string(pid) + "/task/" + entry.path().filename().string());
  return threads;
}

std::vector<std::string> ChildrenOf(pid_t pid) {
  std::vector<std::string> children;
  std::ifstream file("/proc/" + std::to_string(pid) + "/task/" + std::to_string(pid) +
                     "/children");
  for (std::string child; file >> child;) children.push_back(child);
  return children;
}

class SandboxMountTest : public CofsMountTest {
 protected:
  explicit SandboxMountTest(bool block_device = false)
      : CofsMountTest({.size_bytes = 256 * kMiB, .block_device = block_device}) {}
  void Work() {
    WriteFile(Path("a"), Pattern(1, 0, 3 * kMiB));
    const Fd from = Open(Path("a"), O_RDONLY), to = Open(Path("b"), O_WRONLY | O_CREAT);
    EXPECT_TRUE(
        Succeeds(copy_file_range(from.get(), nullptr, to.get(), nullptr, kMiB, 0)));
    EXPECT_TRUE(Succeeds(fsync(to.get())));
  }
  void ExpectGivenUp() {
    for (const std::string& thread : ThreadsOf(volume().daemon_pid())) {
      SCOPED_TRACE(thread + " " + StatusOf(thread, "Name"));
      EXPECT_EQ(Capabilities(thread), 0u);
      EXPECT_EQ(StatusOf(thread, "NoNewPrivs"), "1");
      EXPECT_EQ(StatusOf(thread, "Seccomp"), UnderSanitizer() ? "0" : "2");
    }
    const auto children = ChildrenOf(volume().daemon_pid());
    ASSERT_EQ(children.size(), 1u) << "the mount helper";
    EXPECT_EQ(Capabilities(children[0]), kSysAdmin | kReadSearch);
    EXPECT_EQ(StatusOf(children[0], "NoNewPrivs"), "1");
  }
};

class SandboxLoopTest : public SandboxMountTest {
 protected:
  SandboxLoopTest() : SandboxMountTest(true) {}
};

TEST_F(SandboxMountTest, OfAnImageNothingIsKept) {
  Work();
  ExpectGivenUp();
}

TEST_F(SandboxLoopTest, OfALoopDeviceNothingIsKept) {
  Work();
  ExpectGivenUp();
}

TEST_F(SandboxMountTest, ItCanBeLeftOff) {
  volume().Unmount();
  volume().Mount("nosandbox");
  Work();
  const std::string daemon = std::to_string(volume().daemon_pid());
  EXPECT_EQ(Capabilities(daemon), Capabilities("self"));
  EXPECT_EQ(StatusOf(daemon, "NoNewPrivs"), "0");
  EXPECT_EQ(StatusOf(daemon, "Seccomp"), "0");
}

TEST_F(SandboxMountTest, StatTells) {
  const ProgramResult stat = RunProgram({Bin("cofs"), "stat", root()});
  EXPECT_NE(stat.out.find("capabilities none, no new privileges"), std::string::npos)
      << stat.out;
}

// Where the daemon, which can't pass over permissions any more, could not go.
TEST_F(SandboxMountTest, ASignalUnmountsBehindClosedDoors) {
  Work();
  ASSERT_TRUE(Succeeds(chown(root().c_str(), kOrdinaryUser, kOrdinaryUser)));
  ASSERT_TRUE(Succeeds(chmod(root().c_str(), 0)));
  const std::string above = std::filesystem::path(root()).parent_path();
  ASSERT_TRUE(Succeeds(chown(above.c_str(), kOrdinaryUser, kOrdinaryUser)));
  ASSERT_TRUE(Succeeds(chmod(above.c_str(), 0)));
  volume().SignalDaemon(SIGTERM);
  volume().ExpectEnd();
  EXPECT_TRUE(SuperblockBytes::IsClean(volume().image()));
  ASSERT_TRUE(Succeeds(chown(above.c_str(), 0, 0)));
  ASSERT_TRUE(Succeeds(chmod(above.c_str(), 0755)));
  volume().Mount();
  EXPECT_TRUE(SameBytes(ReadFile(Path("a")), Pattern(1, 0, 3 * kMiB)));
}

TEST_F(SandboxMountTest, TheHelperEndsWithItsDaemon) {
  const auto children = ChildrenOf(volume().daemon_pid());
  ASSERT_EQ(children.size(), 1u);
  volume().Kill();
  for (int i = 0; i < 500 && Exists("/proc/" + children[0]); ++i) {
    if (StatusOf(children[0], "State").starts_with("Z")) break;
    usleep(20'000);
  }
  EXPECT_TRUE(!Exists("/proc/" + children[0]) ||
              StatusOf(children[0], "State").starts_with("Z"));
}

// Another file system over the mount is not unmounted in its stead.
TEST_F(SandboxMountTest, WhatIsMountedOverItStays) {
  ASSERT_EQ(mount("none", root().c_str(), "tmpfs", 0, "size=64k"), 0);
  WriteFile(Path("over"), "x");
  const std::string daemon = std::to_string(volume().daemon_pid());
  volume().SignalDaemon(SIGTERM);
  for (int i = 0; i < 1500 && !StatusOf(daemon, "State").starts_with("Z"); ++i)
    usleep(20'000);
  EXPECT_EQ(ReadFile(Path("over")), "x");
  ASSERT_TRUE(Succeeds(umount2(root().c_str(), MNT_DETACH)));
  ASSERT_TRUE(Succeeds(umount2(root().c_str(), MNT_DETACH)));
  volume().ExpectEnd();
}

}  // namespace
}  // namespace cofs
