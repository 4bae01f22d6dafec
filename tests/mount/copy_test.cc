// copy_file_range(2), and the programs that call it.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <random>
#include <string>

#include "tests/mount/file_io.h"
#include "tests/mount/mounted_volume.h"

namespace cofs {
namespace {

constexpr uint64_t kBlock = 4096;

struct CopyPlace {
  uint64_t from = 0, to = 0, length = 0;
};

ssize_t CopyOnce(int source, int destination, CopyPlace place) {
  auto from = static_cast<off_t>(place.from), to = static_cast<off_t>(place.to);
  return copy_file_range(source, &from, destination, &to, place.length, 0);
}

// Until all of it is copied or the source ends. A count of 0 ends it, as in cp.
uint64_t CopyAll(int source, int destination, CopyPlace place) {
  uint64_t done = 0;
  while (done < place.length) {
    const ssize_t count = CopyOnce(source, destination,
                                   {place.from + done, place.to + done, place.length - done});
    if (count < 0) throw std::system_error(errno, std::generic_category(), "copy_file_range");
    if (count == 0) break;
    done += static_cast<uint64_t>(count);
  }
  return done;
}

class CopyTest : public MountTest {
 protected:
  // Makes "source" with `data` written back, and the descriptors.
  void MakeSource(const std::string& data) {
    source_ = Open(Path("source"), O_RDWR | O_CREAT);
    WriteAt(source_.get(), 0, data);
    ASSERT_TRUE(Succeeds(fsync(source_.get())));
    destination_ = Open(Path("destination"), O_RDWR | O_CREAT);
  }
  // What is read from the destination, from the cache and past it.
  void ExpectDestination(const std::string& expected) {
    EXPECT_TRUE(SameBytes(ReadAt(destination_.get(), 0, expected.size() + 1), expected));
    ASSERT_TRUE(Succeeds(fsync(destination_.get())));
    EXPECT_TRUE(SameBytes(ReadFileDirect(Path("destination")), expected));
  }

  void Close() {
    source_.Reset();
    destination_.Reset();
  }
  void TearDown() override {
    Close();  // or the unmount would find them in use
    MountTest::TearDown();
  }
  void Remount() {
    Close();
    MountTest::Remount();
  }

