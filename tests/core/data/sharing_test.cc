// CopyRange: dedupe and unsharing, case by case.
#include <gtest/gtest.h>
#include <linux/falloc.h>
#include <unistd.h>

#include <thread>

#include "base/crc32c.h"
#include "base/log.h"
#include "tests/core/data/data_volume.h"

namespace cofs {
namespace {

constexpr uint64_t kB = kBlockBytes;

class SharingTest : public ::testing::Test {
 protected:
  SharingTest() = default;
  explicit SharingTest(DataVolume::Options options) : volume_(options) {}
  void TearDown() override { volume_.ExpectSound(); }

  Result<DedupeResult> Dedupe(uint64_t from, uint64_t to, uint64_t length) {
    return DedupeFiles(source_, from, destination_, to, length);
  }
  Result<DedupeResult> DedupeFiles(const InodeRef& source, uint64_t from,
                                   const InodeRef& destination, uint64_t to,
                                   uint64_t length) {
    return volume_.copies().Dedupe({.source = source,
                                    .source_offset = FileOffset{from},
                                    .destination = destination,
                                    .destination_offset = FileOffset{to},
                                    .length_bytes = length,
                                    .interrupted = {}});
  }
  void ExpectDeduped(uint64_t bytes, const Result<DedupeResult>& result) {
    ASSERT_TRUE(result.ok()) << result.error().ToString();
    EXPECT_FALSE(result->differs);
    EXPECT_EQ(bytes, result->deduped_bytes);
  }
  void ExpectDiffers(const Result<DedupeResult>& result) {
    ASSERT_TRUE(result.ok()) << result.error().ToString();
    EXPECT_TRUE(result->differs);
    EXPECT_EQ(0u, result->deduped_bytes);
  }
  Status Unshare(const InodeRef& file, uint64_t offset, uint64_t length) {
    return volume_.copies().Unshare(file, FileOffset{offset}, length, {});
  }
  // Bytes of `file` that other files map too, by the records.
  uint64_t SharedBytes(const InodeRef& file) {
    uint64_t bytes = 0;
    for (const Extent& extent : volume_.MapOf(file)) {
      const auto parts = volume_.core().shared_blocks->SharedParts(
          {extent.device_offset, extent.length_bytes});
      EXPECT_TRUE(parts.ok());
      for (const DeviceRange& part : *parts) bytes += part.length_bytes;
    }
    return bytes;
  }
  // Of all blocks that some file maps. (Free space also changes when the store's pool
  // grows in the background.)
  uint64_t UsedBytes() {
    uint64_t bytes = 0;
    for (const DeviceRange& range : MappedRanges(*volume_.core().store))
      bytes += range.length_bytes;
    return bytes;
  }

