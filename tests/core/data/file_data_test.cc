// FileData: what each operation does, case by case.
#include "fs/core/file_data.h"

#include <gtest/gtest.h>
#include <linux/falloc.h>
#include <unistd.h>

#include "fs/core/xattrs.h"
#include "tests/core/data/data_volume.h"

namespace cofs {
namespace {

constexpr int kKeep = FALLOC_FL_KEEP_SIZE;
constexpr int kPunch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
constexpr int kZero = FALLOC_FL_ZERO_RANGE;

class FileDataTest : public ::testing::Test {
 protected:
  void TearDown() override { volume_.ExpectSound(); }

  Status Allocate(int mode, uint64_t offset, uint64_t length) {
    return volume_.data().Allocate(file_, mode, FileOffset{offset}, length);
  }
  Status Truncate(uint64_t size) { return volume_.data().Truncate(file_, size, {}); }
  uint64_t AllocatedBytes() { return volume_.RecordOf(file_).allocated_bytes; }
  uint64_t Seek(uint64_t offset, int whence) {
    const auto found = volume_.data().Seek(file_, FileOffset{offset}, whence);
    return found.ok() ? found->value() : UINT64_MAX;
  }

  DataVolume volume_;
  InodeRef file_ = volume_.NewFile();
};

TEST_F(FileDataTest, ReadsWhatWasWritten) {
  const struct {
    uint64_t offset, length;
  } kCases[] = {{0, 1},        {0, 4096},     {1, 4095},       {4095, 2},      {100, 200},
                {4096, 8192},  {5000, 20000}, {1 << 20, 4096}, {65537, 70000}, {3 << 20, 1 << 20},
                {10, 3 << 20}, {8191, 4097}};
  std::string model;
  uint64_t seed = 1;
  for (const auto& c : kCases) {
    const std::string bytes = Pattern(seed++, c.length);
    volume_.Write(file_, c.offset, bytes);
    if (model.size() < c.offset + c.length) model.resize(c.offset + c.length);
    model.replace(c.offset, c.length, bytes);
    ASSERT_EQ(model, volume_.ReadAll(file_)) << c.offset << "+" << c.length;
  }
  EXPECT_EQ("", volume_.Read(file_, model.size(), 10));
  EXPECT_EQ(model.substr(model.size() - 5), volume_.Read(file_, model.size() - 5, 100));
  volume_.Remount();
  file_ = volume_.Again(file_->id);
  EXPECT_EQ(model, volume_.ReadAll(file_));
}

TEST_F(FileDataTest, AlignedMemoryIsWrittenAsItIs) {
  AlignedBuffer buffer(1 << 20);
  const std::string bytes = Pattern(5, 1 << 20);
  std::memcpy(buffer.data(), bytes.data(), bytes.size());
  volume_.Write(file_, 4096, {buffer.data(), 1 << 20});
  // The span that belongs to an offset inside a block, as the FUSE loop has it.
  volume_.Write(file_, 4096 + 100, {buffer.data() + 100, 200000});
  EXPECT_EQ(std::string(4096, '\0') + bytes, volume_.ReadAll(file_));
}

TEST_F(FileDataTest, ReadPlacesBytesAtTheirOffsetInABlock) {
  volume_.Write(file_, 0, Pattern(1, 20000));
  AlignedBuffer buffer;
  const auto read = volume_.data().Read(file_, FileOffset{4196}, 8000, buffer);
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(100, read->data() - buffer.data());
  EXPECT_EQ(8000u, read->size());
}

TEST_F(FileDataTest, Limits) {
  DATA_EXPECT_CODE(kFileTooLarge,
                   volume_.data().Write(file_, FileOffset{kFileBytesMax}, std::string_view("x"), {}));
  DATA_EXPECT_CODE(kFileTooLarge,
                   volume_.data().Write(file_, FileOffset{UINT64_MAX}, std::string_view("x"), {}));
  DATA_EXPECT_OK(volume_.data().Write(file_, FileOffset{kFileBytesMax - 1}, std::string_view("x"), {}));
  EXPECT_EQ(kFileBytesMax, volume_.SizeOf(file_));
  EXPECT_EQ("x", volume_.Read(file_, kFileBytesMax - 1, 100));
  EXPECT_EQ(kFileBytesMax - 4096, Seek(0, SEEK_DATA));
  EXPECT_EQ(kFileBytesMax, Seek(kFileBytesMax - 1, SEEK_HOLE));
  DATA_EXPECT_CODE(kFileTooLarge, Truncate(kFileBytesMax + 1));
  DATA_EXPECT_OK(Truncate(kFileBytesMax));
  DATA_EXPECT_CODE(kFileTooLarge, Allocate(0, kFileBytesMax - 4096, 4097));
  DATA_EXPECT_CODE(kFileTooLarge, Allocate(0, UINT64_MAX - 5, 100));
  DATA_EXPECT_CODE(kInvalidArgument, Allocate(0, 0, 0));
  DATA_EXPECT_OK(Allocate(kPunch, 0, kFileBytesMax));
  EXPECT_EQ(0u, AllocatedBytes());
}

// The tail of a file's last block is zeros on the device, whatever was there.
TEST_F(FileDataTest, NothingComesBackBehindATruncate) {
  const std::string bytes = Pattern(1, 20000);
  for (const uint64_t size : {10000ull, 8192ull, 8191ull, 4097ull, 1ull, 0ull}) {
    volume_.Write(file_, 0, bytes);
    DATA_EXPECT_OK(Truncate(size));
    EXPECT_EQ(size, volume_.SizeOf(file_));
    EXPECT_EQ(RoundUp(size, kBlockBytes), AllocatedBytes());
    DATA_EXPECT_OK(Truncate(30000));
    EXPECT_EQ(bytes.substr(0, size) + std::string(30000 - size, '\0'), volume_.ReadAll(file_));
    DATA_EXPECT_OK(Truncate(size));
    // Extended by a write inside the last block, and by one far behind it.
    volume_.Write(file_, size + 50, "abc");
    volume_.Write(file_, 25000, "abc");
    EXPECT_EQ(bytes.substr(0, size) + std::string(50, '\0') + "abc" +
                  std::string(25000 - size - 53, '\0') + "abc",
              volume_.ReadAll(file_));
  }
}

TEST_F(FileDataTest, TruncateAlsoChangesTheRecord) {
  volume_.Write(file_, 0, Pattern(1, 5000));
  DATA_EXPECT_OK(volume_.data().Truncate(file_, 10, [](InodeRecord& record, Transaction&) {
    record.mode = 0100600;
    record.mtime = {.seconds = 5, .nanoseconds = 6};
    return OkStatus();
  }));
  EXPECT_EQ(0100600u, volume_.RecordOf(file_).mode);
  EXPECT_EQ(5, volume_.RecordOf(file_).mtime.seconds);
  volume_.Remount();
  file_ = volume_.Again(file_->id);
  EXPECT_EQ(0100600u, volume_.RecordOf(file_).mode);
  EXPECT_EQ(10u, volume_.RecordOf(file_).size_bytes);
}

TEST_F(FileDataTest, ManyExtentsAreFreedInBatches) {
  // Every other block: no two of them merge.
  constexpr uint64_t kCount = 2600;
  const std::string block = Pattern(1, kBlockBytes);
  for (uint64_t i = 0; i < kCount; ++i) volume_.Write(file_, 2 * i * kBlockBytes, block);
  ASSERT_EQ(kCount, volume_.MapOf(file_).size());
  DATA_EXPECT_OK(Truncate(2 * 50 * kBlockBytes + 100));
  EXPECT_EQ(51u, volume_.MapOf(file_).size());
  EXPECT_EQ(block.substr(0, 100),
            volume_.Read(file_, 2 * 50 * kBlockBytes, 500));
  for (uint64_t i = 51; i < kCount; ++i) volume_.Write(file_, 2 * i * kBlockBytes, block);
  DATA_EXPECT_OK(Allocate(kPunch, 3 * kBlockBytes, kFileBytesMax - 3 * kBlockBytes));
  EXPECT_EQ(2u, volume_.MapOf(file_).size());
  for (uint64_t i = 0; i < kCount; ++i) volume_.Write(file_, 2 * i * kBlockBytes, block);
  const InodeId id = file_->id;
  DATA_EXPECT_OK(volume_.Remove(file_));
  DATA_EXPECT_CODE(kStale, volume_.core().inodes->Get(id));
}

TEST_F(FileDataTest, Preallocation) {
  volume_.Write(file_, 4096, Pattern(1, 100));
  const std::string before = volume_.ReadAll(file_);
  DATA_EXPECT_OK(Allocate(kKeep, 0, 100000));
  EXPECT_EQ(before, volume_.ReadAll(file_));
  EXPECT_EQ(RoundUp(100000, kBlockBytes), AllocatedBytes());
  DATA_EXPECT_OK(Allocate(0, 50, 60000));
  EXPECT_EQ(60050u, volume_.SizeOf(file_));
  EXPECT_EQ(before + std::string(60050 - before.size(), '\0'), volume_.ReadAll(file_));
  EXPECT_EQ(RoundUp(100000, kBlockBytes), AllocatedBytes());
  // Growing keeps what lies behind the end; truncating to the size gives it back.
  DATA_EXPECT_OK(Truncate(60051));
  EXPECT_EQ(RoundUp(100000, kBlockBytes), AllocatedBytes());
  DATA_EXPECT_OK(Truncate(60051));
  EXPECT_EQ(RoundUp(60051, kBlockBytes), AllocatedBytes());
}

TEST_F(FileDataTest, UnwrittenBlocksAreWrittenWhereTheyAre) {
  DATA_EXPECT_OK(Allocate(0, 0, 64 * kBlockBytes));
  const auto before = volume_.MapOf(file_);
  ASSERT_EQ(1u, before.size());
  ASSERT_TRUE(before[0].unwritten());
  volume_.Write(file_, 10 * kBlockBytes + 5, "hello");
  const auto after = volume_.MapOf(file_);
  ASSERT_EQ(3u, after.size());
  EXPECT_FALSE(after[1].unwritten());
  EXPECT_EQ(before[0].device_offset + 10 * kBlockBytes, after[1].device_offset);
  EXPECT_EQ(std::string(5, '\0') + "hello" + std::string(10, '\0'),
            volume_.Read(file_, 10 * kBlockBytes, 20));
  // Now it is data, and is not overwritten in place.
  volume_.Write(file_, 10 * kBlockBytes, "HELLO");
  EXPECT_NE(after[1].device_offset, volume_.MapOf(file_)[1].device_offset);
  EXPECT_EQ(std::string("HELLO") + "hello", volume_.Read(file_, 10 * kBlockBytes, 10));
}

struct RangeCase {
  uint64_t offset, length;
};
class RangeOfZeros : public FileDataTest, public ::testing::WithParamInterface<RangeCase> {};

TEST_P(RangeOfZeros, PunchAndZero) {
  const auto [offset, length] = GetParam();
  for (const int mode : {kPunch, kZero | kKeep, kZero}) {
    SCOPED_TRACE(mode);
    DATA_EXPECT_OK(Truncate(0));
    std::string model = Pattern(1, 40000);
    volume_.Write(file_, 0, model);
    DATA_EXPECT_OK(Truncate(50000));
    volume_.Write(file_, 50000, "end");
    model.resize(50000);
    model += "end";
    const uint64_t size = mode == kZero ? std::max<uint64_t>(model.size(), offset + length)
                                        : model.size();
    DATA_EXPECT_OK(Allocate(mode, offset, length));
    if (offset < model.size())
      model.replace(offset, std::min(length, model.size() - offset),
                    std::string(std::min(length, model.size() - offset), '\0'));
    model.resize(size);
    EXPECT_EQ(model, volume_.ReadAll(file_));
    for (const Extent& extent : volume_.MapOf(file_)) {
      const Extent inside = Clip(extent, FileOffset{RoundUp(offset, kBlockBytes)},
                                 FileOffset{RoundDown(offset + length, kBlockBytes)});
      if (inside.length_bytes == 0) continue;
      EXPECT_NE(kPunch, mode) << "whole blocks are gone";
      EXPECT_TRUE(extent.unwritten());
    }
    volume_.ExpectSound();
  }
}

INSTANTIATE_TEST_SUITE_P(
    Ranges, RangeOfZeros,
    ::testing::Values(RangeCase{0, 4096}, RangeCase{100, 200}, RangeCase{100, 3996},
                      RangeCase{0, 100}, RangeCase{100, 8000}, RangeCase{4096, 8192},
                      RangeCase{5000, 20000}, RangeCase{36000, 10000},
                      RangeCase{45000, 100000}, RangeCase{49999, 4}, RangeCase{60000, 5000},
                      RangeCase{0, 1 << 20}, RangeCase{49000, 1003}));

TEST_F(FileDataTest, FallocateRefuses) {
  DATA_EXPECT_CODE(kNotSupported, Allocate(FALLOC_FL_PUNCH_HOLE, 0, 4096));
  DATA_EXPECT_CODE(kNotSupported, Allocate(FALLOC_FL_UNSHARE_RANGE, 0, 4096));
  DATA_EXPECT_CODE(kNotSupported,
                   Allocate(FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_KEEP_SIZE, 0, 4096));
  DATA_EXPECT_CODE(kNotSupported, Allocate(kPunch | kZero, 0, 4096));
  {
    ExclusiveLock lock(file_->mutex);
    file_->record.flags |= kInodeAppendOnly;
  }
  DATA_EXPECT_OK(Allocate(0, 0, 4096));
  DATA_EXPECT_CODE(kNotPermitted, Allocate(kPunch, 0, 4096));
  {
    ExclusiveLock lock(file_->mutex);
    file_->record.flags = kInodeImmutable;
  }
  DATA_EXPECT_CODE(kNotPermitted, Allocate(0, 0, 8192));
}

TEST_F(FileDataTest, Seeks) {
  EXPECT_EQ(UINT64_MAX, Seek(0, SEEK_DATA));
  EXPECT_EQ(UINT64_MAX, Seek(0, SEEK_HOLE));
  volume_.Write(file_, 3 * kBlockBytes, Pattern(1, kBlockBytes));
  volume_.Write(file_, 10 * kBlockBytes, Pattern(1, 2 * kBlockBytes));
  DATA_EXPECT_OK(Allocate(0, 4 * kBlockBytes, kBlockBytes));
  DATA_EXPECT_OK(Truncate(20 * kBlockBytes + 5));
  const struct {
    uint64_t offset, data, hole;
  } kCases[] = {
      {0, 3 * 4096, 0},
      {5, 3 * 4096, 5},
      {3 * 4096, 3 * 4096, 4 * 4096},
      {3 * 4096 + 7, 3 * 4096 + 7, 4 * 4096},
      {4 * 4096, 10 * 4096, 4 * 4096},  // unwritten is a hole
      {11 * 4096, 11 * 4096, 12 * 4096},
      {12 * 4096, UINT64_MAX, 12 * 4096},
      {20 * 4096 + 4, UINT64_MAX, 20 * 4096 + 4},
      {20 * 4096 + 5, UINT64_MAX, UINT64_MAX},
  };
  for (const auto& c : kCases) {
    EXPECT_EQ(c.data, Seek(c.offset, SEEK_DATA)) << c.offset;
    EXPECT_EQ(c.hole, Seek(c.offset, SEEK_HOLE)) << c.offset;
  }
  DATA_EXPECT_CODE(kInvalidArgument, volume_.data().Seek(file_, FileOffset{0}, SEEK_SET));
  // A list longer than one look-up.
  for (uint64_t i = 100; i < 1400; ++i)
    volume_.Write(file_, i * kBlockBytes, Pattern(i, i % 2 == 0 ? 4096 : 4096));
  EXPECT_EQ(1400u * 4096, Seek(100 * 4096, SEEK_HOLE));
  DATA_EXPECT_OK(Allocate(0, 2000 * 4096, 4096));
  DATA_EXPECT_OK(Truncate(4000 * 4096));
  volume_.Write(file_, 3999 * 4096, "x");
  EXPECT_EQ(3999u * 4096, Seek(1400 * 4096, SEEK_DATA));
}

TEST_F(FileDataTest, KillsPrivileges) {
  const struct {
    uint32_t before, after;
  } kCases[] = {{0106755, 0100755}, {0106745, 0102745}, {0100644, 0100644}};
  for (const auto& c : kCases) {
    {
      ExclusiveLock lock(file_->mutex);
      file_->record.mode = c.before;
      file_->record.flags |= kInodeHasXattr;
    }
    Batch batch;
    const std::string key = XattrKey(file_->id, kCapabilityXattr);
    batch.Put(key, "c");
    DATA_EXPECT_OK(volume_.core().store->Write(std::move(batch)));
    volume_.Write(file_, 0, "x");
    EXPECT_EQ(c.before, volume_.RecordOf(file_).mode);
    EXPECT_TRUE(volume_.core().store->Get(key)->has_value());
    DATA_EXPECT_OK(
        volume_.data().Write(file_, FileOffset{0}, std::string_view("x"), {.kill_privileges = true}));
    EXPECT_EQ(c.after, volume_.RecordOf(file_).mode);
    EXPECT_FALSE(volume_.core().store->Get(key)->has_value());
  }
}

TEST_F(FileDataTest, SyncWritesSurviveACrash) {
  const std::string bytes = Pattern(9, 100000);
  DATA_EXPECT_OK(volume_.data().Write(file_, FileOffset{3}, bytes, {.sync = true}));
  volume_.Remount(/*commit=*/false);
  file_ = volume_.Again(file_->id);
  EXPECT_EQ(std::string(3, '\0') + bytes, volume_.ReadAll(file_));
}

TEST_F(FileDataTest, ReadOnlyVolumesRefuse) {
  volume_.Write(file_, 0, "x");
  volume_.ExpectSound();
  volume_.core().committer->LatchReadOnly();
  DATA_EXPECT_CODE(kReadOnly, volume_.data().Write(file_, FileOffset{0}, std::string_view("y"), {}));
  DATA_EXPECT_CODE(kReadOnly, Truncate(0));
  DATA_EXPECT_CODE(kReadOnly, Allocate(0, 0, 4096));
  DATA_EXPECT_CODE(kReadOnly, volume_.Copy(file_, 0, file_, 4096, 1));
  DATA_EXPECT_CODE(kReadOnly, volume_.Clone(file_, 0, file_, 4096, 0));
  EXPECT_EQ("x", volume_.ReadAll(file_));
  volume_.Remount(false);
}

}  // namespace
}  // namespace cofs
