// FileDevice on image files: what is refused, locks, sizes, images that change below.
#include "device/file_device.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <filesystem>
#include <thread>

#include "tests/device/device_fixture.h"

namespace cofs {
namespace {

constexpr uint64_t kImageBytes = 8 << 20;

class FileDeviceTest : public ::testing::Test {
 protected:
  void SetUp() override { MakeImage(image_, kImageBytes); }
  std::unique_ptr<FileDevice> Open(OpenMode mode = OpenMode::kReadWrite) {
    auto device = FileDevice::Open(image_, mode);
    EXPECT_TRUE(device.ok()) << device.error().ToString();
    return device.ok() ? std::move(*device) : nullptr;
  }

  TempFolder folder_;
  const std::string image_ = folder_ / "image";
};

TEST_F(FileDeviceTest, RefusesWhatIsNoVolume) {
  ASSERT_EQ(::mkfifo((folder_ / "pipe").c_str(), 0600), 0);
  const Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  const std::string socket_path = folder_ / "socket";
  ASSERT_LT(socket_path.size(), sizeof(address.sun_path));
  socket_path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  ASSERT_EQ(::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)),
            0);
  MakeImage(folder_ / "empty", 0);
  MakeImage(folder_ / "small", kBlockBytes - 1);

  const struct {
    std::string path;
    ErrorCode code;
    std::string_view says;
  } cases[] = {
      {folder_ / ".", ErrorCode::kInvalidArgument, "a directory"},
      {"/dev/null", ErrorCode::kInvalidArgument, "a character device"},
      {folder_ / "pipe", ErrorCode::kInvalidArgument, "a pipe"},
      {folder_ / "socket", ErrorCode::kInvalidArgument, "a socket"},
      {folder_ / "empty", ErrorCode::kInvalidArgument, "less than a block"},
      {folder_ / "small", ErrorCode::kInvalidArgument, "less than a block"},
      {folder_ / "nothing", ErrorCode::kNotFound, "nothing"},
  };
  for (const auto& c : cases) {
    const auto device = FileDevice::Open(c.path, OpenMode::kReadWrite);
    ASSERT_TRUE(device.Is(c.code)) << c.path;
    EXPECT_NE(device.error().ToString().find(c.says), std::string::npos)
        << device.error().ToString();
  }
}

TEST_F(FileDeviceTest, GeometryOfAnImage) {
  MakeImage(folder_ / "odd", 5 * kBlockBytes + 777);
  const auto device = FileDevice::Open(folder_ / "odd", OpenMode::kReadWrite);
  ASSERT_TRUE(device.ok());
  const DeviceGeometry& geometry = (*device)->geometry();
  EXPECT_EQ(geometry.size_bytes, 5 * kBlockBytes) << "whole blocks only";
  EXPECT_EQ(geometry.path, folder_ / "odd");
  EXPECT_FALSE(geometry.is_block_device);
  EXPECT_FALSE(geometry.is_read_only);
  EXPECT_EQ(geometry.is_direct, (*device)->buffered_reason().empty());
  EXPECT_GE((*device)->native_fd(), 0);
  // Asking whether holes can be punched did not change the file.
  EXPECT_EQ(std::filesystem::file_size(folder_ / "odd"), 5 * kBlockBytes + 777);
}

TEST_F(FileDeviceTest, ReasonIsKeptWhenNotDirect) {
  const auto device =
      FileDevice::Open(image_, OpenMode::kReadWrite, {.allow_direct = false});
  ASSERT_TRUE(device.ok());
  EXPECT_FALSE((*device)->geometry().is_direct);
  EXPECT_EQ((*device)->buffered_reason(), "as asked for");
  EXPECT_EQ(::fcntl((*device)->native_fd(), F_GETFL) & O_DIRECT, 0);
}