  DataVolume volume_;
  InodeRef source_ = volume_.NewFile();
  InodeRef destination_ = volume_.NewFile();
};

// ---- dedupe ----

using DedupeTest = SharingTest;

TEST_F(DedupeTest, SharesWhatIsTheSame) {
  const std::string bytes = Pattern(1, 40 * kB + 100);
  volume_.Write(source_, 0, bytes);
  const uint64_t used_bytes = UsedBytes();
  volume_.Write(destination_, 0, bytes);
  const InodeRecord before = volume_.RecordOf(destination_);
  ExpectDeduped(40 * kB + 100, Dedupe(0, 0, 40 * kB + 100));
  EXPECT_EQ(used_bytes, UsedBytes());
  EXPECT_EQ(volume_.MapOf(source_), volume_.MapOf(destination_));
  EXPECT_TRUE(bytes == volume_.ReadAll(destination_));
  const InodeRecord after = volume_.RecordOf(destination_);
  EXPECT_EQ(before.mtime, after.mtime);
  EXPECT_EQ(before.ctime, after.ctime);
  EXPECT_EQ(before.size_bytes, after.size_bytes);
  EXPECT_EQ(before.allocated_bytes, after.allocated_bytes);
  EXPECT_EQ(40 * kB + 100, volume_.core().counters.deduped_bytes);
  // Once more costs nothing.
  ExpectDeduped(40 * kB + 100, Dedupe(0, 0, 40 * kB + 100));
  EXPECT_EQ(volume_.MapOf(source_), volume_.MapOf(destination_));
  volume_.Write(source_, 0, "changed");
  EXPECT_TRUE(bytes == volume_.ReadAll(destination_));
}

TEST_F(DedupeTest, OneByteMakesItDiffer) {
  std::string bytes = Pattern(1, 3 << 20);
  volume_.Write(source_, 0, bytes);
  for (const uint64_t at : {uint64_t{0}, uint64_t{1} << 20, (uint64_t{3} << 20) - 1}) {
    std::string other = bytes;
    other[at] = static_cast<char>(other[at] ^ 1);
    volume_.Write(destination_, 0, other);
    const std::vector<Extent> map = volume_.MapOf(destination_);
    ExpectDiffers(Dedupe(0, 0, bytes.size()));
    EXPECT_EQ(map, volume_.MapOf(destination_));
    EXPECT_TRUE(other == volume_.ReadAll(destination_));
  }
}

TEST_F(DedupeTest, Rules) {
  const std::string bytes = Pattern(1, 5 * kB + 100);
  volume_.Write(source_, 0, bytes);
  volume_.Write(destination_, 0, Pattern(2, 2 * kB) + bytes + bytes);
  const struct {
    uint64_t source, destination, length;
    const char* expected;
    uint64_t deduped;
  } kCases[] = {
      {1, 0, kB, "invalid argument", 0},
      {0, 1, kB, "invalid argument", 0},
      {0, 0, 6 * kB, "invalid argument", 0},             // past the source's end
      {0, 2 * kB, 20 * kB, "invalid argument", 0},       // past both
      {6 * kB, 0, 1, "invalid argument", 0},
      {0, UINT64_MAX - 4095, kB, "invalid argument", 0},
      {UINT64_MAX - 4095, 0, kB, "invalid argument", 0},
      {0, 2 * kB, 100, "ok", 0},                         // less than a block
      {0, 2 * kB, 5 * kB + 100, "ok", 5 * kB},           // the tail is not the destination's
      {kB, 3 * kB, 2 * kB + 17, "ok", 2 * kB},
      {0, 2 * kB, 0, "ok", 0},
  };
  for (const auto& c : kCases) {
    const auto result = Dedupe(c.source, c.destination, c.length);
    EXPECT_EQ(c.expected, CodeText(result))
        << c.source << " " << c.destination << " " << c.length;
    if (result.ok()) {
      EXPECT_EQ(c.deduped, result->deduped_bytes) << c.length;
      EXPECT_FALSE(result->differs);
    }
  }
  // Within one file: not with itself.
  DATA_EXPECT_CODE(kInvalidArgument, DedupeFiles(source_, 0, source_, kB, 2 * kB));
  DATA_EXPECT_CODE(kInvalidArgument, DedupeFiles(source_, 0, source_, 0, kB));
  {
    ExclusiveLock lock(destination_->mutex);
    destination_->record.flags = kInodeImmutable;
  }
  DATA_EXPECT_CODE(kNotPermitted, Dedupe(0, 2 * kB, kB));
}

TEST_F(DedupeTest, TheLastBlockOfBothFiles) {
  const std::string bytes = Pattern(1, 3 * kB + 5);
  volume_.Write(source_, 0, bytes);
  volume_.Write(destination_, 0, Pattern(2, 4 * kB) + bytes);
  ExpectDeduped(3 * kB + 5, Dedupe(0, 4 * kB, 3 * kB + 5));
  EXPECT_EQ(4 * kB, SharedBytes(destination_));
  EXPECT_TRUE(Pattern(2, 4 * kB) + bytes == volume_.ReadAll(destination_));
}

TEST_F(DedupeTest, WithinOneFile) {
  const std::string bytes = Pattern(1, 16 * kB);
  volume_.Write(source_, 0, bytes + bytes);
  ExpectDeduped(16 * kB, DedupeFiles(source_, 0, source_, 16 * kB, 16 * kB));
  EXPECT_TRUE(bytes + bytes == volume_.ReadAll(source_));
  EXPECT_EQ(32 * kB, SharedBytes(source_));
}

TEST_F(DedupeTest, ZerosHolesAndUnwritten) {
  // A hole, an unwritten range and zeros are the same bytes.
  const std::string zeros(4 * kB, '\0');
  volume_.Write(source_, 12 * kB, "end");
  DATA_EXPECT_OK(volume_.data().Allocate(source_, 0, FileOffset{4 * kB}, 4 * kB));
  volume_.Write(source_, 8 * kB, zeros);
  volume_.Write(destination_, 0, zeros + zeros);
  volume_.Write(destination_, 12 * kB, "end");
  EXPECT_EQ(volume_.ReadAll(source_), volume_.ReadAll(destination_));
  const std::string bytes = volume_.ReadAll(source_);
  const uint64_t used_before = UsedBytes();
  ExpectDeduped(bytes.size(), Dedupe(0, 0, bytes.size()));
  EXPECT_EQ(bytes, volume_.ReadAll(destination_));
  EXPECT_GT(used_before, UsedBytes());
  // The first eight blocks need none, the zeros and the end are shared.
  EXPECT_EQ(5 * kB, volume_.RecordOf(destination_).allocated_bytes);
}

TEST_F(DedupeTest, LongRangesInManyPieces) {
  // Extents of the two files are cut at different places.
  const std::string bytes = Pattern(1, 12 << 20);
  for (uint64_t at = 0; at < bytes.size(); at += 700 * kB)
    volume_.Write(source_, at, std::string_view(bytes).substr(at, 700 * kB));
  for (uint64_t at = bytes.size(); at > 0;) {
    const uint64_t step = std::min<uint64_t>(at, 300 * kB);
    at -= step;
    volume_.Write(destination_, at, std::string_view(bytes).substr(at, step));
  }
  ExpectDeduped(bytes.size(), Dedupe(0, 0, bytes.size()));
  EXPECT_EQ(bytes.size(), SharedBytes(destination_));
  EXPECT_TRUE(bytes == volume_.ReadAll(destination_));
}

TEST_F(DedupeTest, EqualChecksumsAreNotTakenForEqualBytes) {
  // CRC-32C is linear: blocks that differ by its polynomial have the same checksum.
  std::string block = Pattern(1, kB);
  std::string other = block;
  // The generator polynomial, 33 bits in the order in which the checksum sees them: x^32
  // first, the lowest bit of each byte first.
  uint64_t bits = 1;  // x^32
  for (int i = 31; i >= 0; --i)
    if ((0x1EDC6F41u >> i) & 1) bits |= uint64_t{1} << (32 - i);
  for (int i = 0; i < 5; ++i)
    other[100 + static_cast<size_t>(i)] = static_cast<char>(
        other[100 + static_cast<size_t>(i)] ^ static_cast<char>(bits >> (8 * i)));
  ASSERT_NE(block, other);
  ASSERT_EQ(Crc32c(block.data(), kB), Crc32c(other.data(), kB));
  volume_.Write(source_, 0, block);
  volume_.Write(destination_, 0, other);
  ExpectDiffers(Dedupe(0, 0, kB));
  EXPECT_EQ(other, volume_.ReadAll(destination_));
}

TEST_F(DedupeTest, ABadBlockIsAnError) {
  SetLogSink([](LogLevel, std::string_view) {});
  const std::string bytes = Pattern(1, 4 * kB);
  volume_.Write(source_, 0, bytes);
  volume_.Write(destination_, 0, bytes);
  const Extent extent = volume_.MapOf(source_).at(0);
  volume_.memory().Poke(extent.device_offset.value() + 2 * kB, Pattern(2, 16));
  DATA_EXPECT_CODE(kChecksum, Dedupe(0, 0, 4 * kB));
  EXPECT_EQ(0u, SharedBytes(destination_));
  EXPECT_TRUE(bytes == volume_.ReadAll(destination_));
  SetLogSink(nullptr);
  volume_.Write(source_, 2 * kB, bytes.substr(2 * kB, kB));
}

TEST_F(DedupeTest, Interrupted) {
  const std::string bytes = Pattern(1, 20 << 20);
  volume_.Write(source_, 0, bytes);
  volume_.Write(destination_, 0, bytes);
  for (const int calls_max : {0, 1, 3}) {
    int calls = 0;
    const auto result = volume_.copies().Dedupe(
        {.source = source_,
         .source_offset = FileOffset{0},
         .destination = destination_,
         .destination_offset = FileOffset{0},
         .length_bytes = bytes.size(),
         .interrupted = [&] { return ++calls > calls_max; }});
    if (calls_max < 2) {
      DATA_EXPECT_CODE(kInterrupted, result);
    } else {
      ExpectDeduped(8 << 20, result);
    }
  }
}

TEST_F(DedupeTest, AgainstWriters) {
  // Whatever is deduped while others write: nobody's data changes.
  constexpr uint64_t kBlocks = 64;
  const uint64_t seed = SeedOf(1);
  volume_.Write(source_, 0, std::string(kBlocks * kB, 'a'));
  volume_.Write(destination_, 0, std::string(kBlocks * kB, 'a'));
  std::atomic<bool> done{false};
  std::array<std::string, 2> models;
  models.fill(std::string(kBlocks, 'a'));
  std::vector<std::thread> writers;
  for (size_t i = 0; i < 2; ++i)
    writers.emplace_back([&, i] {
      std::mt19937_64 random(seed + i);
      const InodeRef& file = i == 0 ? source_ : destination_;
      for (int round = 0; round < 400; ++round) {
        const uint64_t block = random() % kBlocks;
        const char value = static_cast<char>('a' + random() % 2);
        volume_.Write(file, block * kB, std::string(kB, value));
        models[i][block] = value;
        ASSERT_EQ(std::string(kB, value), volume_.Read(file, block * kB, kB));
      }
      done = true;
    });
  while (!done) {
    const auto result = Dedupe(0, 0, kBlocks * kB);
    ASSERT_TRUE(result.ok());
    for (uint64_t block = 0; block < kBlocks; ++block)
      ASSERT_TRUE(Dedupe(block * kB, block * kB, kB).ok());
  }
  for (std::thread& writer : writers) writer.join();
  for (size_t i = 0; i < 2; ++i)
    for (uint64_t block = 0; block < kBlocks; ++block)
      ASSERT_EQ(std::string(kB, models[i][block]),
                volume_.Read(i == 0 ? source_ : destination_, block * kB, kB));
}

// ---- unsharing ----

using UnshareTest = SharingTest;

TEST_F(UnshareTest, GivesBlocksOfItsOwn) {
  const std::string bytes = Pattern(1, 10 * kB + 100);
  volume_.Write(source_, 0, bytes);
  DATA_EXPECT_OK(volume_.Clone(source_, 0, destination_, 0, 0));
  const uint64_t used_bytes = UsedBytes();
  DATA_EXPECT_OK(Unshare(destination_, 2 * kB + 5, 3 * kB));  // touches four blocks
  EXPECT_EQ(used_bytes + 4 * kB, UsedBytes());
  EXPECT_EQ(7 * kB, SharedBytes(destination_));
  EXPECT_TRUE(bytes == volume_.ReadAll(destination_));
  volume_.ExpectSound();
  DATA_EXPECT_OK(Unshare(destination_, 0, 1 << 30));
  EXPECT_EQ(0u, SharedBytes(destination_));
  EXPECT_EQ(0u, SharedBytes(source_));
  EXPECT_EQ(10 * kB + 100, volume_.SizeOf(destination_));
  EXPECT_TRUE(bytes == volume_.ReadAll(destination_));
  EXPECT_TRUE(bytes == volume_.ReadAll(source_));
  for (const Extent& extent : volume_.MapOf(destination_)) EXPECT_FALSE(extent.shared());
}

TEST_F(UnshareTest, WhatNobodySharesAnyMoreIsNotCopied) {
  volume_.Write(source_, 0, Pattern(1, 10 * kB));
  DATA_EXPECT_OK(volume_.Clone(source_, 0, destination_, 0, 0));
  DATA_EXPECT_OK(volume_.Remove(destination_));
  const std::vector<Extent> map = volume_.MapOf(source_);
  ASSERT_TRUE(map.at(0).shared());
  DATA_EXPECT_OK(Unshare(source_, 0, 10 * kB));
  const std::vector<Extent> after = volume_.MapOf(source_);
  ASSERT_EQ(1u, after.size());
  EXPECT_EQ(map[0].device_offset, after[0].device_offset);
  EXPECT_FALSE(after[0].shared());
}

TEST_F(UnshareTest, HolesUnwrittenAndWhatIsNotSharedStay) {
  volume_.Write(source_, 0, Pattern(1, 4 * kB));
  volume_.Write(source_, 20 * kB, Pattern(2, 4 * kB));
  DATA_EXPECT_OK(volume_.Clone(source_, 0, destination_, 0, 0));
  DATA_EXPECT_OK(volume_.data().Allocate(destination_, 0, FileOffset{8 * kB}, 4 * kB));
  volume_.Write(destination_, 22 * kB, Pattern(3, kB));
  const std::string bytes = volume_.ReadAll(destination_);
  const uint64_t used_bytes = UsedBytes();
  DATA_EXPECT_OK(Unshare(destination_, 0, 24 * kB));
  EXPECT_EQ(used_bytes + 7 * kB, UsedBytes());
  EXPECT_TRUE(bytes == volume_.ReadAll(destination_));
  EXPECT_EQ(12 * kB, volume_.RecordOf(destination_).allocated_bytes);
  const auto hole = volume_.data().Seek(destination_, FileOffset{0}, SEEK_HOLE);
  ASSERT_TRUE(hole.ok());
  EXPECT_EQ(4 * kB, hole->value());
}

TEST_F(UnshareTest, ManyPieces) {
  // Every other block is shared.
  constexpr uint64_t kCount = 1500;
  volume_.Write(source_, 0, Pattern(1, kCount * kB));
  DATA_EXPECT_OK(volume_.Clone(source_, 0, destination_, 0, 0));
  for (uint64_t i = 0; i < kCount; i += 2) volume_.Write(destination_, i * kB, Pattern(i, kB));
  const std::string bytes = volume_.ReadAll(destination_);
  DATA_EXPECT_OK(Unshare(destination_, 0, kCount * kB));
  EXPECT_EQ(0u, SharedBytes(destination_));
  EXPECT_TRUE(bytes == volume_.ReadAll(destination_));
  EXPECT_TRUE(Pattern(1, kCount * kB) == volume_.ReadAll(source_));
}

// A clone of many pieces ends between two batches; what is done of it stays.
TEST_F(UnshareTest, InterruptedClone) {
  constexpr uint64_t kCount = 2500;
  for (uint64_t i = 0; i < kCount; ++i) volume_.Write(source_, 2 * i * kB, Pattern(i, kB));
  const std::string bytes = volume_.ReadAll(source_);
  const auto clone = [&](int calls_max) {
    int calls = 0;
    return volume_.copies().Clone({.source = source_,
                                   .source_offset = FileOffset{0},
                                   .destination = destination_,
                                   .destination_offset = FileOffset{0},
                                   .length_bytes = 0,
                                   .interrupted = [&] { return ++calls > calls_max; }});
  };
  DATA_EXPECT_CODE(kInterrupted, clone(0));
  const uint64_t shared_bytes = SharedBytes(destination_);
  EXPECT_GT(shared_bytes, 500 * kB);
  EXPECT_LT(shared_bytes, 2000 * kB);
  const std::string front = volume_.ReadAll(destination_);
  EXPECT_TRUE(bytes.starts_with(front));
  DATA_EXPECT_OK(clone(10));
  EXPECT_TRUE(bytes == volume_.ReadAll(destination_));
}

TEST_F(UnshareTest, InterruptedAndRules) {
  const std::string bytes = Pattern(1, 80 << 20);
  volume_.Write(source_, 0, bytes.substr(0, 40 << 20));
  DATA_EXPECT_OK(volume_.Clone(source_, 0, destination_, 0, 0));
  int calls = 0;
  DATA_EXPECT_CODE(kInterrupted,
                   volume_.copies().Unshare(destination_, FileOffset{0}, 40 << 20,
                                            [&] { return ++calls > 3; }));
  EXPECT_TRUE(bytes.substr(0, 40 << 20) == volume_.ReadAll(destination_));
  DATA_EXPECT_CODE(kInvalidArgument, Unshare(destination_, 0, 0));
  DATA_EXPECT_CODE(kFileTooLarge, Unshare(destination_, kFileBytesMax, 1));
  {
    ExclusiveLock lock(destination_->mutex);
    destination_->record.flags = kInodeImmutable;
  }
  DATA_EXPECT_CODE(kNotPermitted, Unshare(destination_, 0, kB));
}

TEST_F(UnshareTest, ABadBlockIsAnErrorAndStaysShared) {
  SetLogSink([](LogLevel, std::string_view) {});
  const std::string bytes = Pattern(1, 8 * kB);
  volume_.Write(source_, 0, bytes);
  DATA_EXPECT_OK(volume_.Clone(source_, 0, destination_, 0, 0));
  const Extent extent = volume_.MapOf(source_).at(0);
  volume_.memory().Poke(extent.device_offset.value() + 5 * kB, Pattern(2, 16));
  DATA_EXPECT_CODE(kChecksum, Unshare(destination_, 0, 8 * kB));
  EXPECT_EQ(8 * kB, SharedBytes(destination_));
  SetLogSink(nullptr);
  volume_.memory().Poke(extent.device_offset.value() + 5 * kB,
                        std::string_view(bytes).substr(5 * kB, 16));
}

class FullVolumeTest : public SharingTest {
 protected:
  FullVolumeTest() : SharingTest({.size_bytes = 64 << 20}) {}
  // Until nothing more fits.
  void Fill() {
    InodeRef filler = volume_.NewFile();
    uint64_t at = 0;
    for (uint64_t step = 1 << 20; step >= kB;) {
      const Status written =
          volume_.data().Write(filler, FileOffset{at}, Pattern(at, step), {});
      if (written.ok()) {
        at += step;
      } else {
        DATA_EXPECT_CODE(kNoSpace, written);
        step /= 2;
      }
    }
  }
};

TEST_F(FullVolumeTest, UnsharingFailsAndNothingIsLost) {
  const std::string bytes = Pattern(1, 8 << 20);
  volume_.Write(source_, 0, bytes);
  DATA_EXPECT_OK(volume_.Clone(source_, 0, destination_, 0, 0));
  Fill();
  DATA_EXPECT_CODE(kNoSpace, Unshare(destination_, 0, bytes.size()));
  EXPECT_TRUE(bytes == volume_.ReadAll(destination_));
  EXPECT_TRUE(bytes == volume_.ReadAll(source_));
}

TEST_F(FullVolumeTest, DedupeGivesSpaceBack) {
  const std::string bytes = Pattern(1, 8 << 20);
  volume_.Write(source_, 0, bytes);
  volume_.Write(destination_, 0, bytes);
  Fill();
  const uint64_t used_bytes = UsedBytes();
  const auto result = Dedupe(0, 0, bytes.size());
  ASSERT_TRUE(result.ok()) << result.error().ToString();
  EXPECT_EQ(used_bytes - result->deduped_bytes, UsedBytes());
  EXPECT_EQ(bytes.size(), result->deduped_bytes);
  EXPECT_TRUE(bytes == volume_.ReadAll(destination_));
}

}  // namespace
}  // namespace cofs
