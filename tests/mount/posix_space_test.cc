// Where a file has bytes and where it has none: holes, sizes, preallocation.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <string>

#include "tests/mount/file_io.h"
#include "tests/mount/mounted_volume.h"

namespace cofs {
namespace {

constexpr uint64_t kBlock = 4096;
constexpr uint64_t kGiB = uint64_t{1} << 30;
constexpr uint64_t kFileSizeMax = (uint64_t{1} << 63) - kBlock;  // docs/FORMAT.md
constexpr int kPunch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

class PosixSpaceTest : public MountTest {
 protected:
  static uint64_t AllocatedBytes(int fd) {
    return static_cast<uint64_t>(Stat(fd).st_blocks) * 512;
  }
  // In whole blocks around [begin, end), as ranges are told.
  static DataRange Blocks(uint64_t begin, uint64_t end) {
    return {begin / kBlock * kBlock, (end + kBlock - 1) / kBlock * kBlock};
  }
};

TEST_F(PosixSpaceTest, OffsetsUpToTheLastBlock) {
  Fd fd = Open(Path("file"), O_RDWR | O_CREAT);
  const std::string data = Pattern(1, 0, 5000);
  uint64_t last = kFileSizeMax - 5000;
  if (!OnCofs() && pwrite(fd.get(), "x", 1, static_cast<off_t>(last)) < 0)
    GTEST_SKIP() << "this file system has no files of 8 EiB";
  WriteAt(fd.get(), last, data);
  WriteAt(fd.get(), 3 * kGiB, data);
  ASSERT_TRUE(Succeeds(fsync(fd.get())));
  EXPECT_EQ(static_cast<uint64_t>(Stat(fd.get()).st_size), kFileSizeMax);
  fd.Reset();
  Remount();
  const Fd again = Open(Path("file"), O_RDWR);
  EXPECT_TRUE(SameBytes(ReadAt(again.get(), last, 9000), data));
  EXPECT_TRUE(SameBytes(ReadAt(again.get(), 3 * kGiB, 5000), data));
  EXPECT_EQ(DataRanges(again.get()).size(), 2u);
  ASSERT_TRUE(Succeeds(ftruncate(again.get(), 10)));
  EXPECT_EQ(ReadAt(again.get(), 0, 100), std::string(10, '\0'));
}

TEST_F(PosixSpaceTest, WritesPastTheLargestSizeAreRefused) {
  const Fd fd = Open(Path("file"), O_RDWR | O_CREAT);
  // The kernel's own limit is a little larger than that of cofs, so the answer may
  // come with the write or with the sync; it may not be missing.
  const auto offset = static_cast<off_t>((uint64_t{1} << 63) - 100);
  const ssize_t written = pwrite(fd.get(), "beyond", 6, offset);
  if (written < 0) {
    EXPECT_EQ(errno, EFBIG);
  } else if (OnCofs()) {
    EXPECT_TRUE(FailsWith(fsync(fd.get()), EFBIG));
  }
}

TEST_F(PosixSpaceTest, SparseFilesBeyondFourGiB) {
  Fd fd = Open(Path("file"), O_RDWR | O_CREAT);
  const uint64_t places[] = {0, 2 * kGiB - 3, 4 * kGiB - 2000, 5 * kGiB + 1};
  for (const uint64_t place : places) WriteAt(fd.get(), place, Pattern(2, place, 4000));
  ASSERT_TRUE(Succeeds(fsync(fd.get())));
  EXPECT_EQ(static_cast<uint64_t>(Stat(fd.get()).st_size), 5 * kGiB + 4001);
  EXPECT_LE(AllocatedBytes(fd.get()), 4u << 20);
  fd.Reset();
  Remount();
  const Fd again = Open(Path("file"), O_RDWR);
  for (const uint64_t place : places)
    EXPECT_TRUE(SameBytes(ReadAt(again.get(), place, 4000), Pattern(2, place, 4000))) << place;
  EXPECT_EQ(ReadAt(again.get(), kGiB, 10000), std::string(10000, '\0'));
  EXPECT_EQ(DataRanges(again.get()).size(), 4u);
}

TEST_F(PosixSpaceTest, SeekTellsDataFromHoles) {
  const Fd fd = Open(Path("file"), O_RDWR | O_CREAT);
  constexpr uint64_t kPart = 1 << 20;
  WriteAt(fd.get(), kPart, Pattern(1, 0, 10000));
  WriteAt(fd.get(), 3 * kPart, Pattern(1, 0, kBlock));
  ASSERT_TRUE(Succeeds(ftruncate(fd.get(), 5 * kPart)));
  ASSERT_TRUE(Succeeds(fsync(fd.get())));
  EXPECT_EQ(DataRanges(fd.get()),
            (std::vector<DataRange>{Blocks(kPart, kPart + 10000),
                                    Blocks(3 * kPart, 3 * kPart + kBlock)}));
  EXPECT_EQ(lseek(fd.get(), 0, SEEK_HOLE), 0);
  EXPECT_EQ(lseek(fd.get(), kPart + 5, SEEK_DATA), static_cast<off_t>(kPart + 5));
  EXPECT_EQ(lseek(fd.get(), 4 * kPart, SEEK_HOLE), static_cast<off_t>(4 * kPart));
  EXPECT_TRUE(FailsWith(lseek(fd.get(), 4 * kPart, SEEK_DATA), ENXIO));
  EXPECT_TRUE(FailsWith(lseek(fd.get(), 5 * kPart, SEEK_HOLE), ENXIO));
  EXPECT_TRUE(FailsWith(lseek(fd.get(), 9 * kPart, SEEK_DATA), ENXIO));
  EXPECT_TRUE(FailsWith(lseek(fd.get(), -1, SEEK_DATA), ENXIO));
  // The end of a file without holes counts as one.
  const Fd full = Open(Path("full"), O_RDWR | O_CREAT);
  WriteAt(full.get(), 0, "full");
  EXPECT_EQ(lseek(full.get(), 0, SEEK_HOLE), 4);
}

TEST_F(PosixSpaceTest, SeekSeesWhatIsNotWrittenBackYet) {
  // cp and tar skip what SEEK_DATA does not tell: dirty pages must be told.
  const Fd fd = Open(Path("file"), O_RDWR | O_CREAT);
  WriteAt(fd.get(), 0, Pattern(1, 0, 100000));
  EXPECT_EQ(lseek(fd.get(), 0, SEEK_DATA), 0);
  EXPECT_EQ(lseek(fd.get(), 0, SEEK_HOLE), 100000);
  WriteAt(fd.get(), 1 << 20, Pattern(1, 0, kBlock));
  EXPECT_EQ(lseek(fd.get(), 200000, SEEK_DATA), 1 << 20);
  // And dirty pages of a mapping.
  ASSERT_TRUE(Succeeds(ftruncate(fd.get(), 2 << 20)));
  void* page = mmap(nullptr, kBlock, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 3 << 19);
  ASSERT_NE(page, MAP_FAILED);
  memset(page, 'm', kBlock);
  EXPECT_EQ(lseek(fd.get(), (1 << 20) + kBlock, SEEK_DATA), 3 << 19);
  munmap(page, kBlock);
}

TEST_F(PosixSpaceTest, ShrinkingZeroesTheTail) {
  for (const uint64_t size : {1u, 4095u, 4096u, 4097u, 10000u}) {
    const Fd fd = Open(Path("file"), O_RDWR | O_CREAT | O_TRUNC);
    const std::string data = Pattern(size, 0, 20000);
    WriteAt(fd.get(), 0, data);
    if (size % 2 == 0) {
      ASSERT_TRUE(Succeeds(fsync(fd.get())));
    }
    ASSERT_TRUE(Succeeds(ftruncate(fd.get(), static_cast<off_t>(size))));
    EXPECT_TRUE(SameBytes(ReadAt(fd.get(), 0, 30000), data.substr(0, size)));
    ASSERT_TRUE(Succeeds(ftruncate(fd.get(), 20000)));
    const std::string expected = data.substr(0, size) + std::string(20000 - size, '\0');
    EXPECT_TRUE(SameBytes(ReadAt(fd.get(), 0, 30000), expected)) << size;
    ASSERT_TRUE(Succeeds(fsync(fd.get())));
    EXPECT_TRUE(SameBytes(ReadFileDirect(Path("file")), expected)) << size;
  }
}

TEST_F(PosixSpaceTest, BytesPastTheEndOfAMappingNeverShow) {
  Fd fd = Open(Path("file"), O_RDWR | O_CREAT);
  WriteAt(fd.get(), 0, std::string(1000, 'd'));
  char* page = static_cast<char*>(
      mmap(nullptr, kBlock, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0));
  ASSERT_NE(page, MAP_FAILED);
  EXPECT_EQ(std::string(page + 1000, 3096), std::string(3096, '\0'));
  memset(page + 1000, 'g', 3096);  // allowed, and lost
  ASSERT_TRUE(Succeeds(msync(page, kBlock, MS_SYNC)));
  ASSERT_TRUE(Succeeds(ftruncate(fd.get(), 4096)));
  EXPECT_TRUE(SameBytes(ReadAt(fd.get(), 0, 5000),
                        std::string(1000, 'd') + std::string(3096, '\0')));
  // Shrinking under a mapping: the rest of its last page reads as zeros.
  memset(page, 'e', kBlock);
  ASSERT_TRUE(Succeeds(ftruncate(fd.get(), 100)));
  EXPECT_EQ(std::string(page, 200), std::string(100, 'e') + std::string(100, '\0'));
  ASSERT_TRUE(Succeeds(ftruncate(fd.get(), 4096)));
  EXPECT_EQ(std::string(page, 4096), std::string(100, 'e') + std::string(3996, '\0'));
  munmap(page, kBlock);
  fd.Reset();
  Remount();
  EXPECT_TRUE(SameBytes(ReadFile(Path("file")),
                        std::string(100, 'e') + std::string(3996, '\0')));
}

TEST_F(PosixSpaceTest, AWriteFarBehindTheEndLeavesZeros) {
  const Fd fd = Open(Path("file"), O_RDWR | O_CREAT);
  WriteAt(fd.get(), 0, std::string(100, 'a'));
  ASSERT_TRUE(Succeeds(fsync(fd.get())));
  WriteAt(fd.get(), 10000, std::string(100, 'b'));
  const std::string expected =
      std::string(100, 'a') + std::string(9900, '\0') + std::string(100, 'b');
  EXPECT_TRUE(SameBytes(ReadAt(fd.get(), 0, 20000), expected));
  ASSERT_TRUE(Succeeds(fsync(fd.get())));
  EXPECT_TRUE(SameBytes(ReadFileDirect(Path("file")), expected));
}

TEST_F(PosixSpaceTest, PreallocationReservesAndReadsAsZeros) {
  Fd fd = Open(Path("file"), O_RDWR | O_CREAT);
  ASSERT_TRUE(Succeeds(fallocate(fd.get(), 0, 0, 1 << 20)));
  EXPECT_EQ(Stat(fd.get()).st_size, 1 << 20);
  EXPECT_GE(AllocatedBytes(fd.get()), 1u << 20);
  EXPECT_EQ(ReadAt(fd.get(), 0, 1 << 20), std::string(1 << 20, '\0'));
  ASSERT_TRUE(Succeeds(fallocate(fd.get(), FALLOC_FL_KEEP_SIZE, 1 << 20, 1 << 20)));
  EXPECT_EQ(Stat(fd.get()).st_size, 1 << 20);
  EXPECT_GE(AllocatedBytes(fd.get()), 2u << 20);
  // Written in the middle of it; the rest stays zeros, what was there stays.
  WriteAt(fd.get(), 300000, Pattern(1, 0, 50000));
  ASSERT_TRUE(Succeeds(fallocate(fd.get(), 0, 0, 1 << 20)));
  ASSERT_TRUE(Succeeds(fsync(fd.get())));
  std::string expected(1 << 20, '\0');
  expected.replace(300000, 50000, Pattern(1, 0, 50000));
  EXPECT_TRUE(SameBytes(ReadFileDirect(Path("file")), expected));
  // Growing into what was kept beyond the end reads as zeros.
  ASSERT_TRUE(Succeeds(ftruncate(fd.get(), 2 << 20)));
  fd.Reset();
  Remount();
  EXPECT_TRUE(SameBytes(ReadFile(Path("file")), expected + std::string(1 << 20, '\0')));
}

TEST_F(PosixSpaceTest, PunchedHolesReadAsZerosAndGiveSpaceBack) {
  const std::string data = Pattern(1, 0, 1 << 20);
  struct Case {
    const char* name;
    uint64_t offset, length;
  };
  for (const Case& c : {Case{"blocks", 16 * kBlock, 64 * kBlock},
                        Case{"inside one block", 5000, 100}, Case{"odd", 5001, 70001},
                        Case{"over the end", 900000, 1 << 20}, Case{"all", 0, 1 << 20},
                        Case{"behind the end", 2 << 20, 1 << 20}}) {
    for (const bool dirty : {false, true}) {
      const std::string path = Path(std::string(c.name) + (dirty ? " dirty" : ""));
      const Fd fd = Open(path, O_RDWR | O_CREAT);
      WriteAt(fd.get(), 0, data);
      if (!dirty) {
        ASSERT_TRUE(Succeeds(fsync(fd.get())));
      }
      ASSERT_TRUE(Succeeds(fallocate(fd.get(), kPunch, static_cast<off_t>(c.offset),
                                     static_cast<off_t>(c.length))))
          << c.name;
      std::string expected = data;
      if (c.offset < data.size()) {
        const uint64_t length = std::min(c.length, data.size() - c.offset);
        expected.replace(c.offset, length, std::string(length, '\0'));
      }
      EXPECT_TRUE(SameBytes(ReadAt(fd.get(), 0, 2 << 20), expected)) << path;
      ASSERT_TRUE(Succeeds(fsync(fd.get())));
      EXPECT_TRUE(SameBytes(ReadFileDirect(path), expected)) << path;
      if (c.name == std::string("blocks") || c.name == std::string("all")) {
        EXPECT_LE(AllocatedBytes(fd.get()), (1 << 20) - c.length + 65536) << path;
      }
    }
  }
}

TEST_F(PosixSpaceTest, ZeroedRangesReadAsZeros) {
  const std::string data = Pattern(1, 0, 1 << 20);
  Fd fd = Open(Path("file"), O_RDWR | O_CREAT);
  WriteAt(fd.get(), 0, data);
  if (fallocate(fd.get(), FALLOC_FL_ZERO_RANGE, 5001, 300000) != 0 && !OnCofs())
    GTEST_SKIP() << "this file system has no FALLOC_FL_ZERO_RANGE";
  ASSERT_TRUE(Succeeds(fallocate(fd.get(), FALLOC_FL_ZERO_RANGE, 5001, 300000)));
  std::string expected = data;
  expected.replace(5001, 300000, std::string(300000, '\0'));
  EXPECT_TRUE(SameBytes(ReadAt(fd.get(), 0, 2 << 20), expected));
  // Over the end, with and without the size.
  ASSERT_TRUE(Succeeds(fallocate(fd.get(), FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
                                 1000000, 1000000)));
  EXPECT_EQ(Stat(fd.get()).st_size, 1 << 20);
  ASSERT_TRUE(Succeeds(fallocate(fd.get(), FALLOC_FL_ZERO_RANGE, 1000000, 1000000)));
  EXPECT_EQ(Stat(fd.get()).st_size, 2000000);
  expected.resize(1000000);
  expected.resize(2000000);
  fd.Reset();
  Remount();
  EXPECT_TRUE(SameBytes(ReadFile(Path("file")), expected));
}

TEST_F(PosixSpaceTest, OtherModesOfFallocateAreRefused) {
  const Fd fd = Open(Path("file"), O_RDWR | O_CREAT);
  WriteAt(fd.get(), 0, Pattern(1, 0, 1 << 20));
  if (OnCofs()) {
    EXPECT_TRUE(FailsWith(fallocate(fd.get(), FALLOC_FL_COLLAPSE_RANGE, 0, kBlock), EOPNOTSUPP));
    EXPECT_TRUE(FailsWith(fallocate(fd.get(), FALLOC_FL_INSERT_RANGE, 0, kBlock), EOPNOTSUPP));
  }
  EXPECT_TRUE(FailsWith(fallocate(fd.get(), 0, 0, 0), EINVAL));
  EXPECT_TRUE(FailsWith(fallocate(fd.get(), 0, -1, 10), EINVAL));
  const Fd read_only = Open(Path("file"), O_RDONLY);
  EXPECT_TRUE(FailsWith(fallocate(read_only.get(), 0, 0, kBlock), EBADF));
  EXPECT_TRUE(SameBytes(ReadFile(Path("file")), Pattern(1, 0, 1 << 20)));
}

TEST_F(PosixSpaceTest, BlocksOfAFileAreTold) {
  // FUSE takes them over when a written file is closed.
  const auto allocated = [&] { return AllocatedBytes(Open(Path("file"), O_RDONLY).get()); };
  {
    const Fd fd = Open(Path("file"), O_RDWR | O_CREAT);
    EXPECT_EQ(AllocatedBytes(fd.get()), 0u);
    WriteAt(fd.get(), 0, Pattern(1, 0, 1 << 20));
    ASSERT_TRUE(Succeeds(fsync(fd.get())));
  }
  EXPECT_GE(allocated(), 1u << 20);
  EXPECT_LE(allocated(), 3u << 20);
  ASSERT_TRUE(Succeeds(truncate(Path("file").c_str(), 0)));
  EXPECT_EQ(allocated(), 0u);
}

class FullVolumeTest : public MountTest {
 protected:
  FullVolumeTest() : MountTest({.size_bytes = 256 << 20}) {}
};

TEST_F(FullVolumeTest, AStreamThatIsNeverSyncedEnds) {
  const std::string data = Pattern(5, 0, 1 << 20);
  Fd fd = Open(Path("stream"), O_WRONLY | O_CREAT);
  // As dd(1) fills a disk. The kernel's page cache takes some of what does not fit.
  constexpr int kWritesMax = 16 << 10;
  int writes = 0;
  while (writes < kWritesMax && write(fd.get(), data.data(), data.size()) > 0) ++writes;
  EXPECT_EQ(errno, ENOSPC);
  EXPECT_GE(writes, 128);
  EXPECT_LT(writes, kWritesMax);
  // It has been told once; the file can be used.
  EXPECT_EQ(Stat(fd.get()).st_size, static_cast<off_t>(writes) << 20);
  ASSERT_TRUE(Succeeds(ftruncate(fd.get(), 1 << 20)));
  fsync(fd.get());  // may tell of the lost pages
  EXPECT_EQ(pwrite(fd.get(), data.data(), data.size(), 0), 1 << 20);
  ASSERT_TRUE(Succeeds(fsync(fd.get())));
  fd.Reset();
  Remount();
  EXPECT_TRUE(SameBytes(ReadFile(Path("stream")), data));
}

}  // namespace
}  // namespace cofs
