// Devices that answer "copied" and have not: nobody ever reads wrong bytes, and what is
// read back is found out before the copy is committed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>

#include "base/log.h"
#include "fs/core/volume.h"
#include "mkfs/format.h"
#include "tests/core/data/data_volume.h"

namespace cofs {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr uint64_t kSmallBytes = 3 << 20;   // less than is read back of a first copy
constexpr uint64_t kLargeBytes = 12 << 20;  // more
constexpr DeviceCopyLimits kCopyLimits{.segment_bytes_max = 256 << 10,
                                       .command_bytes_max = 512 << 10,
                                       .segments_max = 4};

enum class Lie : uint8_t { kNone, kFlipsABit, kDropsARange, kCopiesNothing };

class LyingDevice : public BlockDevice {
 public:
  explicit LyingDevice(BlockDevice& base) : base_(base) {}
  void set_lie(Lie lie) { lie_ = lie; }

  const DeviceGeometry& geometry() const override { return base_.geometry(); }
  Status Execute(std::span<IoOp> ops) override { return base_.Execute(ops); }
  std::unique_ptr<IoQueue> NewQueue(unsigned depth) override {
    return base_.NewQueue(depth);
  }
  std::optional<DeviceCopyLimits> copy_limits() const override { return kCopyLimits; }
  Status Copy(std::span<const DeviceRange> sources, DeviceOffset destination) override {
    switch (lie_.load()) {
      case Lie::kNone:
        return base_.Copy(sources, destination);
      case Lie::kCopiesNothing:
        return OkStatus();
      case Lie::kDropsARange:
        return DropTheLast(sources, destination);
      case Lie::kFlipsABit:
        break;
    }
    TRY(base_.Copy(sources, destination));
    AlignedBuffer block(kBlockBytes);
    TRY(base_.Read(destination, block.span()));
    block.data()[1234] ^= 0x10;
    return base_.Write(destination, block.span());
  }

 private:
  // The second half of the last range, too, when it is the only one.
  Status DropTheLast(std::span<const DeviceRange> sources, DeviceOffset destination) {
    std::vector<DeviceRange> told(sources.begin(), sources.end());
    if (told.size() > 1) {
      told.pop_back();
    } else {
      told[0].length_bytes = RoundDown(told[0].length_bytes / 2, kBlockBytes);
    }
    return told[0].length_bytes == 0 ? OkStatus() : base_.Copy(told, destination);
  }

  BlockDevice& base_;
  std::atomic<Lie> lie_ = Lie::kNone;
};

// Lines of the log, in place of standard error.
class LogLines {
 public:
  LogLines() {
    SetLogSink([this](LogLevel, std::string_view line) {
      MutexLock lock(mutex_);
      lines_.emplace_back(line);
    });
  }
  ~LogLines() { SetLogSink(nullptr); }
  std::vector<std::string> all() const {
    MutexLock lock(mutex_);
    return lines_;
  }

 private:
  mutable Mutex mutex_;
  std::vector<std::string> lines_ GUARDED_BY(mutex_);
};

// A volume whose copies go to a device that lies when it is told to. The engine has
// measured nothing, so that every copy is offered to the device.
class Lies : public ::testing::TestWithParam<Lie> {
 protected:
  Lies() {
    auto engine = CopyEngine::Create(liar_, {});
    EXPECT_TRUE(engine.ok());
    engine_ = *std::move(engine);
    honest_ = std::exchange(volume_.core().copies, engine_.get());
  }
  ~Lies() override { volume_.core().copies = honest_; }

