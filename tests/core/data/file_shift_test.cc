// FileData: collapsing and inserting ranges.
#include <gtest/gtest.h>
#include <linux/falloc.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "tests/core/data/data_volume.h"

namespace cofs {
namespace {

constexpr uint64_t kB = kBlockBytes;

class FileShift : public testing::Test {
 protected:
  Status Collapse(uint64_t offset, uint64_t length) {
    return volume_.data().Allocate(file_, FALLOC_FL_COLLAPSE_RANGE, FileOffset{offset},
                                   length);
  }
  Status Insert(uint64_t offset, uint64_t length) {
    return volume_.data().Allocate(file_, FALLOC_FL_INSERT_RANGE, FileOffset{offset},
                                   length);
  }
  // One extent for each of `count` blocks: none can be merged with its neighbour.
  std::string WriteFragmented(uint64_t count) {
    std::string bytes;
    for (uint64_t i = 0; i < count; ++i) bytes += Pattern(i, kB);
    // From the end on: neighbours in the file are none on the device.
    for (uint64_t i = count; i > 0; --i)
      volume_.Write(file_, (i - 1) * kB, std::string_view(bytes).substr((i - 1) * kB, kB));
    EXPECT_EQ(count, volume_.MapOf(file_).size());
    return bytes;
  }
  void ExpectFile(const std::string& bytes) {
    EXPECT_EQ(bytes.size(), volume_.SizeOf(file_));
    EXPECT_TRUE(bytes == volume_.ReadAll(file_));
    const InodeId id = file_->id;
    file_.reset();
    volume_.Remount();
    file_ = volume_.Again(id);
    EXPECT_TRUE(bytes == volume_.ReadAll(file_));
    volume_.ExpectSound();
  }

