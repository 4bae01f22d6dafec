// What a process in the sandbox can and can't do, each in a child of its own.
#include "fs/fuse/sandbox.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <thread>

#include "base/sanitizer.h"
#include "device/file_device.h"
#include "fs/fuse/capabilities.h"

namespace cofs {
namespace {

// The child's exit code, or 128 + the signal that ended it.
int InChild(const std::function<int()>& body) {
  const pid_t child = fork();
  if (child == 0) _exit(body());
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int Filtered(const std::function<int()>& body) {
  return InChild([&] {
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || !FilterSystemCalls().ok())
      return 99;
    return body();
  });
}

int ErrnoOf(long result) { return result < 0 ? errno : 0; }

class FilterTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (kUnderSanitizer) GTEST_SKIP() << "the sanitizer makes calls of its own";
  }
};

TEST_F(FilterTest, WhatADaemonDoesGoesOn) {
  EXPECT_EQ(Filtered([] {
              int sum = 0;
              std::thread([&sum] { sum = 7; }).join();
              const int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
              char byte;
              if (fd < 0 || read(fd, &byte, 1) != 1) return 1;
              if (raise(SIGURG) != 0 || kill(getpid(), SIGURG) != 0) return 2;
              const int log = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
              return sum == 7 && log >= 0 ? 0 : 3;
            }),
            0);
}

TEST_F(FilterTest, DevicesWorkInside) {
  char path[] = "/tmp/cofs-sandbox-test-XXXXXX";
  const Fd made(mkstemp(path));
  ASSERT_EQ(ftruncate(made.get(), 1 << 20), 0);
  EXPECT_EQ(Filtered([&] {
              auto device = FileDevice::Open(path, OpenMode::kReadWrite, {});
              if (!device.ok()) return 1;
              AlignedBuffer data(kBlockBytes);
              if (!(*device)->Write(DeviceOffset{8192}, data.span()).ok()) return 2;
              if (!(*device)->Flush().ok()) return 3;
              return (*device)->Read(DeviceOffset{8192}, data.span()).ok() ? 0 : 4;
            }),
            0);
  unlink(path);
}

TEST_F(FilterTest, WhatItHasNoUseForIsNotThere) {
  EXPECT_EQ(Filtered([] { return ErrnoOf(unlink("/nonexistent")); }), ENOSYS);
  EXPECT_EQ(Filtered([] { return ErrnoOf(syscall(SYS_rename, "/nonexistent", "/x")); }),
            ENOSYS);
  EXPECT_EQ(Filtered([] { return ErrnoOf(chmod("/nonexistent", 0777)); }), ENOSYS);
  EXPECT_EQ(Filtered([] { return ErrnoOf(socket(AF_INET, SOCK_STREAM, 0)); }), ENOSYS);
  EXPECT_EQ(Filtered([] { return ErrnoOf(kill(getppid(), 0)); }), ENOSYS);
}

TEST_F(FilterTest, WhatOnlyAnAttackerDoesIsTheEnd) {
  const int killed = 128 + SIGSYS;
  EXPECT_EQ(Filtered([] { return ErrnoOf(execl("/bin/true", "true", nullptr)); }),
            killed);
  EXPECT_EQ(Filtered([] { return ErrnoOf(unshare(CLONE_NEWNS)); }), killed);
  EXPECT_EQ(Filtered([] { return ErrnoOf(mount("none", "/mnt", "tmpfs", 0, "")); }),
            killed);
  EXPECT_EQ(Filtered([] { return ErrnoOf(ptrace(PTRACE_TRACEME, 0, nullptr, nullptr)); }),
            killed);
  EXPECT_EQ(Filtered([] { return ErrnoOf(setuid(0)); }), killed);
}

TEST(CapabilitiesTest, WhatIsGivenUpIsGone) {
  if (geteuid() != 0) GTEST_SKIP() << "there is nothing to give up without root";
  EXPECT_EQ(InChild([] {
              const uint64_t kept = CapabilityBit(CAP_SYS_RAWIO);
              if (!KeepCapabilities(kept).ok()) return 1;
              if ((EffectiveCapabilities() & ~kept) != 0) return 2;
              uint64_t in_thread = UINT64_MAX;
              std::thread([&] { in_thread = EffectiveCapabilities(); }).join();
              if ((in_thread & ~kept) != 0) return 3;
              // The way back: the kernel gives no more than the thread may have.
              __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
              __user_cap_data_struct all[2] = {{~0u, ~0u, 0}, {~0u, ~0u, 0}};
              return syscall(SYS_capset, &header, all) == 0 ? 4 : 0;
            }),
            0);
}

TEST(CapabilitiesTest, Names) {
  EXPECT_EQ(NamesOfCapabilities(0), "none");
  EXPECT_EQ(
      NamesOfCapabilities(CapabilityBit(CAP_SYS_ADMIN) | CapabilityBit(CAP_SYS_RAWIO)),
      "sys_rawio,sys_admin");
  EXPECT_EQ(NamesOfCapabilities(CapabilityBit(CAP_KILL)), "5");
}

TEST(SandboxTest, SaysWhatItHasGivenUp) {
  EXPECT_EQ(InChild([] {
              if (!EnterSandbox(0).ok()) return 1;
              const std::string wanted =
                  kUnderSanitizer
                      ? "capabilities none, no new privileges"
                      : "capabilities none, no new privileges, system calls filtered";
              return DescribeSandbox() == wanted ? 0 : 2;
            }),
            0);
}

}  // namespace
}  // namespace cofs
