// CopyRange: copies and clones case by case, by every way, with devices that lie.
#include <gtest/gtest.h>
#include <linux/falloc.h>
#include <unistd.h>

#include <functional>

#include "base/log.h"
#include "tests/core/data/data_volume.h"

namespace cofs {
namespace {

constexpr DeviceCopyLimits kLimits{.segment_bytes_max = 64 << 10,
                                   .command_bytes_max = 256 << 10,
                                   .segments_max = 8};

DataVolume::Options OptionsFor(CopyRangePolicy policy) {
  DataVolume::Options options;
  options.volume.copy = policy;
  if (policy == CopyRangePolicy::kDevice) options.copy_limits = kLimits;
  return options;
}

class CopyBy : public ::testing::TestWithParam<CopyRangePolicy> {
 protected:
  CopyBy() : volume_(OptionsFor(GetParam())) {}
  void TearDown() override { volume_.ExpectSound(); }
  bool is_device() const { return GetParam() == CopyRangePolicy::kDevice; }

  DataVolume volume_;
  InodeRef source_ = volume_.NewFile();
  InodeRef destination_ = volume_.NewFile();
};

TEST_P(CopyBy, RangesOfAllAlignments) {
  const std::string bytes = Pattern(1, 300001);
  volume_.Write(source_, 0, bytes);
  const struct {
    uint64_t source, destination, length, expected;
  } kCases[] = {
      {0, 0, 300001, 300001},           // all of it
      {0, 0, 1 << 20, 300001},          // more than there is
      {4096, 8192, 40960, 40960},       // blocks
      {100, 100, 50000, 50000},         // unaligned head and tail
      {4000, 96 + 8000, 200000, 200000},  // the same place in the block
      {8192, 4096, 100, 100},           // inside a block
      {294912, 0, 8192, 5089},          // the end of the source into the middle
      {294912, 219 * 4096, 8192, 5089},  // and far behind the end
      {300000, 5, 10, 1},
      {300001, 0, 10, 0},
      {400000, 0, 10, 0},
      {0, 0, 0, 0},
  };
  for (const auto& c : kCases) {
    SCOPED_TRACE(StrCat(c.source, " to ", c.destination, " length ", c.length));
    std::string model = Pattern(2, 350000);
    DATA_EXPECT_OK(volume_.data().Truncate(destination_, 0, {}));
    volume_.Write(destination_, 0, model);
    const auto copied =
        volume_.Copy(source_, c.source, destination_, c.destination, c.length);
    // A device copies whole blocks only: nothing may be done another way behind its back.
    if (GetParam() == CopyRangePolicy::kDevice && c.length > 0 &&
        c.source % kBlockBytes != c.destination % kBlockBytes && c.expected > 0) {
      EXPECT_TRUE(copied.Is(ErrorCode::kNotSupported));
      continue;
    }
    ASSERT_TRUE(copied.ok()) << copied.error().ToString();
    EXPECT_EQ(c.expected, *copied);
    if (model.size() < c.destination + c.expected && c.expected > 0)
      model.resize(c.destination + c.expected);
    if (c.expected > 0)
      model.replace(c.destination, c.expected, bytes.substr(c.source, c.expected));
    EXPECT_TRUE(model == volume_.ReadAll(destination_));
    EXPECT_TRUE(bytes == volume_.ReadAll(source_));
  }
}

TEST_P(CopyBy, OtherPlaceInTheBlock) {
  const std::string bytes = Pattern(1, 3 << 20);
  volume_.Write(source_, 0, bytes);
  const auto copied = volume_.Copy(source_, 1, destination_, 0, 3 << 20);
  if (is_device()) {
    DATA_EXPECT_CODE(kNotSupported, copied);
    return;
  }
  ASSERT_TRUE(copied.ok());
  EXPECT_EQ((3u << 20) - 1, *copied);
  EXPECT_TRUE(bytes.substr(1) == volume_.ReadAll(destination_));
}

TEST_P(CopyBy, HolesAndUnwrittenStay) {
  volume_.Write(source_, 0, Pattern(1, 10 * kBlockBytes));
  volume_.Write(source_, 50 * kBlockBytes, Pattern(2, 10 * kBlockBytes));
  DATA_EXPECT_OK(volume_.data().Allocate(source_, 0, FileOffset{20 * kBlockBytes},
                                         10 * kBlockBytes));
  volume_.Write(destination_, 0, Pattern(3, 100 * kBlockBytes));
  DATA_EXPECT_OK(volume_.data().Truncate(destination_, 30 * kBlockBytes, {}));
  const auto copied = volume_.Copy(source_, 0, destination_, 0, 60 * kBlockBytes);
  ASSERT_TRUE(copied.ok());
  EXPECT_EQ(60 * kBlockBytes, *copied);
  EXPECT_EQ(volume_.ReadAll(source_), volume_.ReadAll(destination_));
  EXPECT_LE(volume_.RecordOf(destination_).allocated_bytes, 30 * kBlockBytes);
  const auto hole = volume_.data().Seek(destination_, FileOffset{0}, SEEK_HOLE);
  ASSERT_TRUE(hole.ok());
  EXPECT_EQ(10 * kBlockBytes, hole->value());
}

TEST_P(CopyBy, AHugeHoleCostsNothing) {
  constexpr uint64_t kHuge = 1ull << 42;
  volume_.Write(source_, 0, "front");
  volume_.Write(source_, kHuge, "back");
  volume_.Write(destination_, 1 << 20, "old");
  const auto copied = volume_.Copy(source_, 0, destination_, 0, 2 * kHuge);
  ASSERT_TRUE(copied.ok()) << copied.error().ToString();
  EXPECT_EQ(kHuge + 4, *copied);
  EXPECT_EQ("front", volume_.Read(destination_, 0, 5));
  EXPECT_EQ("back", volume_.Read(destination_, kHuge, 100));
  EXPECT_EQ(std::string(3, '\0'), volume_.Read(destination_, 1 << 20, 3));
  EXPECT_EQ(2 * kBlockBytes, volume_.RecordOf(destination_).allocated_bytes);
}

TEST_P(CopyBy, WithinOneFile) {
  std::string model = Pattern(1, 200000);
  volume_.Write(source_, 0, model);
  DATA_EXPECT_CODE(kInvalidArgument, volume_.Copy(source_, 0, source_, 4096, 8192));
  DATA_EXPECT_CODE(kInvalidArgument, volume_.Copy(source_, 4096, source_, 0, 1 << 20));
  const auto copied = volume_.Copy(source_, 0, source_, 100 * kBlockBytes, 200000);
  ASSERT_TRUE(copied.ok());
  model.resize(100 * kBlockBytes);
  model += model.substr(0, 200000);
  EXPECT_TRUE(model == volume_.ReadAll(source_));
}

TEST_P(CopyBy, KillsPrivileges) {
  volume_.Write(source_, 0, Pattern(1, 10000));
  {
    ExclusiveLock lock(destination_->mutex);
    destination_->record.mode = 0106755;
  }
  ASSERT_TRUE(volume_.Copy(source_, 0, destination_, 0, 10000).ok());
  EXPECT_EQ(0100755u, volume_.RecordOf(destination_).mode);
}

TEST_P(CopyBy, AnInterruptEndsItEarly) {
  const std::string bytes = Pattern(1, 8 << 20);
  volume_.Write(source_, 0, bytes);
  for (const int calls_max : {0, 1, 2, 3, 5, 9, 20}) {
    int calls = 0;
    InodeRef file = volume_.NewFile();
    const auto copied = volume_.copies().Copy(
        {.source = source_,
         .source_offset = FileOffset{0},
         .destination = file,
         .destination_offset = FileOffset{0},
         .length_bytes = bytes.size(),
         .interrupted = [&] { return ++calls > calls_max; }});
    if (copied.ok()) {
      EXPECT_EQ(*copied, volume_.SizeOf(file));
      EXPECT_TRUE(bytes.substr(0, *copied) == volume_.ReadAll(file));
    } else {
      DATA_EXPECT_CODE(kInterrupted, copied);
      EXPECT_EQ(0u, volume_.SizeOf(file));
    }
  }
}

TEST_P(CopyBy, ABadBlockEndsItThere) {
  SetLogSink([](LogLevel, std::string_view) {});
  const std::string bytes = Pattern(1, 64 * kBlockBytes);
  volume_.Write(source_, 0, bytes);
  const Extent extent = volume_.MapOf(source_).at(0);
  const std::string rot = Pattern(2, 16);
  volume_.memory().Poke(extent.device_offset.value() + 40 * kBlockBytes, rot);
  const auto copied = volume_.Copy(source_, 0, destination_, 0, 64 * kBlockBytes);
  const auto bad = volume_.Copy(source_, 40 * kBlockBytes, destination_, 0, kBlockBytes);
  const bool is_buffered = GetParam() == CopyRangePolicy::kBuffered ||
                           GetParam() == CopyRangePolicy::kAuto;
  if (is_buffered) {
    ASSERT_TRUE(copied.ok()) << copied.error().ToString();
    EXPECT_EQ(40 * kBlockBytes, *copied);
    EXPECT_TRUE(bytes.substr(0, 40 * kBlockBytes) == volume_.ReadAll(destination_));
    DATA_EXPECT_CODE(kChecksum, bad);
  } else if (copied.ok() && *copied > 40 * kBlockBytes) {
    // Whoever does not look at the data takes the rot along, and the checksum: a read
    // finds it.
    AlignedBuffer buffer;
    DATA_EXPECT_CODE(kChecksum, volume_.data().Read(destination_, FileOffset{0},
                                                    64 * kBlockBytes, buffer));
  }
  SetLogSink(nullptr);
  // Heal it, for the check at the end.
  volume_.Write(source_, 40 * kBlockBytes, Pattern(3, kBlockBytes));
  DATA_EXPECT_OK(volume_.Remove(destination_));
}

TEST_P(CopyBy, NoSpaceLeavesAPrefix) {
  volume_.Write(source_, 0, Pattern(1, 32 << 20));
  std::vector<InodeRef> files;
  for (;;) {
    InodeRef file = volume_.NewFile();
    const auto copied = volume_.Copy(source_, 0, file, 0, 32 << 20);
    if (!copied.ok()) {
      DATA_EXPECT_CODE(kNoSpace, copied);
      EXPECT_EQ(0u, volume_.SizeOf(file));
      break;
    }
    EXPECT_EQ(*copied, volume_.SizeOf(file));
    files.push_back(file);
    if (GetParam() == CopyRangePolicy::kShare && files.size() == 20) break;
  }
  EXPECT_GE(files.size(), 2u);
}

std::string NameOfPolicy(const ::testing::TestParamInfo<CopyRangePolicy>& tested) {
  static constexpr const char* kNames[] = {"Auto", "Share", "Device", "Buffered"};
  return kNames[static_cast<size_t>(tested.param)];
}

INSTANTIATE_TEST_SUITE_P(Policies, CopyBy,
                         ::testing::Values(CopyRangePolicy::kAuto, CopyRangePolicy::kShare,
                                           CopyRangePolicy::kDevice,
                                           CopyRangePolicy::kBuffered),
                         NameOfPolicy);

// The same copies by the device and through memory: the same bytes and checksums.
TEST(CopyParity, DeviceAsBuffered) {
  std::array<std::string, 2> found;
  size_t index = 0;
  for (const CopyRangePolicy policy : {CopyRangePolicy::kDevice, CopyRangePolicy::kBuffered}) {
    DataVolume volume(OptionsFor(policy));
    InodeRef source = volume.NewFile();
    std::mt19937_64 random(5);
    for (int i = 0; i < 60; ++i)
      volume.Write(source, random() % (4 << 20), Pattern(random(), random() % 100000));
    InodeRef file = volume.NewFile();
    for (int i = 0; i < 20; ++i) {
      const uint64_t offset = random() % (3 << 20);
      const auto copied = volume.Copy(source, offset, file, offset, random() % (1 << 20));
      ASSERT_TRUE(copied.ok());
    }
    found[index++] = volume.ReadAll(file);
    volume.ExpectSound();
    const CopyTotals totals = volume.core().copies->totals();
    const auto by_device =
        totals.bytes_by_way[static_cast<size_t>(CopyWayId::kDevice)];
    EXPECT_EQ(policy == CopyRangePolicy::kDevice, by_device > 0);
  }
  EXPECT_TRUE(found[0] == found[1]);
}

// Says that it has copied, and has not.
class LyingCopyEngine : public CopyEngine {
 public:
  Result<CopyReport> Copy(const CopyRequest& request) override {
    CopyReport report;
    for (const CopyPiece& piece : request.pieces) report.completed_bytes += piece.length_bytes;
    return report;
  }
  CopyTotals totals() const override { return {}; }
};

TEST(CopyLies, AreFoundByTheFirstRead) {
  SetLogSink([](LogLevel, std::string_view) {});
  DataVolume volume;
  InodeRef source = volume.NewFile(), destination = volume.NewFile();
  const std::string bytes = Pattern(1, 100 * kBlockBytes);
  volume.Write(source, 0, bytes);
  LyingCopyEngine liar;
  CopyEngine* const honest = std::exchange(volume.core().copies, &liar);
  const auto copied = volume.Copy(source, 0, destination, 0, bytes.size());
  volume.core().copies = honest;
  ASSERT_TRUE(copied.ok());
  AlignedBuffer buffer;
  for (uint64_t at = 0; at < bytes.size(); at += kBlockBytes)
    DATA_EXPECT_CODE(kChecksum,
                     volume.data().Read(destination, FileOffset{at}, 1, buffer));
  EXPECT_TRUE(bytes == volume.ReadAll(source));
  SetLogSink(nullptr);
}

// The first copy ends without anybody knowing what its commands still do.
class LosingCopyEngine : public CopyEngine {
 public:
  explicit LosingCopyEngine(CopyEngine& honest) : honest_(honest) {}
  Result<CopyReport> Copy(const CopyRequest& request) override {
    if (lost_.empty()) {
      for (const CopyPiece& piece : request.pieces)
        lost_.push_back({piece.destination, piece.length_bytes});
      return Error(ErrorCode::kRetry, "the stack has changed");
    }
    EXPECT_EQ(request.policy, CopyPolicy::kBuffered);
    for (const CopyPiece& piece : request.pieces)
      for (const DeviceRange& lost : lost_)
        EXPECT_TRUE(piece.destination >= lost.end() ||
                    piece.destination + piece.length_bytes <= lost.offset);
    return honest_.Copy(request);
  }
  CopyTotals totals() const override { return {}; }