  DataVolume volume_;
  InodeRef file_ = volume_.NewFile();
};

TEST_F(FileShift, MovesWhatLiesBehind) {
  std::string bytes = Pattern(7, 10 * kB + 123);
  volume_.Write(file_, 0, bytes);
  const InodeRecord before = volume_.RecordOf(file_);
  DATA_EXPECT_OK(Collapse(2 * kB, 3 * kB));
  bytes.erase(2 * kB, 3 * kB);
  EXPECT_EQ(before.allocated_bytes - 3 * kB, volume_.RecordOf(file_).allocated_bytes);
  ExpectFile(bytes);
  DATA_EXPECT_OK(Insert(kB, 4 * kB));
  bytes.insert(kB, 4 * kB, '\0');
  EXPECT_EQ(before.allocated_bytes - 3 * kB, volume_.RecordOf(file_).allocated_bytes);
  ExpectFile(bytes);
  // A collapse of what was inserted makes one extent of its neighbours again.
  DATA_EXPECT_OK(Collapse(kB, 4 * kB));
  bytes.erase(kB, 4 * kB);
  EXPECT_EQ(2u, volume_.MapOf(file_).size());
  ExpectFile(bytes);
}

TEST_F(FileShift, MoreExtentsThanOneBatchHolds) {
  constexpr uint64_t kCount = 5000;
  std::string bytes = WriteFragmented(kCount);
  DATA_EXPECT_OK(Insert(100 * kB, 7 * kB));
  bytes.insert(100 * kB, 7 * kB, '\0');
  ExpectFile(bytes);
  DATA_EXPECT_OK(Collapse(50 * kB, 60 * kB));
  bytes.erase(50 * kB, 60 * kB);
  ExpectFile(bytes);
  // The range itself has more.
  DATA_EXPECT_OK(Collapse(kB, 2500 * kB));
  bytes.erase(kB, 2500 * kB);
  ExpectFile(bytes);
  volume_.Settle();
  EXPECT_EQ(volume_.RecordOf(file_).allocated_bytes, volume_.MapOf(file_).size() * kB);
}

TEST_F(FileShift, BlocksThatOthersShareStayTheirs) {
  std::string bytes = Pattern(3, 16 * kB);
  volume_.Write(file_, 0, bytes);
  InodeRef other = volume_.NewFile();
  DATA_EXPECT_OK(volume_.Clone(file_, 0, other, 0, 16 * kB));
  DATA_EXPECT_OK(Collapse(4 * kB, 4 * kB));
  DATA_EXPECT_OK(Insert(8 * kB, 2 * kB));
  volume_.Write(file_, 0, "new");
  volume_.Settle();
  EXPECT_EQ(bytes, volume_.ReadAll(other));
  volume_.ExpectSound();
  DATA_EXPECT_OK(volume_.Remove(other));
  std::string mine = bytes;
  mine.erase(4 * kB, 4 * kB);
  mine.insert(8 * kB, 2 * kB, '\0');
  mine.replace(0, 3, "new");
  ExpectFile(mine);
}

TEST_F(FileShift, WhatIsPreallocatedBehindTheEndMovesAlong) {
  volume_.Write(file_, 0, Pattern(1, 4 * kB));
  DATA_EXPECT_OK(volume_.data().Allocate(file_, FALLOC_FL_KEEP_SIZE, FileOffset{8 * kB},
                                         2 * kB));
  DATA_EXPECT_OK(Insert(0, 3 * kB));
  std::vector<Extent> map = volume_.MapOf(file_);
  ASSERT_EQ(2u, map.size());
  EXPECT_EQ(FileOffset{11 * kB}, map[1].file_offset);
  DATA_EXPECT_OK(Collapse(kB, 4 * kB));
  map = volume_.MapOf(file_);
  ASSERT_EQ(2u, map.size());
  EXPECT_EQ(FileOffset{7 * kB}, map[1].file_offset);
  volume_.ExpectSound();
}

TEST_F(FileShift, IntoAFileThatHasGrownForIt) {
  std::string bytes = WriteFragmented(1500);
  bytes += "tail";
  volume_.Write(file_, 1500 * kB, "tail");
  const auto insert = [&](uint64_t offset, uint64_t length) {
    return volume_.data().InsertIntoGrown(file_, FileOffset{offset}, length);
  };
  DATA_EXPECT_OK(volume_.data().Truncate(file_, bytes.size() + 5 * kB, {}));
  DATA_EXPECT_CODE(kInvalidArgument, insert(1501 * kB, 5 * kB));  // behind its old end
  DATA_EXPECT_CODE(kInvalidArgument, insert(kB, 6 * kB));  // it has data where it had its end
  DATA_EXPECT_OK(insert(kB, 5 * kB));
  bytes.insert(kB, 5 * kB, '\0');
  ExpectFile(bytes);
  DATA_EXPECT_OK(volume_.data().Truncate(file_, bytes.size() + 2 * kB, {}));
  volume_.Write(file_, bytes.size() + kB, "data");
  DATA_EXPECT_CODE(kInvalidArgument, insert(0, 2 * kB));
  bytes.resize(bytes.size() + 2 * kB);
  bytes.replace(bytes.size() - kB, 4, "data");
  ExpectFile(bytes);
}

// A reader never finds what lies between two batches.
TEST_F(FileShift, ReadersSeeTheFileBeforeOrAfter) {
  constexpr uint64_t kCount = 3000;
  const std::string bytes = WriteFragmented(kCount);
  std::atomic<bool> stop{false};
  std::thread reader([&] {
    AlignedBuffer buffer;
    while (!stop) {
      const auto read = volume_.data().Read(file_, FileOffset{0}, 2 * kCount * kB, buffer);
      ASSERT_TRUE(read.ok());
      if (read->size() == kCount * kB) {
        ASSERT_EQ(0, std::memcmp(read->data(), bytes.data(), bytes.size()));
      } else {
        ASSERT_EQ((kCount + 7) * kB, read->size());
        ASSERT_EQ(0, std::memcmp(read->data() + 7 * kB, bytes.data(), bytes.size()));
      }
    }
  });
  for (int i = 0; i < 10; ++i) {
    DATA_EXPECT_OK(Insert(0, 7 * kB));
    DATA_EXPECT_OK(Collapse(0, 7 * kB));
  }
  stop = true;
  reader.join();
}

TEST_F(FileShift, Rules) {
  volume_.Write(file_, 0, Pattern(1, 8 * kB + 10));
  DATA_EXPECT_CODE(kInvalidArgument, Collapse(100, kB));
  DATA_EXPECT_CODE(kInvalidArgument, Collapse(kB, 100));
  DATA_EXPECT_CODE(kInvalidArgument, Collapse(kB, 0));
  DATA_EXPECT_CODE(kInvalidArgument, Collapse(8 * kB, kB));  // reaches the end
  DATA_EXPECT_CODE(kInvalidArgument, Collapse(9 * kB, kB));
  DATA_EXPECT_CODE(kInvalidArgument, Insert(100, kB));
  DATA_EXPECT_CODE(kInvalidArgument, Insert(9 * kB, kB));  // behind the end
  DATA_EXPECT_CODE(kFileTooLarge, Insert(0, kFileBytesMax));
  DATA_EXPECT_CODE(kFileTooLarge, Insert(0, kFileBytesMax - 8 * kB));
  // Within the limit by its size, but not with what is preallocated behind its end.
  DATA_EXPECT_OK(volume_.data().Allocate(file_, FALLOC_FL_KEEP_SIZE,
                                         FileOffset{kFileBytesMax - kB}, kB));
  DATA_EXPECT_CODE(kFileTooLarge, Insert(kB, kB));
  DATA_EXPECT_CODE(kNotSupported,
                   volume_.data().Allocate(
                       file_, FALLOC_FL_INSERT_RANGE | FALLOC_FL_KEEP_SIZE, FileOffset{0},
                       kB));
  EXPECT_EQ(Pattern(1, 8 * kB + 10), volume_.ReadAll(file_));
  {
    ExclusiveLock lock(file_->mutex);
    file_->record.flags |= kInodeAppendOnly;
  }
  DATA_EXPECT_CODE(kNotPermitted, Collapse(0, kB));
  DATA_EXPECT_CODE(kNotPermitted, Insert(0, kB));
}

}  // namespace
}  // namespace cofs
