// FileData on a volume that is full, and where files end up on the device.
#include <gtest/gtest.h>
#include <linux/falloc.h>

#include <thread>

#include "tests/core/data/data_volume.h"

namespace cofs {
namespace {

// Writes files of `bytes` until there is no space.
std::vector<InodeRef> Fill(DataVolume& volume, uint64_t bytes) {
  std::vector<InodeRef> files;
  const std::string data = Pattern(1, bytes);
  for (;;) {
    InodeRef file = volume.NewFile();
    const Status written = volume.data().Write(file, FileOffset{0}, data, {});
    if (!written.ok()) {
      DATA_EXPECT_CODE(kNoSpace, written);
      EXPECT_EQ("", volume.ReadAll(file));
      DATA_EXPECT_OK(volume.Remove(file));
      return files;
    }
    files.push_back(std::move(file));
  }
}

TEST(FileSpace, AllOfItComesBack) {
  DataVolume volume({.size_bytes = 96 << 20});
  volume.Settle();
  for (int cycle = 0; cycle < 3; ++cycle) {
    SCOPED_TRACE(cycle);
    std::vector<InodeRef> files = Fill(volume, 1 << 20);
    EXPECT_GT(files.size(), 30u);
    // An overwrite of what there is works on a full volume; growth does not.
    DATA_EXPECT_CODE(kNoSpace, volume.data().Write(files[0], FileOffset{1 << 20},
                                                   Pattern(2, 1 << 20), {}));
    for (size_t i = 0; i < files.size(); ++i)
      volume.Write(files[i], 4096, Pattern(i, 64 << 10));
    for (size_t i = 0; i < files.size(); ++i)
      EXPECT_EQ(Pattern(i, 64 << 10), volume.Read(files[i], 4096, 64 << 10));
    volume.ExpectSound();
    for (InodeRef& file : files) DATA_EXPECT_OK(volume.Remove(file));
  }
  volume.ExpectSound();  // free space is what nothing maps: nothing was lost
}

TEST(FileSpace, PreallocationIsAllOrNothing) {
  DataVolume volume({.size_bytes = 96 << 20});
  InodeRef file = volume.NewFile();
  volume.Write(file, 1 << 20, "data");
  const auto before = volume.MapOf(file);
  const uint64_t size = volume.SizeOf(file);
  for (const int mode : {0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE}) {
    DATA_EXPECT_CODE(kNoSpace,
                     volume.data().Allocate(file, mode, FileOffset{0}, 200ull << 20));
    EXPECT_EQ(before, volume.MapOf(file));
    EXPECT_EQ(size, volume.SizeOf(file));
    EXPECT_EQ("data", volume.Read(file, 1 << 20, 4));
  }
  volume.ExpectSound();
}

TEST(FileSpace, PreallocatedSpaceIsThereOnAFullVolume) {
  DataVolume volume({.size_bytes = 96 << 20});
  InodeRef file = volume.NewFile();
  DATA_EXPECT_OK(volume.data().Allocate(file, 0, FileOffset{0}, 8 << 20));
  std::vector<InodeRef> files = Fill(volume, 64 << 10);
  const std::string data = Pattern(3, 8 << 20);
  for (uint64_t at = 0; at < data.size(); at += 100000)
    volume.Write(file, at, std::string_view(data).substr(at, 100000));
  EXPECT_EQ(data, volume.ReadAll(file));
  volume.ExpectSound();
}

// The page cache writes a stream by several threads, in about the order of the file.
TEST(FileSpace, StreamsEndInFewExtents) {
  DataVolume volume({.size_bytes = 256 << 20});
  constexpr uint64_t kFileBytes = 24 << 20, kStep = 128 << 10;
  std::array<InodeRef, 3> files{volume.NewFile(), volume.NewFile(), volume.NewFile()};
  const std::string data = Pattern(1, kStep);
  for (uint64_t at = 0; at < kFileBytes; at += 4 * kStep)
    for (const InodeRef& file : files)
      for (const uint64_t swapped : {0, 2, 1, 3})
        volume.Write(file, at + swapped * kStep, data);
  for (const InodeRef& file : files) EXPECT_LE(volume.MapOf(file).size(), 12u);
  volume.ExpectSound();
}

TEST(FileSpace, ParallelStreamsOfOneFile) {
  DataVolume volume({.size_bytes = 256 << 20});
  constexpr uint64_t kPart = 8 << 20, kStep = 128 << 10;
  InodeRef file = volume.NewFile();
  std::vector<std::thread> threads;
  for (uint64_t part = 0; part < 4; ++part)
    threads.emplace_back([&, part] {
      for (uint64_t at = 0; at < kPart; at += kStep)
        volume.Write(file, part * kPart + at, Pattern(part * kPart + at, kStep));
    });
  for (std::thread& thread : threads) thread.join();
  for (uint64_t at = 0; at < 4 * kPart; at += kStep)
    ASSERT_EQ(Pattern(at, kStep), volume.Read(file, at, kStep));
  // How the threads interleave is the scheduler's: not one extent for each of the 256
  // writes is all that can be asked here. StreamsEndInFewExtents has the real bound.
  EXPECT_LE(volume.MapOf(file).size(), 192u);
  volume.ExpectSound();
}

}  // namespace
}  // namespace cofs
