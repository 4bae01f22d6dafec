#include "tests/mount/mounted_volume.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <system_error>

#include "tests/mount/file_io.h"

namespace cofs {
namespace {

constexpr const char* kDirOn = "COFS_TEST_DIR_ON";
constexpr uint64_t kMemoryForImages = uint64_t{8} << 30;
constexpr size_t kLogTail = 16 << 10;
// The watchdog comes long before.
constexpr int kLongestWaitMs = 550'000;

// Memory is faster, when there is plenty.
std::string ImageDirectory() {
  if (const char* directory = getenv("COFS_TEST_IMAGE_DIR")) return directory;
  struct statvfs room;
  const auto available = static_cast<uint64_t>(sysconf(_SC_AVPHYS_PAGES)) *
                         static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  if (available >= kMemoryForImages && statvfs("/dev/shm", &room) == 0 &&
      room.f_bavail * room.f_frsize >= kMemoryForImages)
    return "/dev/shm";
  const char* directory = getenv("TMPDIR");
  return directory ? directory : "/tmp";
}

std::string MakeTemporaryDirectory(const std::string& parent) {
  std::string path = parent + "/cofs-mount-test-XXXXXX";
  if (mkdtemp(path.data()) == nullptr) ThrowErrno(path);
  // Ordinary users must reach the mount point inside.
  if (chmod(path.c_str(), 0755) != 0) ThrowErrno(path);
  return path;
}

std::string ReadLog(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return std::move(text).str();
}

std::string Tail(const std::string& text) {
  return text.size() <= kLogTail ? text : "...\n" + text.substr(text.size() - kLogTail);
}

// Processor time that the daemon and this test have used.
double CpuSeconds(pid_t daemon) {
  double ticks = 0;
  for (const std::string& process : {std::to_string(daemon), std::string("self")}) {
    // Fields 14 and 15, behind the name in parentheses.
    const std::string text = ReadLog("/proc/" + process + "/stat");
    std::istringstream fields(text.substr(std::min(text.rfind(')') + 1, text.size())));
    std::string field;
    for (int i = 3; i <= 15 && fields >> field; ++i) {
      if (i >= 14) ticks += std::stod(field);
    }
  }
  return ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
}

// Unmounting may meet a mount that the kernel is just done with.
int UnmountPatiently(const std::string& root) {
  for (int attempt = 0; attempt < 100; ++attempt) {
    if (umount2(root.c_str(), 0) == 0) return 0;
    if (errno != EBUSY) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  return -1;
}

// Where the kernel has each thread of a process.
std::string KernelStacks(pid_t pid) {
  std::string text;
  std::error_code ignored;
  const std::string tasks = "/proc/" + std::to_string(pid) + "/task";
  for (const auto& task : std::filesystem::directory_iterator(tasks, ignored)) {
    text += "thread " + task.path().filename().string() + "\n";
    std::ifstream stack(task.path() / "stack");
    for (std::string line; std::getline(stack, line);) text += "  " + line + "\n";
  }
  return text;
}

}  // namespace

bool IsMountPoint(const std::string& directory) {
  std::ifstream mounts("/proc/self/mountinfo");
  std::string line;
  while (std::getline(mounts, line)) {
    std::stringstream fields(line);
    std::string id, parent, device, root, mount_point;
    fields >> id >> parent >> device >> root >> mount_point;
    if (mount_point == directory) return true;
  }
  return false;
}

std::optional<std::string> WhyNoMounts(bool needs_loop_device) {
  if (getenv(kDirOn) != nullptr) return std::nullopt;
  if (geteuid() != 0) return "mounting needs root";
  if (access("/dev/fuse", R_OK | W_OK) != 0) return "there is no /dev/fuse";
  if (needs_loop_device && access("/dev/loop-control", R_OK | W_OK) != 0)
    return "there is no /dev/loop-control";
  // Root of a container may be refused all the same.
  static const bool may_mount = [] {
    const ScratchDirectory scratch;
    if (mount("none", scratch.path().c_str(), "tmpfs", 0, "size=64k") != 0) return false;
    umount2(scratch.path().c_str(), MNT_DETACH);
    return true;
  }();
  if (!may_mount) return "mount(2) is refused here";
  return std::nullopt;
}

ScratchDirectory::ScratchDirectory(const std::string& parent)
    : path_(MakeTemporaryDirectory(parent.empty() ? ImageDirectory() : parent)) {
  chmod(path_.c_str(), 0755);  // tests act as ordinary users too
}

ScratchDirectory::~ScratchDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

MountedTestVolume::MountedTestVolume(const VolumeSetup& setup)
    : directory_(setup.image_parent),
      image_(directory_.path() + "/image"),
      root_(directory_.path() + "/root"),
      log_(directory_.path() + "/log"),
      mount_program_(setup.mount_program),
      options_(setup.options) {
  MakeDirectory(root_);
  const Fd image = Open(image_, O_RDWR | O_CREAT | O_EXCL, 0600);
  if (ftruncate(image.get(), static_cast<off_t>(setup.size_bytes)) != 0)
    ThrowErrno("size of " + image_);
  if (setup.block_device) loop_ = LoopDevice(image_);
  std::vector<std::string> command = {Bin("mkfs.cofs")};
  command.insert(command.end(), setup.mkfs_arguments.begin(), setup.mkfs_arguments.end());
  command.push_back(device());
  const ProgramResult made = RunProgram(command);
  if (made.exit_code != 0) {
    throw std::runtime_error("mkfs.cofs: exit code " + std::to_string(made.exit_code) + "\n" +
                             made.out + made.err);
  }
}

MountedTestVolume::~MountedTestVolume() {
  StopWatching();
  umount2(root_.c_str(), MNT_DETACH);
  daemon_.Signal(SIGKILL);
  if (daemon_.running() && !daemon_.Wait(kLongestWaitMs))
    ADD_FAILURE() << "the killed daemon does not end, pid " << daemon_.pid();
  while (IsMountPoint(root_) && umount2(root_.c_str(), MNT_DETACH) == 0) {
  }
  loop_.Detach();
}

void MountedTestVolume::Mount() { Mount(options_); }

void MountedTestVolume::Start(const std::string& options) {
  if (mounted()) throw std::logic_error("mounted already");
  std::vector<std::string> command = {Bin(mount_program_), "-f", device(), root_};
  if (!options.empty()) command.insert(command.end(), {"-o", options});
  daemon_ = BackgroundProgram(command, log_);
  watchdog_end_ = Fd(eventfd(0, EFD_CLOEXEC));
  watchdog_ = std::thread(&MountedTestVolume::Watch, this, Fd(dup(daemon_.pidfd())), daemon_.pid());
}

void MountedTestVolume::Mount(const std::string& options) {
  const Fd mounts = Open("/proc/self/mountinfo", O_RDONLY);
  Start(options);
  // The mount table tells of its changes by POLLPRI, the daemon of its end.
  while (!IsMountPoint(root_)) {
    pollfd events[] = {{mounts.get(), POLLPRI, 0}, {daemon_.pidfd(), POLLIN, 0}};
    if (poll(events, 2, 100) < 0 && errno != EINTR) ThrowErrno("poll");
    if (events[1].revents == 0) continue;
    StopWatching();
    const std::optional<int> exit_code = daemon_.Wait(0);
    throw std::runtime_error("mount.cofs ended, exit code " +
                             std::to_string(exit_code.value_or(-1)) + "\n" +
                             Tail(ReadLog(log_)));
  }
  // The mount shows before the daemon has answered its first request.
  struct statvfs usage;
  if (statvfs(root_.c_str(), &usage) != 0)
    ThrowErrno("statfs of the new mount\n" + Tail(ReadLog(log_)));
}

void MountedTestVolume::Unmount() { DetachAndWait(false); }

void MountedTestVolume::UnmountFailed() { DetachAndWait(true); }

void MountedTestVolume::DetachAndWait(bool may_have_failed) {
  if (!mounted()) return;
  if (UnmountPatiently(root_) != 0) {
    ADD_FAILURE() << "umount: " << strerror(errno);
    umount2(root_.c_str(), MNT_DETACH);
  }
  WaitForEnd(may_have_failed);
}

void MountedTestVolume::ExpectEnd() { WaitForEnd(false); }

void MountedTestVolume::WaitForEnd(bool may_have_failed) {
  const std::optional<int> exit_code = daemon_.Wait(kLongestWaitMs);
  StopWatching();
  if (!exit_code) {
    ADD_FAILURE() << "the daemon does not end";
    Kill();
    return;
  }
  EXPECT_TRUE(*exit_code == 0 || (may_have_failed && *exit_code < 128))
      << "the daemon ended with exit code " << *exit_code;
  EXPECT_FALSE(IsMountPoint(root_)) << "the daemon left its mount behind";
  ExpectCleanLog();
}

void MountedTestVolume::Kill() {
  StopWatching();
  daemon_.Signal(SIGKILL);
  if (daemon_.running() && !daemon_.Wait(kLongestWaitMs))
    ADD_FAILURE() << "the killed daemon does not end";
  umount2(root_.c_str(), MNT_DETACH);
  ExpectCleanLog();
}

void MountedTestVolume::KillWhileMounting(int delay_ms) {
  Start(options_);
  std::this_thread::sleep_for(std::chrono::milliseconds(delay_ms));
  Kill();
}

void MountedTestVolume::KillWhileUnmounting(int delay_ms) {
  std::thread unmounting([this] { umount2(root_.c_str(), 0); });
  std::this_thread::sleep_for(std::chrono::milliseconds(delay_ms));
  Kill();
  unmounting.join();
}

void MountedTestVolume::Check() {
  const ProgramResult checked = RunProgram({Bin("fsck.cofs"), "-n", device()});
  EXPECT_EQ(checked.exit_code, 0) << "fsck.cofs -n\n" << checked.out << checked.err;
}

void MountedTestVolume::ExpectCleanLog() {
  const std::string log = ReadLog(log_);
  for (const char* report : {"ERROR: AddressSanitizer", "ERROR: LeakSanitizer",
                             "WARNING: ThreadSanitizer", "runtime error:", "CHECK failed"}) {
    const size_t at = log.find(report);
    if (at != std::string::npos)
      ADD_FAILURE() << "the daemon's log:\n" << log.substr(at, kLogTail);
  }
}

// The daemon hangs when neither it nor the test gets anything done for so long. A busy
// machine only makes both slow.
void MountedTestVolume::Watch(const Fd& pidfd, pid_t pid) {
  constexpr int kSampleMs = 2000;
  const double idle_seconds = 0.5;
  double busy_at = CpuSeconds(pid);
  for (int idle_ms = 0; idle_ms < HangLimitSeconds() * 1000; idle_ms += kSampleMs) {
    pollfd events[] = {{pidfd.get(), POLLIN, 0}, {watchdog_end_.get(), POLLIN, 0}};
    if (poll(events, 2, kSampleMs) != 0) return;
    const double now = CpuSeconds(pid);
    if (now - busy_at < idle_seconds) continue;
    busy_at = now;
    idle_ms = 0;
  }
  // What it hangs in, when there is a debugger; then its mount's requests fail.
  const ProgramResult stacks = RunProgram(
      {"gdb", "-p", std::to_string(pid), "-batch", "-ex", "thread apply all bt 24"});
  ADD_FAILURE() << "nothing happens for " << HangLimitSeconds()
                << " s: the daemon hangs and is killed\n"
                << KernelStacks(pid) << "\nthe test:\n" << KernelStacks(getpid())
                << stacks.out;
  SignalPidFd(pidfd, SIGKILL);
}

void MountedTestVolume::StopWatching() {
  if (!watchdog_.joinable()) return;
  const uint64_t one = 1;
  if (write(watchdog_end_.get(), &one, sizeof one) < 0) ThrowErrno("eventfd");
  watchdog_.join();
  watchdog_end_.Reset();
}

void MountTest::SetUp() {
  if (const auto reason = WhyNoMounts(setup_.block_device))
    GTEST_SKIP() << "SKIPPED-AS-A-WHOLE: " << *reason;
  umask(022);
  if (const char* directory = getenv(kDirOn)) {
    root_ = MakeTemporaryDirectory(directory);
    chmod(root_.c_str(), 0755);
    return;
  }
  volume_ = std::make_unique<MountedTestVolume>(setup_);
  volume_->Mount();
  root_ = volume_->root();
}

void MountTest::TearDown() {
  if (volume_ == nullptr) {
    if (!root_.empty()) RemoveTree(root_);
    return;
  }
  volume_->Unmount();
  volume_->Check();
  if (HasFailure()) {
    GTEST_LOG_(INFO) << "the daemon's log:\n" << Tail(ReadLog(volume_->log_path()));
  }
  volume_.reset();
}

void MountTest::Remount() {
  if (!OnCofs()) {
    sync();
    return;
  }
  volume_->Unmount();
  volume_->Mount();
}

void CofsMountTest::SetUp() {
  if (getenv(kDirOn) != nullptr) GTEST_SKIP() << kDirOn << " is set: this needs cofs itself";
  MountTest::SetUp();
}

}  // namespace cofs
