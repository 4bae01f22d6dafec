// kill -9 of the daemon in the middle of everything, and what is there afterwards.
//
// What was synced is there, whole. Of what was not, there is a prefix of the operations
// as they were done. The volume mounts, and fsck finds nothing, each time.
//
// COFS_LONG=1 runs the long form, COFS_SEED=n another one of either.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <thread>

#include "tests/mount/crash_model.h"
#include "tests/mount/file_io.h"
#include "tests/mount/mounted_volume.h"

namespace cofs {
namespace {

using std::chrono::milliseconds;

// COFS_LONG=1: many more rounds.
int Rounds(int short_form, int long_form) {
  const char* text = getenv("COFS_LONG");
  return text != nullptr && std::string(text) == "1" ? long_form : short_form;
}

class CrashTest : public CofsMountTest {
 protected:
  CrashTest() : CofsMountTest({.size_bytes = uint64_t{1} << 30}) {}
  explicit CrashTest(VolumeSetup setup) : CofsMountTest(std::move(setup)) {}

  void CrashAndMount() {
    volume().Kill();
    volume().Check();
    volume().Mount();
  }
  // Runs `work` until the daemon has been killed, which happens when `progress` has
  // reached `kill_at`. `work` returns when the file system is gone.
  void KillDuring(const std::atomic<int>& progress, int kill_at,
                  const std::function<void()>& work) {
    std::atomic<bool> ended{false};
    std::thread killer([&] {
      while (progress < kill_at && !ended) std::this_thread::sleep_for(milliseconds(1));
      volume().SignalDaemon(SIGKILL);
    });
    try {
      work();
    } catch (const std::exception& error) {
      ADD_FAILURE() << error.what();
    }
    ended = true;
    killer.join();
    CrashAndMount();
  }
};

// That `errno` tells of a daemon that is gone; anything else is a failure.
bool Gone(const std::string& root) {
  const int error_number = errno;
  EXPECT_TRUE(IsGone(root, error_number)) << strerror(error_number);
  return true;
}

// Without a crash, on any file system: it holds the model itself to account.
class CrashModelTest : public MountTest {};

TEST_F(CrashModelTest, FollowsTheFileSystem) {
  MakeDirectory(Path("work"));
  CrashModel model(Path("work"), Seed());
  for (int round = 0; round < 10; ++round) {
    for (int step = 0; step < 60; ++step) ASSERT_TRUE(model.Step());
    const size_t step = model.FindStep();
    EXPECT_EQ(step, model.step_count());
    EXPECT_GT(model.durable_step(), 0u);
    model.GoOnFrom(step);
  }
  // A state of long ago is not accepted, nor is one that never was.
  ASSERT_TRUE(Succeeds(mknod(Path("work/stranger").c_str(), S_IFREG | 0644, 0)));
  EXPECT_THROW(model.FindStep(), std::runtime_error);
}

TEST_F(CrashTest, APrefixOfTheOperationsSurvives) {
  std::mt19937_64 random(Seed());
  MakeDirectory(Path("work"));
  SyncDirectory(root());
  CrashModel model(Path("work"), random());
  for (int round = 0; round < Rounds(4, 40); ++round) {
    std::atomic<int> steps{0};
    KillDuring(steps, static_cast<int>(20 + random() % 400), [&] {
      while (steps < 3000 && model.Step()) ++steps;
    });
    const size_t step = model.FindStep();
    SCOPED_TRACE(step);
    if (HasFailure()) return;
    model.GoOnFrom(step);
  }
}

TEST_F(CrashTest, WhatWasFsyncedSurvives) {
  constexpr int kThreads = 4;
  std::mt19937_64 random(Seed());
  for (int round = 0; round < Rounds(2, 15); ++round) {
    std::atomic<int> total{0};
    std::vector<int> synced(kThreads, 0);  // files of each thread that are durable
    const auto name = [&](int thread, int file) {
      return Path(std::to_string(round) + "-" + std::to_string(thread) + "-" +
                  std::to_string(file));
    };
    const auto seed = [](int thread, int file) {
      return static_cast<uint64_t>(thread * 1000 + file);
    };
    const auto size = [](int file) { return static_cast<size_t>(file * 7919 % 200000); };
    KillDuring(total, static_cast<int>(20 + random() % 150), [&] {
      InThreads(kThreads, [&](int thread) {
        for (int file = 0; file < 2000; ++file) {
          // Written to one name, synced, renamed, the directory synced.
          const std::string path = name(thread, file), temporary = path + ".new";
          const Fd fd(open(temporary.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
          if (!fd.valid() && Gone(root())) return;
          const std::string data = Pattern(seed(thread, file), 0, size(file));
          if (pwrite(fd.get(), data.data(), data.size(), 0) < 0 && Gone(root())) return;
          if (fsync(fd.get()) != 0 && Gone(root())) return;
          if (rename(temporary.c_str(), path.c_str()) != 0 && Gone(root())) return;
          const Fd directory(open(root().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
          if (!directory.valid() && Gone(root())) return;
          if (fsync(directory.get()) != 0 && Gone(root())) return;
          synced[static_cast<size_t>(thread)] = file + 1;
          ++total;
        }
      });
    });
    for (int thread = 0; thread < kThreads; ++thread) {
      for (int file = 0; file < synced[static_cast<size_t>(thread)]; ++file) {
        ASSERT_TRUE(SameBytes(ReadFile(name(thread, file)),
                              Pattern(seed(thread, file), 0, size(file))))
            << name(thread, file);
        EXPECT_FALSE(Exists(name(thread, file) + ".new"));
      }
    }
  }
}

TEST_F(CrashTest, ThreadsLeaveAPrefixEach) {
  // Nothing is synced: each thread's files are there up to one of them, whole but for
  // the last.
  constexpr int kThreads = 4;
  constexpr size_t kBytes = 16384;
  for (int thread = 0; thread < kThreads; ++thread)
    MakeDirectory(Path(std::to_string(thread)));
  SyncDirectory(root());
  std::atomic<int> total{0};
  std::vector<int> made(kThreads, 0);
  // Long enough for a commit by the clock to fall into it.
  KillDuring(total, Rounds(2500, 6000), [&] {
    InThreads(kThreads, [&](int thread) {
      for (int file = 0; file < 3000; ++file) {
        const std::string path = Path(std::to_string(thread) + "/" + std::to_string(file));
        const Fd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_DIRECT | O_CLOEXEC, 0644));
        if (!fd.valid() && Gone(root())) return;
        made[static_cast<size_t>(thread)] = file + 1;
        const AlignedBuffer data =
            AlignedCopy(Pattern(static_cast<uint64_t>(thread * 10000 + file), 0, kBytes));
        if (write(fd.get(), data.data(), kBytes) < 0 && Gone(root())) return;
        ++total;
      }
    });
  });
  for (int thread = 0; thread < kThreads; ++thread) {
    const auto names = ListDirectory(Path(std::to_string(thread)));
    const int count = static_cast<int>(names.size());
    EXPECT_LE(count, made[static_cast<size_t>(thread)]);
    for (int file = 0; file < count; ++file) {
      const std::string path = Path(std::to_string(thread) + "/" + std::to_string(file));
      const std::string expected =
          Pattern(static_cast<uint64_t>(thread * 10000 + file), 0, kBytes);
      const std::string actual = ReadFile(path);  // throws when it is missing
      const bool last = file == count - 1;
      if (last && actual.empty()) continue;
      ASSERT_TRUE(SameBytes(actual, expected)) << path;
    }
  }
}

TEST_F(CrashTest, AReplacedFileIsOldOrNew) {
  std::mt19937_64 random(Seed());
  int durable = -1, written = -1;
  for (int round = 0; round < Rounds(3, 30); ++round) {
    std::atomic<int> progress{0};
    KillDuring(progress, static_cast<int>(10 + random() % 100), [&] {
      for (int version = written + 1; version < written + 3000; ++version) {
        const Fd fd(open(Path("new").c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
        if (!fd.valid() && Gone(root())) return;
        const std::string data = Pattern(static_cast<uint64_t>(version), 0, 50000) +
                                 " " + std::to_string(version);
        if (pwrite(fd.get(), data.data(), data.size(), 0) < 0 && Gone(root())) return;
        if (fsync(fd.get()) != 0 && Gone(root())) return;
        written = version;  // the rename may be carried out and not be answered
        if (rename(Path("new").c_str(), Path("file").c_str()) != 0 && Gone(root())) return;
        ++progress;
        if (version % 4 != 0) continue;
        const Fd directory(open(root().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        if (!directory.valid() && Gone(root())) return;
        if (fsync(directory.get()) != 0 && Gone(root())) return;
        durable = version;
      }
    });
    if (durable < 0) continue;
    const std::string contents = ReadFile(Path("file"));
    ASSERT_GT(contents.size(), 50001u);
    const int version = std::stoi(contents.substr(50001));
    EXPECT_GE(version, durable);
    EXPECT_LE(version, written);
    EXPECT_TRUE(SameBytes(contents, Pattern(static_cast<uint64_t>(version), 0, 50000) + " " +
                                        std::to_string(version)));
    durable = version;
  }
}

TEST_F(CrashTest, SynchronousWritesSurvive) {
  struct Way {
    const char* name;
    int flags;
    bool per_write;  // RWF_DSYNC
  };
  constexpr size_t kBlock = 4096;
  for (const Way& way : {Way{"O_SYNC", O_SYNC, false}, Way{"O_DSYNC", O_DSYNC, false},
                         Way{"O_SYNC direct", O_SYNC | O_DIRECT, false},
                         Way{"O_DSYNC direct", O_DSYNC | O_DIRECT, false},
                         Way{"RWF_DSYNC", 0, true}, Way{"RWF_DSYNC direct", O_DIRECT, true}}) {
    std::atomic<int> written{0};
    Fd fd = Open(Path(way.name), O_WRONLY | O_CREAT | way.flags);
    SyncDirectory(root());
    KillDuring(written, 37, [&] {
      for (;;) {
        const auto offset = static_cast<uint64_t>(written) * kBlock;
        const AlignedBuffer data = AlignedCopy(Pattern(1, offset, kBlock));
        iovec vector{const_cast<char*>(data.data()), kBlock};
        const ssize_t count = pwritev2(fd.get(), &vector, 1, static_cast<off_t>(offset),
                                       way.per_write ? RWF_DSYNC : 0);
        if (count < 0 && Gone(root())) return;
        ++written;
      }
    });
    fd.Reset();
    const std::string contents = ReadFile(Path(way.name));
    const size_t acknowledged = static_cast<size_t>(written) * kBlock;
    ASSERT_GE(contents.size(), acknowledged) << way.name;
    EXPECT_TRUE(SameBytes(contents.substr(0, acknowledged), Pattern(1, 0, acknowledged)))
        << way.name;
  }
}

TEST_F(CrashTest, SyncedMappingsSurvive) {
  constexpr size_t kLength = 1 << 20;
  Fd fd = Open(Path("file"), O_RDWR | O_CREAT);
  ASSERT_TRUE(Succeeds(ftruncate(fd.get(), kLength)));
  void* data = mmap(nullptr, kLength, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  ASSERT_NE(data, MAP_FAILED);
  memcpy(data, Pattern(1, 0, kLength).data(), kLength);
  ASSERT_TRUE(Succeeds(msync(data, kLength, MS_SYNC)));
  volume().SignalDaemon(SIGKILL);
  munmap(data, kLength);
  fd.Reset();
  CrashAndMount();
  EXPECT_TRUE(SameBytes(ReadFile(Path("file")), Pattern(1, 0, kLength)));
}

TEST_F(CrashTest, CopiesLeaveOldOrNewBlocks) {
  constexpr size_t kLength = 32 << 20, kBlock = 4096;
  WriteFile(Path("source"), std::string(kLength, 'n'));
  WriteFile(Path("destination"), std::string(kLength, 'o'));
  for (const char* name : {"source", "destination"}) {
    const Fd fd = Open(Path(name), O_RDONLY);
    ASSERT_TRUE(Succeeds(fsync(fd.get())));
  }
  std::atomic<int> copied{0};
  KillDuring(copied, 10, [&] {
    const Fd source = Open(Path("source"), O_RDONLY);
    const Fd destination = Open(Path("destination"), O_WRONLY);
    for (;;) {
      off_t from = copied % 16 * (2 << 20), to = from;
      if (copy_file_range(source.get(), &from, destination.get(), &to, 2 << 20, 0) < 0 &&
          Gone(root()))
        return;
      ++copied;
      if (copied % 4 == 0 && fsync(destination.get()) != 0 && Gone(root())) return;
    }
  });
  EXPECT_TRUE(SameBytes(ReadFile(Path("source")), std::string(kLength, 'n')));
  const std::string contents = ReadFile(Path("destination"));
  ASSERT_EQ(contents.size(), kLength);
  for (size_t at = 0; at < kLength; at += kBlock) {
    const std::string_view block(contents.data() + at, kBlock);
    ASSERT_TRUE(block.find_first_not_of('n') == block.npos ||
                block.find_first_not_of('o') == block.npos)
        << "at " << at;
  }
}

TEST_F(CrashTest, UnlinkedOpenFilesAreFreed) {
  const auto free_bytes = [&] {
    SyncDirectory(root());
    struct statvfs usage;
    EXPECT_TRUE(Succeeds(statvfs(root().c_str(), &usage)));
    return usage.f_bfree * usage.f_frsize;
  };
  const uint64_t before = free_bytes();
  {
    std::vector<Fd> files;
    for (int i = 0; i < 50; ++i) {
      files.push_back(Open(Path("file"), O_RDWR | O_CREAT | O_EXCL));
      WriteAt(files.back().get(), 0, Pattern(1, 0, 2 << 20));
      ASSERT_TRUE(Succeeds(fsync(files.back().get())));
      ASSERT_TRUE(Succeeds(unlink(Path("file").c_str())));
    }
    SyncDirectory(root());
    volume().SignalDaemon(SIGKILL);
  }
  CrashAndMount();
  EXPECT_EQ(ListDirectory(root()).size(), 0u);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(HangLimitSeconds());
  while (free_bytes() + (10 << 20) < before && std::chrono::steady_clock::now() < end)
    std::this_thread::sleep_for(milliseconds(20));
  EXPECT_GE(free_bytes() + (10 << 20), before);
}

TEST_F(CrashTest, CrashesWhileMountingAndUnmounting) {
  std::mt19937_64 random(Seed());
  std::vector<std::string> kept;
  for (int round = 0; round < Rounds(6, 40); ++round) {
    const std::string name = "synced" + std::to_string(round);
    {
      const Fd fd = Open(Path(name), O_RDWR | O_CREAT);
      WriteAt(fd.get(), 0, Pattern(static_cast<uint64_t>(round), 0, 100000));
      ASSERT_TRUE(Succeeds(fsync(fd.get())));
      for (int i = 0; i < 50; ++i) WriteFile(Path("unsynced" + std::to_string(i)), "x");
    }
    kept.push_back(name);
    if (round % 2 == 0) {
      volume().Kill();
      // The recovery meets the next crash.
      for (int i = 0; i < 3; ++i) volume().KillWhileMounting(static_cast<int>(random() % 60));
    } else {
      volume().KillWhileUnmounting(static_cast<int>(random() % 30));
    }
    volume().Check();
    volume().Mount();
    for (size_t i = 0; i < kept.size(); ++i)
      ASSERT_TRUE(SameBytes(ReadFile(Path(kept[i])), Pattern(i, 0, 100000))) << kept[i];
  }
}

TEST_F(CrashTest, ACommitComesByItself) {
  // Nothing is synced; what is written back is committed after some seconds. On a busy
  // machine they can be more.
  const AlignedBuffer data = AlignedCopy(Pattern(1, 0, 4096));
  for (const int seconds : {8, 40, 120}) {
    {
      const Fd fd = Open(Path("file"), O_WRONLY | O_CREAT | O_DIRECT);
      WriteAt(fd.get(), 0, {data.data(), 4096});
    }
    std::this_thread::sleep_for(std::chrono::seconds(seconds));
    CrashAndMount();
    if (Exists(Path("file"))) break;
  }
  EXPECT_TRUE(SameBytes(ReadFile(Path("file")), Pattern(1, 0, 4096)));
}

class SmallVolumeCrashTest : public CrashTest {
 protected:
  SmallVolumeCrashTest() : CrashTest(VolumeSetup{.size_bytes = 256 << 20}) {}
};

TEST_F(SmallVolumeCrashTest, AFullVolumeSurvivesCrashes) {
  std::mt19937_64 random(Seed());
  for (int round = 0; round < Rounds(2, 15); ++round) {
    std::atomic<int> written{0};
    KillDuring(written, static_cast<int>(30 + random() % 300), [&] {
      // Fills and thins out, again and again.
      for (int file = 0; file < 3000; ++file) {
        const std::string path = Path(std::to_string(file % 97));
        const Fd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_DIRECT | O_CLOEXEC, 0644));
        if (!fd.valid() && errno != ENOSPC && Gone(root())) return;
        const AlignedBuffer data(4 << 20);
        for (int piece = 0; piece < 4 && fd.valid(); ++piece) {
          if (pwrite(fd.get(), data.data(), 1 << 20, piece << 20) >= 0) continue;
          if (errno == ENOSPC) break;
          if (Gone(root())) return;
        }
        ++written;
        if (file % 3 != 0) continue;
        const std::string victim = Path(std::to_string(random() % 97));
        if (unlink(victim.c_str()) != 0 && errno != ENOENT && Gone(root())) return;
      }
    });
  }
  // Everything can be removed, and the space comes back.
  for (const std::string& name : ListDirectory(root()))
    ASSERT_TRUE(Succeeds(unlink(Path(name).c_str())));
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(HangLimitSeconds());
  struct statvfs usage;
  do {
    SyncDirectory(root());
    std::this_thread::sleep_for(milliseconds(20));
    ASSERT_TRUE(Succeeds(statvfs(root().c_str(), &usage)));
  } while (usage.f_bfree * usage.f_frsize < uint64_t{180} << 20 &&
           std::chrono::steady_clock::now() < end);
  EXPECT_GE(usage.f_bfree * usage.f_frsize, uint64_t{180} << 20);
}

class BlockDeviceCrashTest : public CrashTest {
 protected:
  BlockDeviceCrashTest()
      : CrashTest(VolumeSetup{.size_bytes = uint64_t{1} << 30, .block_device = true}) {}
};

TEST_F(BlockDeviceCrashTest, SyncOfTheSystemReachesTheVolume) {
  for (const bool whole_system : {true, false}) {
    const std::string prefix = whole_system ? "sync" : "syncfs";
    for (int i = 0; i < 100; ++i)
      WriteFile(Path(prefix + std::to_string(i)), Pattern(static_cast<uint64_t>(i), 0, 30000));
    if (whole_system) {
      sync();
    } else {
      const Fd directory = Open(root(), O_RDONLY | O_DIRECTORY);
      ASSERT_TRUE(Succeeds(syncfs(directory.get())));
    }
    CrashAndMount();
    for (int i = 0; i < 100; ++i) {
      ASSERT_TRUE(SameBytes(ReadFile(Path(prefix + std::to_string(i))),
                            Pattern(static_cast<uint64_t>(i), 0, 30000)));
    }
  }
}

TEST_F(BlockDeviceCrashTest, APrefixOfTheOperationsSurvives) {
  MakeDirectory(Path("work"));
  SyncDirectory(root());
  CrashModel model(Path("work"), Seed() + 1);
  for (int round = 0; round < Rounds(2, 15); ++round) {
    std::atomic<int> steps{0};
    KillDuring(steps, 100 + 77 * (round % 5), [&] {
      while (steps < 3000 && model.Step()) ++steps;
    });
    model.GoOnFrom(model.FindStep());
  }
}

}  // namespace
}  // namespace cofs