 private:
  CopyEngine& honest_;
  std::vector<DeviceRange> lost_;
};

TEST(CopyOnAChangingStack, IsDoneAgainInOtherBlocks) {
  DataVolume volume;
  InodeRef source = volume.NewFile(), destination = volume.NewFile();
  const std::string bytes = Pattern(1, 100 * kBlockBytes);
  volume.Write(source, 0, bytes);
  LosingCopyEngine loser(*volume.core().copies);
  CopyEngine* const honest = std::exchange(volume.core().copies, &loser);
  const auto copied = volume.Copy(source, 0, destination, 0, bytes.size());
  volume.core().copies = honest;
  ASSERT_TRUE(copied.ok());
  EXPECT_EQ(*copied, bytes.size());
  EXPECT_TRUE(bytes == volume.ReadAll(destination));
  DATA_EXPECT_OK(volume.core().committer->Commit());
  // The image would call the lost blocks used for good; the next mount looks for itself.
  DATA_EXPECT_CODE(kBusy, volume.core().space->EncodeImage());
}

// ---- clones ----
class CloneTest : public ::testing::Test {
 protected:
  void TearDown() override { volume_.ExpectSound(); }
  DataVolume volume_;
  InodeRef source_ = volume_.NewFile();
  InodeRef destination_ = volume_.NewFile();
};

TEST_F(CloneTest, SharesAndParts) {
  const std::string bytes = Pattern(1, 10 * kBlockBytes + 100);
  volume_.Write(source_, 0, bytes);
  volume_.Settle();
  const uint64_t free_bytes = volume_.free_bytes();
  DATA_EXPECT_OK(volume_.Clone(source_, 0, destination_, 0, 0));
  volume_.Settle();
  EXPECT_EQ(free_bytes, volume_.free_bytes());
  EXPECT_EQ(bytes, volume_.ReadAll(destination_));
  EXPECT_EQ(volume_.MapOf(source_), volume_.MapOf(destination_));
  EXPECT_TRUE(volume_.MapOf(source_).at(0).shared());
  volume_.ExpectSound();
  // Copy on write, on both sides.
  volume_.Write(source_, 4096, "SOURCE");
  volume_.Write(destination_, 8192, "DESTINATION");
  EXPECT_EQ(bytes.substr(4096, 4096), volume_.Read(destination_, 4096, 4096));
  EXPECT_EQ(bytes.substr(8192, 4096), volume_.Read(source_, 8192, 4096));
  EXPECT_EQ("SOURCE", volume_.Read(source_, 4096, 6));
  volume_.ExpectSound();
  // The other side keeps its blocks.
  DATA_EXPECT_OK(volume_.Remove(source_));
  volume_.ExpectSound();
  EXPECT_EQ(bytes.substr(0, 8192), volume_.Read(destination_, 0, 8192));
}

TEST_F(CloneTest, Rules) {
  volume_.Write(source_, 0, Pattern(1, 5 * kBlockBytes + 100));
  volume_.Write(destination_, 0, Pattern(2, 20 * kBlockBytes));
  const struct {
    uint64_t source, destination, length;
    const char* expected;
  } kCases[] = {
      {1, 0, 4096, "invalid argument"},
      {0, 1, 4096, "invalid argument"},
      {0, 0, 100, "invalid argument"},
      {0, 0, 6 * 4096, "invalid argument"},         // past the end
      {6 * 4096, 0, 0, "invalid argument"},         // starts past the end
      {4096, 0, 4 * 4096 + 100, "invalid argument"},  // a part of a block inside
      {4096, 30 * 4096, 4 * 4096 + 100, "ok"},      // the last block of both
      {0, 4096, 5 * 4096, "ok"},
      {4096, 4096 * 40, 0, "ok"},
      {0, kFileBytesMax, 4096, "file too large"},
      {0, UINT64_MAX - 4095, 4096, "file too large"},
      {UINT64_MAX - 4095, 0, 4096, "invalid argument"},
  };
  for (const auto& c : kCases)
    EXPECT_EQ(c.expected,
              CodeText(volume_.Clone(source_, c.source, destination_, c.destination,
                                     c.length)))
        << c.source << " " << c.destination << " " << c.length;
  DATA_EXPECT_CODE(kInvalidArgument, volume_.Clone(source_, 0, source_, 4096, 8192));
  DATA_EXPECT_OK(volume_.Clone(source_, 0, source_, 4096, 4096));
  {
    ExclusiveLock lock(destination_->mutex);
    destination_->record.flags = kInodeImmutable;
  }
  DATA_EXPECT_CODE(kNotPermitted, volume_.Clone(source_, 0, destination_, 0, 4096));
}

TEST_F(CloneTest, OntoWhatIsSharedAlready) {
  const std::string bytes = Pattern(1, 8 * kBlockBytes);
  volume_.Write(source_, 0, bytes);
  for (int i = 0; i < 3; ++i) {
    DATA_EXPECT_OK(volume_.Clone(source_, 0, destination_, 0, 0));
    volume_.ExpectSound();
  }
  // Another place of the same blocks, and back again.
  DATA_EXPECT_OK(volume_.Clone(source_, 0, destination_, 4096, 7 * 4096));
  volume_.ExpectSound();
  DATA_EXPECT_OK(volume_.Clone(destination_, 4096, source_, 4096 * 8, 4096));
  volume_.ExpectSound();
  // One extent holds both ranges.
  DATA_EXPECT_OK(volume_.Clone(source_, 0, source_, 4 * 4096, 4 * 4096));
  EXPECT_EQ(bytes.substr(0, 4 * 4096), volume_.Read(source_, 4 * 4096, 4 * 4096));
  volume_.ExpectSound();
  volume_.Remount();
  source_ = volume_.Again(source_->id);
  destination_ = volume_.Again(destination_->id);
  EXPECT_EQ(bytes.substr(0, 4 * 4096), volume_.Read(source_, 4 * 4096, 4 * 4096));
}

TEST_F(CloneTest, UnwrittenBecomesAHole) {
  DATA_EXPECT_OK(volume_.data().Allocate(source_, 0, FileOffset{0}, 10 * kBlockBytes));
  volume_.Write(source_, 4096, "data");
  volume_.Write(destination_, 0, Pattern(1, 10 * kBlockBytes));
  DATA_EXPECT_OK(volume_.Clone(source_, 0, destination_, 0, 0));
  EXPECT_EQ(kBlockBytes, volume_.RecordOf(destination_).allocated_bytes);
  EXPECT_EQ(volume_.ReadAll(source_), volume_.ReadAll(destination_));
}

TEST_F(CloneTest, OfMoreExtentsThanOneBatch) {
  constexpr uint64_t kCount = 4400;
  const std::string block = Pattern(1, kBlockBytes);
  for (uint64_t i = 0; i < kCount; ++i) volume_.Write(source_, 2 * i * kBlockBytes, block);
  volume_.Write(destination_, 0, Pattern(2, 1 << 20));
  DATA_EXPECT_OK(volume_.Clone(source_, 0, destination_, 0, 0));
  EXPECT_EQ(kCount, volume_.MapOf(destination_).size());
  EXPECT_EQ(volume_.SizeOf(source_), volume_.SizeOf(destination_));
  EXPECT_EQ(kCount * kBlockBytes, volume_.RecordOf(destination_).allocated_bytes);
}

}  // namespace
}  // namespace cofs