  void Make(uint64_t size_bytes, CopyVerify verify) {
    volume_.core().options.verify_copy = verify;
    bytes_ = Pattern(1, size_bytes);
    volume_.Write(source_, 0, bytes_);
  }
  // A copy that is right, so that the way counts as proved: less is read back then.
  void ProveTheWay() {
    InodeRef file = volume_.NewFile();
    ASSERT_TRUE(volume_.Copy(source_, 0, file, 0, bytes_.size()).ok());
    ASSERT_EQ(bytes_.size(), BytesBy(CopyWayId::kDevice));
    DATA_EXPECT_OK(volume_.Remove(file));
  }
  void CopyWithLies() {
    liar_.set_lie(GetParam());
    const auto copied = volume_.Copy(source_, 0, destination_, 0, bytes_.size());
    liar_.set_lie(Lie::kNone);
    ASSERT_TRUE(copied.ok()) << copied.error().ToString();
    EXPECT_EQ(bytes_.size(), *copied);
  }
  uint64_t BytesBy(CopyWayId way) {
    return engine_->totals().bytes_by_way[static_cast<size_t>(way)];
  }
  // Reads block by block: each is right, or an error. The number of errors.
  uint64_t ReadErrors(const InodeRef& file) {
    uint64_t errors = 0;
    AlignedBuffer buffer;
    for (uint64_t at = 0; at < bytes_.size(); at += kBlockBytes) {
      const auto read = volume_.data().Read(file, FileOffset{at}, kBlockBytes, buffer);
      if (!read.ok()) {
        DATA_EXPECT_CODE(kChecksum, read);
        ++errors;
      } else {
        EXPECT_EQ(std::string_view(read->data(), read->size()),
                  std::string_view(bytes_).substr(at, kBlockBytes))
            << "wrong bytes at " << at;
      }
    }
    return errors;
  }
  // It was found out: done again through memory, the way set aside, in words.
  void ExpectFoundOut() {
    EXPECT_EQ(1u, engine_->totals().verify_failed_count);
    const auto& reasons = engine_->totals().fallbacks;
    EXPECT_EQ(1u, reasons[static_cast<size_t>(FallbackReason::kVerifyFailed)].count);
    const auto ways = engine_->ways(CopyVerify::kSample);
    EXPECT_EQ(CopyWayId::kDevice, ways[0].id);
    EXPECT_TRUE(ways[0].is_set_aside);
    EXPECT_FALSE(ways[0].is_proved);
    EXPECT_THAT(log_.all(),
                Contains(AllOf(HasSubstr("set aside"), HasSubstr("differs from its source"),
                               HasSubstr(" from "), HasSubstr(" to "))));
    EXPECT_EQ(0u, ReadErrors(destination_));
    EXPECT_TRUE(bytes_ == volume_.ReadAll(destination_));
    volume_.ExpectSound();
  }