  Fd source_, destination_;
};

TEST_F(CopyTest, OddEndsOfEveryKind) {
  const std::string data = Pattern(1, 0, 300000);
  MakeSource(data);
  std::string model;
  for (const uint64_t from : {0u, 1u, 4095u, 4096u, 70000u}) {
    for (const uint64_t to : {0u, 1u, 4095u, 4096u, 8191u, 131072u}) {
      for (const uint64_t length : {1u, 4095u, 4096u, 4097u, 131072u, 200001u}) {
        const uint64_t copied =
            CopyAll(source_.get(), destination_.get(), {from, to, length});
        ASSERT_EQ(copied, std::min(length, data.size() - from));
        if (model.size() < to + copied) model.resize(to + copied);
        model.replace(to, copied, data.substr(from, copied));
        ASSERT_TRUE(SameBytes(ReadAt(destination_.get(), 0, model.size() + 1), model))
            << "from " << from << " to " << to << " length " << length;
      }
    }
  }
  ExpectDestination(model);
  Remount();
  EXPECT_TRUE(SameBytes(ReadFile(Path("destination")), model));
  EXPECT_TRUE(SameBytes(ReadFile(Path("source")), data));
}

TEST_F(CopyTest, AtTheEndOfTheSource) {
  MakeSource(Pattern(1, 0, 10000));
  EXPECT_EQ(CopyOnce(source_.get(), destination_.get(), {10000, 0, 100}), 0);
  EXPECT_EQ(CopyOnce(source_.get(), destination_.get(), {50000, 0, 100}), 0);
  EXPECT_EQ(CopyOnce(source_.get(), destination_.get(), {0, 0, 0}), 0);
  EXPECT_EQ(Stat(destination_.get()).st_size, 0);
  EXPECT_EQ(CopyAll(source_.get(), destination_.get(), {9000, 0, 1 << 20}), 1000u);
  ExpectDestination(Pattern(1, 9000, 1000));
  EXPECT_EQ(CopyAll(source_.get(), destination_.get(), {0, 5000, 1 << 20}), 10000u);
  ExpectDestination(Pattern(1, 9000, 1000) + std::string(4000, '\0') + Pattern(1, 0, 10000));
}

TEST_F(CopyTest, WhatIsRefused) {
  MakeSource(Pattern(1, 0, 100000));
  // Overlap within one file, also at the same place; side by side is allowed.
  EXPECT_TRUE(FailsWith(CopyOnce(source_.get(), source_.get(), {0, 4096, 8192}), EINVAL));
  EXPECT_TRUE(FailsWith(CopyOnce(source_.get(), source_.get(), {4096, 0, 8192}), EINVAL));
  EXPECT_TRUE(FailsWith(CopyOnce(source_.get(), source_.get(), {5, 5, 10}), EINVAL));
  EXPECT_EQ(CopyAll(source_.get(), source_.get(), {0, 8192, 8192}), 8192u);
  EXPECT_TRUE(SameBytes(ReadAt(source_.get(), 8192, 8192), Pattern(1, 0, 8192)));
  const Fd append = Open(Path("destination"), O_WRONLY | O_APPEND);
  EXPECT_TRUE(FailsWith(CopyOnce(source_.get(), append.get(), {0, 0, 10}), EBADF));
  const Fd read_only = Open(Path("destination"), O_RDONLY);
  EXPECT_TRUE(FailsWith(CopyOnce(source_.get(), read_only.get(), {0, 0, 10}), EBADF));
  const Fd directory = Open(root(), O_RDONLY | O_DIRECTORY);
  EXPECT_TRUE(FailsWith(CopyOnce(directory.get(), destination_.get(), {0, 0, 10}), EISDIR));
  off_t from = 0, to = 0;
  EXPECT_TRUE(FailsWith(
      copy_file_range(source_.get(), &from, destination_.get(), &to, 10, 1), EINVAL));
  EXPECT_EQ(Stat(destination_.get()).st_size, 0);
}

TEST_F(CopyTest, HolesStayHoles) {
  constexpr uint64_t kPart = 1 << 20;
  source_ = Open(Path("source"), O_RDWR | O_CREAT);
  WriteAt(source_.get(), 3 * kPart, Pattern(1, 0, kPart));
  WriteAt(source_.get(), 40 * kPart, Pattern(2, 0, kPart));
  ASSERT_TRUE(Succeeds(ftruncate(source_.get(), 64 * kPart)));
  ASSERT_TRUE(Succeeds(fsync(source_.get())));
  destination_ = Open(Path("destination"), O_RDWR | O_CREAT);
  ASSERT_EQ(CopyAll(source_.get(), destination_.get(), {0, 0, 64 * kPart}), 64 * kPart);
  ASSERT_TRUE(Succeeds(fsync(destination_.get())));
  EXPECT_TRUE(SameBytes(ReadAt(destination_.get(), 3 * kPart, kPart), Pattern(1, 0, kPart)));
  EXPECT_TRUE(SameBytes(ReadAt(destination_.get(), 40 * kPart, kPart), Pattern(2, 0, kPart)));
  EXPECT_EQ(Stat(destination_.get()).st_size, static_cast<off_t>(64 * kPart));
  if (OnCofs()) {
    EXPECT_EQ(DataRanges(destination_.get()), DataRanges(source_.get()));
    EXPECT_LE(Stat(destination_.get()).st_blocks, Stat(source_.get()).st_blocks + 256);
  }
  // A hole over data makes it zeros.
  WriteAt(destination_.get(), 20 * kPart, Pattern(3, 0, kPart));
  ASSERT_EQ(CopyAll(source_.get(), destination_.get(), {10 * kPart, 20 * kPart, kPart}), kPart);
  EXPECT_EQ(ReadAt(destination_.get(), 20 * kPart, kPart), std::string(kPart, '\0'));
  if (OnCofs()) {
    EXPECT_EQ(DataRanges(destination_.get()), DataRanges(source_.get()));
  }
}

TEST_F(CopyTest, PreallocatedRangesReadAsZeros) {
  source_ = Open(Path("source"), O_RDWR | O_CREAT);
  ASSERT_TRUE(Succeeds(fallocate(source_.get(), 0, 0, 1 << 20)));
  WriteAt(source_.get(), 400000, Pattern(1, 0, 100));
  destination_ = Open(Path("destination"), O_RDWR | O_CREAT);
  WriteAt(destination_.get(), 0, Pattern(2, 0, 1 << 20));
  ASSERT_EQ(CopyAll(source_.get(), destination_.get(), {0, 0, 1 << 20}), 1u << 20);
  std::string expected(1 << 20, '\0');
  expected.replace(400000, 100, Pattern(1, 0, 100));
  ExpectDestination(expected);
}

TEST_F(CopyTest, DirtyPagesOfBothSides) {
  std::string model = Pattern(1, 0, 200000);
  MakeSource(model);
  // Not synced: what was just written to the source is what is copied, and what was
  // just written to the destination around the copy stays.
  WriteAt(source_.get(), 50000, Pattern(2, 0, 100000));
  model.replace(50000, 100000, Pattern(2, 0, 100000));
  WriteAt(destination_.get(), 0, Pattern(3, 0, 300000));
  std::string expected = Pattern(3, 0, 300000);
  ASSERT_EQ(CopyAll(source_.get(), destination_.get(), {10001, 70003, 150000}), 150000u);
  expected.replace(70003, 150000, model.substr(10001, 150000));
  ExpectDestination(expected);
  // Through mappings of both.
  void* from = mmap(nullptr, kBlock, PROT_READ | PROT_WRITE, MAP_SHARED, source_.get(), 0);
  void* to = mmap(nullptr, 4 * kBlock, PROT_READ | PROT_WRITE, MAP_SHARED,
                  destination_.get(), 0);
  ASSERT_TRUE(from != MAP_FAILED && to != MAP_FAILED);
  memset(from, 'm', kBlock);
  memset(to, 'n', 4 * kBlock);
  ASSERT_EQ(CopyAll(source_.get(), destination_.get(), {0, kBlock, kBlock}), kBlock);
  const std::string mapped(static_cast<char*>(to), 4 * kBlock);
  EXPECT_TRUE(SameBytes(mapped, std::string(kBlock, 'n') + std::string(kBlock, 'm') +
                                    std::string(2 * kBlock, 'n')));
  munmap(from, kBlock);
  munmap(to, 4 * kBlock);
}

TEST_F(CopyTest, TheCopyIsIndependent) {
  const std::string data = Pattern(1, 0, 1 << 20);
  MakeSource(data);
  ASSERT_EQ(CopyAll(source_.get(), destination_.get(), {0, 0, 1 << 20}), 1u << 20);
  WriteAt(source_.get(), 100000, "changed in the source");
  WriteAt(destination_.get(), 500000, "changed in the destination");
  ASSERT_TRUE(Succeeds(unlink(Path("source").c_str())));
  source_.Reset();
  std::string expected = data;
  expected.replace(500000, 26, "changed in the destination");
  ExpectDestination(expected);
  Remount();
  EXPECT_TRUE(SameBytes(ReadFile(Path("destination")), expected));
}

TEST_F(CopyTest, TheTimesAndTheModeOfTheDestination) {
  MakeSource(Pattern(1, 0, 100000));
  const timespec old[2] = {{1000, 0}, {1000, 0}};
  ASSERT_TRUE(Succeeds(futimens(destination_.get(), old)));
  ASSERT_EQ(CopyAll(source_.get(), destination_.get(), {0, 0, 100000}), 100000u);
  EXPECT_GT(Stat(Path("destination")).st_mtime, 1000);
  EXPECT_EQ(Stat(Path("destination")).st_size, 100000);
}

TEST_F(CopyTest, LongCopies) {
  constexpr uint64_t kPart = 1 << 20, kLength = 256 * kPart;
  source_ = Open(Path("source"), O_RDWR | O_CREAT);
  for (uint64_t at = 0; at < kLength; at += kPart)
    WriteAt(source_.get(), at, Pattern(1, at, kPart));
  destination_ = Open(Path("destination"), O_RDWR | O_CREAT);
  ASSERT_EQ(CopyAll(source_.get(), destination_.get(), {0, 12345, kLength}), kLength);
  ASSERT_EQ(Stat(destination_.get()).st_size, static_cast<off_t>(kLength + 12345));
  for (uint64_t at = 0; at < kLength; at += kPart) {
    ASSERT_TRUE(SameBytes(ReadAt(destination_.get(), at + 12345, kPart), Pattern(1, at, kPart)))
        << "MiB " << at / kPart;
  }
}

TEST_F(CopyTest, CopiesFromAFragmentedFile) {
  // Every other block is written first, the others after them.
  source_ = Open(Path("source"), O_RDWR | O_CREAT);
  constexpr uint64_t kBlocks = 600;
  for (const uint64_t first : {0u, 1u}) {
    for (uint64_t block = first; block < kBlocks; block += 2)
      WriteAt(source_.get(), block * kBlock, Pattern(1, block * kBlock, kBlock));
    ASSERT_TRUE(Succeeds(fsync(source_.get())));
  }
  destination_ = Open(Path("destination"), O_RDWR | O_CREAT);
  constexpr uint64_t kLength = kBlocks * kBlock;
  ASSERT_EQ(CopyAll(source_.get(), destination_.get(), {0, 0, kLength}), kLength);
  ExpectDestination(Pattern(1, 0, kLength));
}

TEST_F(CopyTest, RandomCopiesAgreeWithAModel) {
  std::mt19937_64 random(Seed());
  constexpr uint64_t kLargest = 2 << 20;
  Fd files[3];
  std::string models[3];
  for (int i = 0; i < 3; ++i) {
    files[i] = Open(Path(std::to_string(i)), O_RDWR | O_CREAT);
    models[i] = Pattern(static_cast<uint64_t>(i), 0, 1 << 20);
    WriteAt(files[i].get(), 0, models[i]);
  }
  const auto put = [&](std::string& model, uint64_t offset, const std::string& data) {
    if (model.size() < offset + data.size()) model.resize(offset + data.size());
    model.replace(offset, data.size(), data);
  };
  const int rounds = UnderSanitizer() ? 80 : 300;
  for (int round = 0; round < rounds; ++round) {
    const size_t a = random() % 3, b = random() % 3;
    uint64_t from = random() % kLargest, to = random() % kLargest,
             length = 1 + random() % 500000;
    if (random() % 2) {  // aligned
      from &= ~(kBlock - 1);
      to &= ~(kBlock - 1);
      length = (length + kBlock) & ~(kBlock - 1);
    }
    if (random() % 3 == 0) {
      const std::string data = Pattern(100 + static_cast<uint64_t>(round), 0, length);
      WriteAt(files[a].get(), to, data);
      put(models[a], to, data);
      continue;
    }
    if (from >= models[a].size()) continue;
    length = std::min(length, models[a].size() - from);
    if (a == b && std::max(from, to) < std::min(from, to) + length) continue;
    ASSERT_EQ(CopyAll(files[a].get(), files[b].get(), {from, to, length}), length);
    put(models[b], to, models[a].substr(from, length));
    ASSERT_TRUE(SameBytes(ReadAt(files[b].get(), to, length), models[b].substr(to, length)))
        << "round " << round;
  }
  for (size_t i = 0; i < 3; ++i)
    EXPECT_TRUE(SameBytes(ReadAt(files[i].get(), 0, 2 * kLargest), models[i])) << i;
  for (Fd& file : files) file.Reset();
  Remount();
  for (size_t i = 0; i < 3; ++i)
    EXPECT_TRUE(SameBytes(ReadFile(Path(std::to_string(i))), models[i])) << i;
}

TEST_F(CopyTest, ParallelCopiesToOneFile) {
  constexpr uint64_t kPart = 1 << 20;
  MakeSource(Pattern(1, 0, 8 * kPart));
  InThreads(8, [&](int thread) {
    const auto part = static_cast<uint64_t>(thread);
    for (int round = 0; round < 4; ++round) {
      // Each thread copies another thread's part into its own.
      const uint64_t from = (part + 3) % 8 * kPart;
      ASSERT_EQ(CopyAll(source_.get(), destination_.get(), {from, part * kPart, kPart}), kPart);
    }
  });
  std::string expected;
  for (uint64_t part = 0; part < 8; ++part) expected += Pattern(1, (part + 3) % 8 * kPart, kPart);
  ExpectDestination(expected);
}

TEST_F(CopyTest, TheSourceChangesMeanwhile) {
  // Whatever is copied of a file that is being written is whole blocks of one version.
  constexpr uint64_t kLength = 4 << 20;
  MakeSource(std::string(kLength, 'a'));
  std::atomic<bool> done{false};
  InThreads(2, [&](int thread) {
    if (thread == 0) {
      const Fd direct = Open(Path("source"), O_WRONLY | O_DIRECT);
      for (int round = 0; round < 40; ++round) {
        const AlignedBuffer data =
            AlignedCopy(std::string(64 * kBlock, static_cast<char>('a' + round % 26)));
        for (uint64_t at = 0; at < kLength; at += 64 * kBlock)
          WriteAt(direct.get(), at, {data.data(), 64 * kBlock});
      }
      done = true;
      return;
    }
    do {
      ASSERT_EQ(CopyAll(source_.get(), destination_.get(), {0, 0, kLength}), kLength);
      const std::string copied = ReadAt(destination_.get(), 0, kLength);
      ASSERT_EQ(copied.size(), kLength);
      for (uint64_t at = 0; at < kLength; at += kBlock) {
        const std::string_view block(copied.data() + at, kBlock);
        ASSERT_EQ(block.find_first_not_of(block[0]), std::string_view::npos) << "at " << at;
      }
    } while (!done);
  });
}

TEST_F(CopyTest, CpInEveryMode) {
  constexpr uint64_t kPart = 1 << 20;
  source_ = Open(Path("source"), O_RDWR | O_CREAT);
  WriteAt(source_.get(), kPart, Pattern(1, 0, kPart));
  WriteAt(source_.get(), 9 * kPart, Pattern(2, 0, 100));
  ASSERT_TRUE(Succeeds(ftruncate(source_.get(), 12 * kPart)));
  const std::string expected = ReadAt(source_.get(), 0, 12 * kPart);  // dirty so far
  for (const char* mode : {"--reflink=auto", "--sparse=always", "--sparse=never",
                           "--sparse=auto", "--reflink=never"}) {
    const ProgramResult result = RunProgram({"cp", mode, Path("source"), Path("copy")});
    ASSERT_EQ(result.exit_code, 0) << mode << ": " << result.err;
    EXPECT_TRUE(SameBytes(ReadFile(Path("copy")), expected)) << mode;
    const Fd copy = Open(Path("copy"), O_RDWR);
    ASSERT_TRUE(Succeeds(fsync(copy.get())));
    if (std::string(mode) == "--sparse=always") {
      EXPECT_LE(Stat(copy.get()).st_blocks * 512, static_cast<off_t>(2 * kPart)) << mode;
    }
    ASSERT_TRUE(Succeeds(unlink(Path("copy").c_str())));
  }
}

TEST_F(CopyTest, CpOfAFileThatWasJustWritten) {
  // The whole file is in the page cache only, when cp looks for its holes.
  for (int round = 0; round < 20; ++round) {
    const std::string data = Pattern(static_cast<uint64_t>(round), 0, 70000);
    WriteFile(Path("new"), data);
    const ProgramResult result = RunProgram({"cp", Path("new"), Path("copy")});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    ASSERT_TRUE(SameBytes(ReadFile(Path("copy")), data)) << "round " << round;
  }
}

TEST_F(CopyTest, BetweenFileSystems) {
  const ScratchDirectory elsewhere;
  const std::string data = Pattern(1, 0, 3000001);
  MakeSource(data);
  ASSERT_EQ(RunProgram({"cp", Path("source"), elsewhere.path() + "/out"}).exit_code, 0);
  EXPECT_TRUE(SameBytes(ReadFile(elsewhere.path() + "/out"), data));
  ASSERT_EQ(RunProgram({"cp", elsewhere.path() + "/out", Path("back")}).exit_code, 0);
  EXPECT_TRUE(SameBytes(ReadFile(Path("back")), data));
}

}  // namespace
}  // namespace cofs