TEST_F(FileDeviceTest, ReadOnlyChangesNothing) {
  const auto device = Open(OpenMode::kReadOnly);
  ASSERT_NE(device, nullptr);
  EXPECT_TRUE(device->geometry().is_read_only);
  const AlignedBuffer data = Pattern(kBlockBytes, 3);
  EXPECT_TRUE(device->Write(DeviceOffset(0), data.span()).Is(ErrorCode::kReadOnly));
  EXPECT_TRUE(
      device->WriteZeroes({DeviceOffset(0), kBlockBytes}).Is(ErrorCode::kReadOnly));
  EXPECT_TRUE(device->Discard({DeviceOffset(0), kBlockBytes}).Is(ErrorCode::kReadOnly));
  EXPECT_TRUE(device->Flush().ok());
  EXPECT_EQ(ViewOf(ReadAll(*device, DeviceOffset(0), kBlockBytes)),
            std::string(kBlockBytes, '\0'));
}

TEST_F(FileDeviceTest, DiscardGivesSpaceBack) {
  const auto device = Open();
  ASSERT_NE(device, nullptr);
  if (!device->geometry().can_discard) GTEST_SKIP() << "no holes on this file system";
  const AlignedBuffer data = Pattern(kImageBytes, 3);
  ASSERT_TRUE(device->Write(DeviceOffset(0), data.span()).ok());
  ASSERT_TRUE(device->Flush().ok());
  struct stat before = {}, after = {};
  ASSERT_EQ(::stat(image_.c_str(), &before), 0);
  ASSERT_TRUE(device->Discard({DeviceOffset(1 << 20), 4 << 20}).ok());
  ASSERT_EQ(::stat(image_.c_str(), &after), 0);
  EXPECT_LT(after.st_blocks, before.st_blocks - (3 << 20) / 512);
  EXPECT_EQ(after.st_size, before.st_size);
}

TEST_F(FileDeviceTest, ImageCutOffBelowIsAnError) {
  const auto device = Open();
  ASSERT_NE(device, nullptr);
  const AlignedBuffer data = Pattern(2 << 20, 5);
  ASSERT_TRUE(device->Write(DeviceOffset(0), data.span()).ok());
  // The read comes back short, goes on, and meets the end.
  ASSERT_EQ(::truncate(image_.c_str(), (1 << 20) + 4096), 0);
  AlignedBuffer out(2 << 20);
  const Status status = device->Read(DeviceOffset(0), out.span());
  ASSERT_TRUE(status.Is(ErrorCode::kIo));
  EXPECT_NE(status.error().ToString().find("ends short"), std::string::npos)
      << status.error().ToString();
  EXPECT_TRUE(device->Read(DeviceOffset(0), out.span().first(1 << 20)).ok());
}

