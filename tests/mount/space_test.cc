// A small volume, filled to the last block and emptied again.
//
// What may never happen: an EIO, a write that is lost without a word, a file that can't
// be removed, space that does not come back.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "tests/mount/file_io.h"
#include "tests/mount/mounted_volume.h"

namespace cofs {
namespace {

constexpr uint64_t kMiB = 1 << 20;
constexpr uint64_t kVolume = 256 * kMiB;

class SpaceTest : public MountTest {
 protected:
  SpaceTest() : MountTest({.size_bytes = kVolume}) {}
  void SetUp() override {
    MountTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    // A foreign directory serves only when its file system is as small.
    if (!OnCofs() && VolumeBytes() > 2 * kVolume) {
      GTEST_SKIP() << "the file system of COFS_TEST_DIR_ON is larger than "
                   << 2 * kVolume / kMiB << " MiB";
    }
  }

  uint64_t VolumeBytes() const {
    struct statvfs usage;
    EXPECT_TRUE(Succeeds(statvfs(root().c_str(), &usage)));
    return usage.f_blocks * usage.f_frsize;
  }
  uint64_t FreeBytes() const {
    struct statvfs usage;
    EXPECT_TRUE(Succeeds(statvfs(root().c_str(), &usage)));
    return usage.f_bavail * usage.f_frsize;
  }
  // Removed files are freed in the background: waits until nothing more comes back.
  // True when at least `wanted` is free.
  bool WaitForFreeBytes(uint64_t wanted) const {
    const auto end =
        std::chrono::steady_clock::now() + std::chrono::seconds(HangLimitSeconds());
    while (FreeBytes() < wanted) {
      if (std::chrono::steady_clock::now() > end) return false;
      const Fd directory = Open(root(), O_RDONLY | O_DIRECTORY);
      EXPECT_TRUE(Succeeds(fsync(directory.get())));
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    return true;
  }
  // Fills, empties, three times. The metadata's own space may grow in the first round;
  // after that every round leaves what it found.
  void InRounds(const std::function<void(int)>& fill_and_empty) {
    const uint64_t slack = VolumeBytes() / 50;
    const uint64_t fresh = FreeBytes();
    uint64_t expected = 0;
    for (int round = 0; round < 3; ++round) {
      fill_and_empty(round);
      if (HasFatalFailure()) return;
      const uint64_t wanted = round == 0 ? fresh / 4 * 3 : expected - slack;
      EXPECT_TRUE(WaitForFreeBytes(wanted))
          << "round " << round << ": " << FreeBytes() / kMiB << " MiB free, expected "
          << wanted / kMiB << " (fresh: " << fresh / kMiB << ")";
      if (round == 0) {
        std::this_thread::sleep_for(std::chrono::milliseconds(200));
        expected = FreeBytes();
      }
    }
  }
  // Writes synced pieces of 1 MiB until there is no space; how many were written.
  uint64_t FillFile(const std::string& path, uint64_t seed) {
    const Fd fd = Open(path, O_WRONLY | O_CREAT);
    for (uint64_t piece = 0;; ++piece) {
      const std::string data = Pattern(seed, piece * kMiB, kMiB);
      const ssize_t count =
          pwrite(fd.get(), data.data(), data.size(), static_cast<off_t>(piece * kMiB));
      if (count == static_cast<ssize_t>(kMiB) && fdatasync(fd.get()) == 0) continue;
      if (count < 0 || count == static_cast<ssize_t>(kMiB)) {
        EXPECT_EQ(errno, ENOSPC) << "piece " << piece;
      }
      fsync(fd.get());  // what is left of the failed piece; its error has been told
      return piece;
    }
  }
  void ExpectFilled(const std::string& path, uint64_t seed, uint64_t pieces) {
    const Fd fd = Open(path, O_RDONLY);
    for (uint64_t piece = 0; piece < pieces; ++piece) {
      ASSERT_TRUE(SameBytes(ReadAt(fd.get(), piece * kMiB, kMiB),
                            Pattern(seed, piece * kMiB, kMiB)))
          << "MiB " << piece;
    }
  }
  // What is small: fills the last blocks that a MiB does not fit in.
  void FillRest(const std::string& path) {
    const Fd fd = Open(path, O_WRONLY | O_CREAT);
    const std::string block(4096, 'r');
    for (off_t at = 0;; at += 4096) {
      if (pwrite(fd.get(), block.data(), block.size(), at) < 0) break;
      if (at % (256 << 10) == 0 && fdatasync(fd.get()) != 0) break;
    }
    fsync(fd.get());
  }
};

TEST_F(SpaceTest, FilledWithOneFileAndEmptied) {
  InRounds([&](int round) {
    const auto seed = static_cast<uint64_t>(round);
    const uint64_t pieces = FillFile(Path("file"), seed);
    EXPECT_GE(pieces, VolumeBytes() / kMiB / 2);
    if (round == 2) ExpectFilled(Path("file"), seed, pieces);
    ASSERT_TRUE(Succeeds(unlink(Path("file").c_str())));
  });
}

TEST_F(SpaceTest, FilledWithSmallFilesAndEmptied) {
  InRounds([&](int) {
    int made = 0;
    for (bool full = false; !full;) {
      const std::string directory = Path("d" + std::to_string(made));
      if (mkdir(directory.c_str(), 0755) != 0) {
        EXPECT_EQ(errno, ENOSPC);
        break;
      }
      for (int i = 0; i < 1000 && !full; ++i, ++made) {
        const std::string path = directory + "/" + std::to_string(i);
        const Fd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
        if (!fd.valid()) {
          EXPECT_EQ(errno, ENOSPC) << path;
          full = true;
          break;
        }
        const std::string data(60000, static_cast<char>(i));
        const ssize_t count = write(fd.get(), data.data(), data.size());
        const bool sync = made % 50 == 0;
        if (count == static_cast<ssize_t>(data.size()) && (!sync || fsync(fd.get()) == 0))
          continue;
        if (count < 0 || sync) {
          EXPECT_EQ(errno, ENOSPC) << path;
        }
        full = true;
      }
    }
    EXPECT_GE(made, 1000);
    const ProgramResult removed = RunProgram({"/bin/sh", "-c", "rm -rf '" + root() + "'/d*"});
    EXPECT_EQ(removed.exit_code, 0) << removed.err.substr(0, 1000);
    EXPECT_EQ(ListDirectory(root()).size(), 0u);
  });
}

TEST_F(SpaceTest, FilledWithAttributesAndEmptied) {
  const std::string value = Pattern(1, 0, OnCofs() ? 60000 : 800);
  InRounds([&](int) {
    int made = 0;
    for (bool full = false; !full && made < 20000; ++made) {
      const std::string path = Path(std::to_string(made));
      const Fd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
      const bool set =
          fd.valid() && fsetxattr(fd.get(), "user.large", value.data(), value.size(), 0) == 0;
      if (!set) {
        EXPECT_EQ(errno, ENOSPC) << path;
        full = true;
      }
    }
    EXPECT_GE(made, 500);
    for (const std::string& name : ListDirectory(root()))
      ASSERT_TRUE(Succeeds(unlink(Path(name).c_str()))) << name;
  });
}

TEST_F(SpaceTest, AFullVolumeMountsAndIsWorkedOn) {
  const uint64_t pieces = FillFile(Path("large"), 1);
  WriteFile(Path("small"), "");
  FillRest(Path("rest"));
  Remount();
  ExpectFilled(Path("large"), 1, pieces);
  // Names and modes: they work or there is no space, and the volume stays writable.
  const auto works_or_is_full = [](const char* what, int result) {
    if (result < 0) {
      EXPECT_EQ(errno, ENOSPC) << what;
    }
  };
  works_or_is_full("mkdir", mkdir(Path("directory").c_str(), 0755));
  works_or_is_full("chmod", chmod(Path("small").c_str(), 0600));
  works_or_is_full("rename", rename(Path("small").c_str(), Path("renamed").c_str()));
  works_or_is_full("setxattr", setxattr(Path("large").c_str(), "user.a", "1", 1, 0));
  Remount();
  ASSERT_TRUE(Succeeds(unlink(Path("large").c_str())));
  ASSERT_TRUE(WaitForFreeBytes(VolumeBytes() / 4));
  WriteFile(Path("new"), Pattern(2, 0, 10 * kMiB));
  Remount();
  EXPECT_TRUE(SameBytes(ReadFile(Path("new")), Pattern(2, 0, 10 * kMiB)));
}

TEST_F(SpaceTest, OverwritingOnAFullVolume) {
  const uint64_t pieces = FillFile(Path("large"), 1);
  ASSERT_GT(pieces, 10u);
  FillRest(Path("rest"));
  std::vector<uint64_t> seeds(pieces, 1);
  Fd fd = Open(Path("large"), O_RDWR);
  for (uint64_t piece = 0; piece < pieces; piece += 3) {
    // 64 KiB at a time, each synced: old or new, as the sync says.
    bool written = true;
    for (uint64_t part = 0; part < kMiB && written; part += 64 << 10) {
      const uint64_t offset = piece * kMiB + part;
      const std::string data = Pattern(2, offset, 64 << 10);
      const ssize_t count =
          pwrite(fd.get(), data.data(), data.size(), static_cast<off_t>(offset));
      written = count == static_cast<ssize_t>(data.size()) && fdatasync(fd.get()) == 0;
      if (!written) {
        EXPECT_EQ(errno, ENOSPC) << "MiB " << piece;
      }
    }
    seeds[piece] = written ? 2 : 0;
  }
  fd.Reset();
  Remount();
  const Fd again = Open(Path("large"), O_RDONLY);
  for (uint64_t piece = 0; piece < pieces; ++piece) {
    if (seeds[piece] == 0) continue;
    ASSERT_TRUE(SameBytes(ReadAt(again.get(), piece * kMiB, kMiB),
                          Pattern(seeds[piece], piece * kMiB, kMiB)))
        << "MiB " << piece;
  }
}

TEST_F(SpaceTest, HolesAndShorterFilesMakeRoom) {
  const uint64_t pieces = FillFile(Path("large"), 1);
  FillRest(Path("rest"));
  Fd fd = Open(Path("large"), O_RDWR);
  const auto quarter = static_cast<off_t>(pieces / 4 * kMiB);
  ASSERT_TRUE(Succeeds(
      fallocate(fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, quarter, quarter)));
  ASSERT_TRUE(Succeeds(ftruncate(fd.get(), 3 * quarter)));
  ASSERT_TRUE(Succeeds(fsync(fd.get())));
  ASSERT_TRUE(WaitForFreeBytes(static_cast<uint64_t>(quarter) / 8 * 7));
  WriteFile(Path("new"), Pattern(2, 0, static_cast<size_t>(quarter) / 2));
  fd.Reset();
  Remount();
  EXPECT_TRUE(SameBytes(ReadFile(Path("new")),
                        Pattern(2, 0, static_cast<size_t>(quarter) / 2)));
  fd = Open(Path("large"), O_RDONLY);
  EXPECT_EQ(ReadAt(fd.get(), static_cast<uint64_t>(quarter), kMiB), std::string(kMiB, '\0'));
}

// A child maps the file and writes its pages: the exit code tells what came back.
enum MappedResult { kAllWritten = 0, kNoSpaceTold = 1, kOtherError = 2 };
int WriteMapped(const std::string& path, uint64_t length) {
  const pid_t pid = fork();
  if (pid == 0) {
    const Fd fd = Open(path, O_RDWR);
    void* data = mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
    if (data == MAP_FAILED) _exit(kOtherError);
    const std::string pattern = Pattern(9, 0, length);
    memcpy(data, pattern.data(), length);
    const bool synced = msync(data, length, MS_SYNC) == 0 && fsync(fd.get()) == 0;
    _exit(synced ? kAllWritten : errno == ENOSPC ? kNoSpaceTold : kOtherError);
  }
  int wait_status = 0;
  waitpid(pid, &wait_status, 0);
  // Other file systems find out when the page is first touched.
  if (WIFSIGNALED(wait_status) && WTERMSIG(wait_status) == SIGBUS) return kNoSpaceTold;
  return WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : kOtherError;
}

TEST_F(SpaceTest, MappedWritesAreWrittenOrRefused) {
  const uint64_t length = VolumeBytes() / 8;
  {
    const Fd fd = Open(Path("mapped"), O_RDWR | O_CREAT);
    ASSERT_TRUE(Succeeds(ftruncate(fd.get(), static_cast<off_t>(length))));
  }
  FillFile(Path("large"), 1);
  FillRest(Path("rest"));
  EXPECT_EQ(WriteMapped(Path("mapped"), length), kNoSpaceTold);
  // With room again, the same succeeds and is there afterwards.
  ASSERT_TRUE(Succeeds(unlink(Path("large").c_str())));
  ASSERT_TRUE(WaitForFreeBytes(2 * length));
  EXPECT_EQ(WriteMapped(Path("mapped"), length), kAllWritten);
  Remount();
  EXPECT_TRUE(SameBytes(ReadFile(Path("mapped")), Pattern(9, 0, length)));
}

// The image is sparse, and the file system below it runs full.
TEST(HostSpaceTest, AHostThatIsFull) {
  if (getenv("COFS_TEST_DIR_ON") != nullptr)
    GTEST_SKIP() << "COFS_TEST_DIR_ON is set: this needs cofs itself";
  if (const auto reason = WhyNoMounts(false))
    GTEST_SKIP() << "SKIPPED-AS-A-WHOLE: " << *reason;
  const ScratchDirectory scratch;
  const std::string host = scratch.path() + "/host";
  MakeDirectory(host);
  ASSERT_TRUE(Succeeds(mount("none", host.c_str(), "tmpfs", 0, "size=96m")));
  struct Detach {
    const std::string& path;
    ~Detach() { umount2(path.c_str(), MNT_DETACH); }
  } detach{host};
  MountedTestVolume volume({.size_bytes = kVolume, .image_parent = host});
  volume.Mount();
  const std::string kept = Pattern(1, 0, 5 * kMiB);
  {
    const Fd fd = Open(volume.root() + "/kept", O_RDWR | O_CREAT);
    WriteAt(fd.get(), 0, kept);
    ASSERT_TRUE(Succeeds(fsync(fd.get())));
  }
  {  // more than the host has: some sync must tell
    const Fd fd = Open(volume.root() + "/large", O_RDWR | O_CREAT);
    bool told = false;
    for (uint64_t at = 0; at < 150 * kMiB && !told; at += kMiB) {
      const std::string data = Pattern(2, at, kMiB);
      told = pwrite(fd.get(), data.data(), data.size(), static_cast<off_t>(at)) < 0 ||
             fsync(fd.get()) != 0;
    }
    EXPECT_TRUE(told) << "150 MiB on a host of 96 MiB";
  }
  EXPECT_TRUE(SameBytes(ReadFile(volume.root() + "/kept"), kept));
  volume.UnmountFailed();
  // With room on the host everything goes on.
  ASSERT_TRUE(Succeeds(mount("none", host.c_str(), "tmpfs", MS_REMOUNT, "size=400m")));
  volume.Check();
  volume.Mount();
  EXPECT_TRUE(SameBytes(ReadFile(volume.root() + "/kept"), kept));
  WriteFile(volume.root() + "/new", kept);
  volume.Unmount();
  volume.Check();
  volume.Mount();
  EXPECT_TRUE(SameBytes(ReadFile(volume.root() + "/new"), kept));
  volume.Unmount();
}

TEST_F(SpaceTest, ManyWritersFillTheVolume) {
  constexpr int kThreads = 6;
  std::vector<uint64_t> pieces(kThreads);
  InThreads(kThreads, [&](int thread) {
    pieces[static_cast<size_t>(thread)] =
        FillFile(Path(std::to_string(thread)), static_cast<uint64_t>(thread));
  });
  for (int thread = 0; thread < kThreads; ++thread)
    ExpectFilled(Path(std::to_string(thread)), static_cast<uint64_t>(thread),
                 pieces[static_cast<size_t>(thread)]);
  InThreads(kThreads, [&](int thread) {
    ASSERT_TRUE(Succeeds(unlink(Path(std::to_string(thread)).c_str())));
  });
  EXPECT_TRUE(WaitForFreeBytes(VolumeBytes() / 2));
}

TEST_F(SpaceTest, CopiesFillTheVolume) {
  const std::string data = Pattern(1, 0, 16 * kMiB);
  WriteFile(Path("source"), data);
  const Fd source = Open(Path("source"), O_RDONLY);
  int complete = 0;
  for (; complete < 100; ++complete) {
    const Fd copy = Open(Path("copy" + std::to_string(complete)), O_WRONLY | O_CREAT);
    off_t from = 0, to = 0;
    ssize_t count = 1;
    while (to < static_cast<off_t>(data.size()) && count > 0)
      count = copy_file_range(source.get(), &from, copy.get(), &to, data.size() - to, 0);
    const int error_number = errno;
    if (count > 0 && fsync(copy.get()) == 0) continue;
    EXPECT_EQ(count > 0 ? errno : error_number, ENOSPC);
    break;
  }
  EXPECT_GE(complete, 5);
  for (int i = 0; i < complete; ++i)
    ASSERT_TRUE(SameBytes(ReadFile(Path("copy" + std::to_string(i))), data)) << i;
}

TEST_F(SpaceTest, PreallocationIsAllOrNothingOfTheSpace) {
  Fd fd = Open(Path("file"), O_RDWR | O_CREAT);
  EXPECT_TRUE(FailsWith(fallocate(fd.get(), 0, 0, static_cast<off_t>(2 * VolumeBytes())),
                        ENOSPC));
  ASSERT_TRUE(Succeeds(ftruncate(fd.get(), 0)));
  const uint64_t half = VolumeBytes() / 3 / kMiB * kMiB;
  ASSERT_TRUE(WaitForFreeBytes(half));
  ASSERT_TRUE(Succeeds(fallocate(fd.get(), 0, 0, static_cast<off_t>(half))));
  // What was promised can be written, whatever else is written meanwhile.
  FillFile(Path("other"), 1);
  FillRest(Path("rest"));
  for (uint64_t at = 0; at < half; at += kMiB) WriteAt(fd.get(), at, Pattern(3, at, kMiB));
  ASSERT_TRUE(Succeeds(fsync(fd.get())));
  fd.Reset();
  Remount();
  const Fd again = Open(Path("file"), O_RDONLY);
  for (uint64_t at = 0; at < half; at += kMiB)
    ASSERT_TRUE(SameBytes(ReadAt(again.get(), at, kMiB), Pattern(3, at, kMiB))) << at / kMiB;
}

}  // namespace
}  // namespace cofs