  LogLines log_;
  DataVolume volume_{DataVolume::Options{.copy_limits = kCopyLimits}};
  LyingDevice liar_{volume_.device()};
  std::unique_ptr<CopyEngine> engine_;
  CopyEngine* honest_ = nullptr;
  InodeRef source_ = volume_.NewFile();
  InodeRef destination_ = volume_.NewFile();
  std::string bytes_;
};

TEST_P(Lies, AreFoundByTheFirstReadWhenNothingIsReadBack) {
  Make(kLargeBytes, CopyVerify::kNone);
  CopyWithLies();
  EXPECT_EQ(kLargeBytes, BytesBy(CopyWayId::kDevice));
  EXPECT_EQ(0u, engine_->totals().verified_bytes);
  EXPECT_GT(ReadErrors(destination_), 0u);
  EXPECT_EQ(0u, ReadErrors(source_));
  // Both places: where it is wrong, and where it should have come from.
  const auto source = volume_.MapOf(source_);
  const auto destination = volume_.MapOf(destination_);
  ASSERT_EQ(1u, source.size());
  ASSERT_EQ(1u, destination.size());
  std::vector<std::string> lines;
  for (const std::string& line : log_.all())
    if (line.find("copied there by device from device offset") != std::string::npos)
      lines.push_back(line);
  ASSERT_FALSE(lines.empty());
  for (const std::string& line : lines) {
    const auto number = [&](const std::string& before) {
      return std::strtoull(line.c_str() + line.find(before) + before.size(), nullptr, 10);
    };
    EXPECT_EQ(destination_->id.value(), number("inode "));
    const uint64_t at = number("file offset ");
    EXPECT_EQ(destination[0].device_offset.value() + at, number(", device offset "));
    EXPECT_EQ(source[0].device_offset.value() + at, number("from device offset "));
  }
  // The next mount finds it as well, without knowing where it came from.
  const size_t line_count = log_.all().size();
  volume_.Remount();
  destination_ = volume_.Again(destination_->id);
  source_ = volume_.Again(source_->id);
  EXPECT_GT(ReadErrors(destination_), 0u);
  const auto all = log_.all();
  EXPECT_THAT(std::vector(all.begin() + static_cast<std::ptrdiff_t>(line_count), all.end()),
              Each(Not(HasSubstr("copied there"))));
  DATA_EXPECT_OK(volume_.Remove(destination_));
  volume_.ExpectSound();
}

TEST_P(Lies, AreFoundBeforeTheCommitWhenAllIsReadBack) {
  Make(kLargeBytes, CopyVerify::kAll);
  ProveTheWay();
  CopyWithLies();
  ExpectFoundOut();
}

// A way that nothing is known of yet: the first MiB of its first copy are all read back.
TEST_P(Lies, AreFoundBeforeTheCommitInTheFirstCopyOfAWay) {
  Make(kSmallBytes, CopyVerify::kSample);
  CopyWithLies();
  ExpectFoundOut();
}

// 64 KiB of each copy are read back: of a copy that is no longer, that is all of it.
TEST_P(Lies, AreFoundBeforeTheCommitInSmallCopies) {
  Make(64 << 10, CopyVerify::kSample);
  ProveTheWay();
  CopyWithLies();
  ExpectFoundOut();
}

// A sample may miss what is wrong in a small part of a large copy: then the first read
// finds it. Nothing in between.
TEST_P(Lies, OfAProvedWayAreFoundSoonerOrLater) {
  Make(kLargeBytes, CopyVerify::kSample);
  ProveTheWay();
  CopyWithLies();
  if (GetParam() == Lie::kCopiesNothing) {
    ExpectFoundOut();
    return;
  }
  const uint64_t errors = ReadErrors(destination_);
  EXPECT_EQ(engine_->totals().verify_failed_count == 0, errors > 0);
  EXPECT_EQ(0u, ReadErrors(source_));
}

std::string NameOfLie(const ::testing::TestParamInfo<Lie>& tested) {
  static constexpr const char* kNames[] = {"None", "FlipsABit", "DropsARange",
                                           "CopiesNothing"};
  return kNames[static_cast<size_t>(tested.param)];
}
INSTANTIATE_TEST_SUITE_P(Each, Lies,
                         ::testing::Values(Lie::kFlipsABit, Lie::kDropsARange,
                                           Lie::kCopiesNothing),
                         NameOfLie);

// A device that lies from the start is found out by the trial copy at the mount.
TEST(LiesAtTheMount, AreFoundByTheTrial) {
  LogLines log;
  MemoryDevice memory(128 << 20, {.copy_limits = kCopyLimits});
  DATA_EXPECT_OK(FormatDevice(memory, {}));
  for (const Lie lie : {Lie::kFlipsABit, Lie::kDropsARange, Lie::kCopiesNothing}) {
    auto liar = std::make_unique<LyingDevice>(memory);
    liar->set_lie(lie);
    VolumeOptions options;
    options.copy = CopyRangePolicy::kDevice;
    auto mounted = Volume::Mount(std::move(liar), options);
    ASSERT_TRUE(mounted.ok()) << mounted.error().ToString();
    Volume& volume = **mounted;
    const NewInode file{.mode = 0100644};
    const auto from = volume.CreateTemporary(file), to = volume.CreateTemporary(file);
    ASSERT_TRUE(from.ok() && to.ok());
    const std::string bytes = Pattern(1, 1 << 20);
    DATA_EXPECT_OK(volume.Write(from->id, FileOffset{0}, bytes, {}));
    const auto copy = [&] {
      return volume.Copy({.source = from->id, .source_offset = FileOffset{0},
                          .destination = to->id, .destination_offset = FileOffset{0},
                          .length_bytes = bytes.size()});
    };
    DATA_EXPECT_CODE(kNotSupported, copy());
    options.copy = CopyRangePolicy::kAuto;
    volume.SetLiveOptions(options);
    DATA_EXPECT_OK(copy());
    AlignedBuffer buffer;
    const auto read = volume.Read(to->id, FileOffset{0}, bytes.size(), buffer);
    ASSERT_TRUE(read.ok());
    EXPECT_TRUE(std::string_view(read->data(), read->size()) == bytes);
    DATA_EXPECT_OK(volume.Unmount());
  }
  EXPECT_THAT(log.all(), Contains(HasSubstr("the trial copy gave other bytes")));
}

}  // namespace
}  // namespace cofs