TEST_F(FileDeviceTest, WhatTheHostRefusesIsIo) {
  // EFBIG, from a limit on file sizes, stands for ENOSPC and the like: further up
  // kNoSpace would mean that the volume is full.
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const auto device = FileDevice::Open(image_, OpenMode::kReadWrite);
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{1 << 20, 1 << 20};
    if (!device.ok() || ::setrlimit(RLIMIT_FSIZE, &limit) != 0) ::_exit(2);
    const AlignedBuffer data = Pattern(2 << 20, 5);
    // Starts below the limit: comes back short, goes on, and is refused there.
    const Status across = (*device)->Write(DeviceOffset(0), data.span());
    const Status below = (*device)->Write(DeviceOffset(0), data.span().first(1 << 20));
    ::_exit(across.Is(ErrorCode::kIo) && below.ok() ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

// Locks ---------------------------------------------------------------------------

TEST_F(FileDeviceTest, WritersExcludeAndReadersShare) {
  const struct {
    OpenMode first, second;
    bool is_together;
  } cases[] = {
      {OpenMode::kReadWrite, OpenMode::kReadWrite, false},
      {OpenMode::kReadWrite, OpenMode::kReadOnly, false},
      {OpenMode::kReadOnly, OpenMode::kReadWrite, false},
      {OpenMode::kReadOnly, OpenMode::kReadOnly, true},
  };
  for (const auto& c : cases) {
    const auto first = FileDevice::Open(image_, c.first);
    ASSERT_TRUE(first.ok());
    const auto second = FileDevice::Open(image_, c.second);
    if (c.is_together) {
      EXPECT_TRUE(second.ok());
      continue;
    }
    ASSERT_TRUE(second.Is(ErrorCode::kBusy));
    EXPECT_NE(second.error().ToString().find("is used by another program"),
              std::string::npos);
  }
}

TEST_F(FileDeviceTest, EveryPathMeetsTheSameLock) {
  ASSERT_EQ(::symlink(image_.c_str(), (folder_ / "symbolic").c_str()), 0);
  ASSERT_EQ(::link(image_.c_str(), (folder_ / "hard").c_str()), 0);
  const auto device = Open();
  for (const char* name : {"symbolic", "hard"}) {
    EXPECT_TRUE(
        FileDevice::Open(folder_ / name, OpenMode::kReadWrite).Is(ErrorCode::kBusy))
        << name;
  }
}

TEST_F(FileDeviceTest, LockingIsOptional) {
  const auto writer = Open();
  const auto onlooker = FileDevice::Open(image_, OpenMode::kReadOnly, {.lock = false});
  ASSERT_TRUE(onlooker.ok());
  EXPECT_TRUE(FileDevice::Open(image_, OpenMode::kReadOnly).Is(ErrorCode::kBusy));
}

TEST_F(FileDeviceTest, ClosingLetsGoAtOnce) {
  const AlignedBuffer data = Pattern(1 << 20, 1);
  for (int i = 0; i < 50; ++i) {
    const auto device = FileDevice::Open(image_, OpenMode::kReadWrite);
    ASSERT_TRUE(device.ok()) << "round " << i << ": " << device.error().ToString();
    ASSERT_TRUE((*device)->Write(DeviceOffset(0), data.span()).ok());
    const auto queue = (*device)->NewQueue(4);
  }
}

TEST_F(FileDeviceTest, WaitsForAnotherToLetGo) {
  auto holder = Open();
  std::atomic<bool> has_opened{false};
  Result<std::unique_ptr<FileDevice>> waited(ErrorCode::kBusy, "not yet");
  std::thread waiter([&] {
    waited = FileDevice::Open(image_, OpenMode::kReadWrite,
                              {.wait = std::chrono::milliseconds(60000)});
    has_opened = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_FALSE(has_opened);
  holder.reset();
  waiter.join();
  EXPECT_TRUE(waited.ok()) << waited.error().ToString();
  // And not for ever.
  EXPECT_TRUE(FileDevice::Open(image_, OpenMode::kReadOnly,
                               {.wait = std::chrono::milliseconds(10)})
                  .Is(ErrorCode::kBusy));
}

TEST_F(FileDeviceTest, DeathLetsGo) {
  int ready[2];
  ASSERT_EQ(::pipe2(ready, O_CLOEXEC), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const auto device = FileDevice::Open(image_, OpenMode::kReadWrite);
    const char answer = device.ok() ? 'y' : 'n';
    if (::write(ready[1], &answer, 1) == 1) ::pause();
    ::_exit(1);
  }
  char answer = 0;
  ASSERT_EQ(::read(ready[0], &answer, 1), 1);
  EXPECT_EQ(answer, 'y');
  EXPECT_TRUE(FileDevice::Open(image_, OpenMode::kReadWrite).Is(ErrorCode::kBusy));
  ::kill(child, SIGKILL);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  // The kernel tears the ring of a killed process down a little later.
  EXPECT_TRUE(FileDevice::Open(image_, OpenMode::kReadWrite,
                               {.wait = std::chrono::milliseconds(60000)})
                  .ok());
  ::close(ready[0]);
  ::close(ready[1]);
}

// What the kernel refuses ------------------------------------------------------------

// Makes io_uring_setup(2) fail with EPERM from now on, as container runtimes do.
bool ForbidIoUring() {
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program{std::size(code), code};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

TEST_F(FileDeviceTest, SaysWhenIoUringIsForbidden) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    if (!ForbidIoUring()) ::_exit(2);
    const auto device = FileDevice::Open(image_, OpenMode::kReadWrite);
    const bool is_clear =
        device.Is(ErrorCode::kNotSupported) &&
        device.error().ToString().find("io_uring is not permitted") != std::string::npos;
    ::_exit(is_clear ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 2) GTEST_SKIP() << "no filters of system calls here";
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST_F(FileDeviceTest, RingsThatCannotBeMadeAreNotNeeded) {
  // Open() makes one ring; when no other can be made, calls share it and queues go
  // through it.
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const auto device = FileDevice::Open(image_, OpenMode::kReadWrite);
    if (!device.ok() || !ForbidIoUring()) ::_exit(2);
    std::atomic<int> good{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        const AlignedBuffer data = Pattern(64 << 10, static_cast<uint64_t>(t));
        bool is_good = true;
        for (int i = 0; i < 20; ++i)
          is_good &=
              (*device)
                  ->Write(DeviceOffset(static_cast<uint64_t>(t) << 20), data.span())
                  .ok();
        AlignedBuffer out(64 << 10);
        const auto queue = (*device)->NewQueue(4);
        IoOp op{.kind = IoKind::kRead,
                .offset = DeviceOffset(static_cast<uint64_t>(t) << 20),
                .data = out.data(),
                .length_bytes = 64 << 10};
        queue->Submit(&op);
        is_good &= queue->Reap() == &op && !op.error && ViewOf(out) == ViewOf(data);
        good += is_good;
      });
    }
    for (std::thread& thread : threads) thread.join();
    ::_exit(good == 4 ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 2) GTEST_SKIP() << "no filters of system calls here";
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST_F(FileDeviceTest, RingNamesWhatIsMissing) {
  const int unknown[] = {IORING_OP_READ, 250};
  const auto ring =
      Ring::Create({.entry_count = 4, .big_entries = false, .opcodes = unknown});
  ASSERT_TRUE(ring.Is(ErrorCode::kNotSupported));
  EXPECT_NE(ring.error().ToString().find("250"), std::string::npos);
  EXPECT_EQ(ring.error().ToString().find("READ"), std::string::npos);
}

TEST_F(FileDeviceTest, CreatesSparseImages) {
  const std::string path = folder_ / "new";
  ASSERT_TRUE(FileDevice::CreateImage(path, 1ull << 36).ok());
  struct stat st = {};
  ASSERT_EQ(::stat(path.c_str(), &st), 0);
  EXPECT_EQ(st.st_size, int64_t{1} << 36);
  EXPECT_LT(st.st_blocks, 1024);
  EXPECT_TRUE(FileDevice::CreateImage(path, 1 << 20).Is(ErrorCode::kExists));
  EXPECT_TRUE(
      FileDevice::CreateImage(folder_ / "no/where", 1 << 20).Is(ErrorCode::kNotFound));
  // Nothing is left of one that can't be.
  EXPECT_FALSE(FileDevice::CreateImage(folder_ / "huge", UINT64_MAX / 2).ok());
  EXPECT_NE(::stat((folder_ / "huge").c_str(), &st), 0);
}

TEST_F(FileDeviceTest, BytesReachTheFile) {
  const AlignedBuffer data = Pattern(64 << 10, 77);
  {
    const auto device = Open();
    ASSERT_TRUE(device->Write(DeviceOffset(8192), data.span()).ok());
    ASSERT_TRUE(device->Flush().ok());
  }
  const Fd fd(::open(image_.c_str(), O_RDONLY | O_CLOEXEC));
  std::string bytes(64 << 10, '\0');
  ASSERT_EQ(::pread(fd.get(), bytes.data(), bytes.size(), 8192), 64 << 10);
  EXPECT_EQ(bytes, ViewOf(data));
}

}  // namespace
}  // namespace cofs
