// The engine and its ways over time: trials in scratch blocks, the cost model, why bytes
// fell back, ways that come later.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>

#include "base/log.h"
#include "copy_engine/device_way.h"
#include "copy_engine/ordered_copy_engine.h"
#include "device/fault_device.h"
#include "tests/copy_engine/copy_fixture.h"

namespace cofs {
namespace {

using testing::HasSubstr;

constexpr uint64_t kDeviceBytes = 16 << 20;
constexpr DeviceRange kScratch{DeviceOffset(8 << 20), 4 << 20};

// A device whose copies are wrong while the test says so.
class LyingDevice : public MemoryDevice {
 public:
  enum class Lie { kNone, kNothing, kFlipsABit, kDropsTheLastBlock };
  LyingDevice()
      : MemoryDevice(kDeviceBytes, {.copy_limits = DeviceCopyLimits{
                                        .segment_bytes_max = 1 << 20,
                                        .command_bytes_max = 1 << 20,
                                        .segments_max = 8}}) {}
  Status Copy(std::span<const DeviceRange> sources, DeviceOffset destination) override {
    ++copy_count;
    if (lie == Lie::kNothing) return OkStatus();
    if (lie == Lie::kDropsTheLastBlock) {
      std::vector<DeviceRange> fewer(sources.begin(), sources.end());
      fewer.back().length_bytes -= kBlockBytes;
      if (fewer.back().length_bytes == 0) fewer.pop_back();
      if (fewer.empty()) return OkStatus();
      return MemoryDevice::Copy(fewer, destination);
    }
    const Status copied = MemoryDevice::Copy(sources, destination);
    if (lie == Lie::kFlipsABit) {
      std::string byte(1, '\0');
      Peek(destination.value() + 100, byte);
      byte[0] = static_cast<char>(byte[0] ^ 4);
      Poke(destination.value() + 100, byte);
    }
    return copied;
  }
  Lie lie = Lie::kNone;
  int copy_count = 0;
};

class CountingScratch : public CopyScratch {
 public:
  Result<DeviceRange> Borrow(uint64_t bytes_max) override {
    if (is_full) return Error(ErrorCode::kNoSpace, "no free run for a trial copy");
    ++borrowed;
    return DeviceRange{kScratch.offset, std::min(kScratch.length_bytes, bytes_max)};
  }
  void Return(DeviceRange range) override {
    ++returned;
    EXPECT_EQ(range.offset, kScratch.offset);
  }
  bool is_full = false;
  int borrowed = 0, returned = 0;
};

class EngineWaysTest : public ::testing::Test {
 protected:
  void SetUp() override {
    SetLogSink([this](LogLevel, std::string_view line) { log_ += line; });
    FillDevice(device_, 1);
  }
  void TearDown() override { SetLogSink(nullptr); }
  void Make(CopyVerify verify = CopyVerify::kSample) {
    const auto find = [this](std::span<const CopyWayId> known) {
      return FindAllWays(device_, &scratch_, known);
    };
    engine_ = std::make_unique<OrderedCopyEngine>(
        device_, CopyEngine::Options{.verify = verify}, find({}), [this] { return now_; },
        find);
  }
  Result<CopyReport> Copy(CopyPolicy policy, uint64_t bytes = 2 << 20) {
    const std::vector<CopyPiece> pieces = {{DeviceOffset(0), DeviceOffset(4 << 20), bytes}};
    return engine_->Copy({.pieces = pieces, .policy = policy});
  }
  CopyWayState Device() {
    for (const CopyWayState& way : engine_->ways())
      if (way.id == CopyWayId::kDevice) return way;
    return {};
  }
  static const FallbackCount& Count(const CopyReport& report, FallbackReason reason) {
    return report.fallbacks[static_cast<size_t>(reason)];
  }

  LyingDevice device_;
  CountingScratch scratch_;
  std::string log_;
  std::chrono::steady_clock::time_point now_{};
  std::unique_ptr<OrderedCopyEngine> engine_;
};

TEST_F(EngineWaysTest, ATrialProvesAndMeasures) {
  const std::string before = Contents(device_);
  Make();
  EXPECT_TRUE(Device().is_proved);
  ASSERT_TRUE(Device().cost.has_value());
  EXPECT_GT(Device().cost->bytes_per_us, 0);
  EXPECT_EQ(Device().limits.segments_max, 8u);
  EXPECT_EQ(scratch_.borrowed, 1);
  EXPECT_EQ(scratch_.returned, 1);
  const std::string after = Contents(device_);
  const uint64_t begin = kScratch.offset.value(), end = kScratch.end().value();
  EXPECT_EQ(after.substr(0, begin), before.substr(0, begin));
  EXPECT_EQ(after.substr(end), before.substr(end));
}

TEST_F(EngineWaysTest, NoTrialWithoutAWay) {
  MemoryDevice plain(kDeviceBytes);
  const auto engine = CopyEngine::Create(plain, {.scratch = &scratch_});
  ASSERT_TRUE(engine.ok());
  EXPECT_EQ(scratch_.borrowed, 0);
}

TEST_F(EngineWaysTest, WithoutScratchItIsUsedAndReadBack) {
  scratch_.is_full = true;
  Make();
  EXPECT_TRUE(Device().is_there);
  EXPECT_FALSE(Device().is_proved);
  EXPECT_THAT(Device().last_failure, HasSubstr("no free run"));
  EXPECT_THAT(engine_->DescribeWays(CopyVerify::kSample).at(0), HasSubstr("no free run"));
  const auto report = Copy(CopyPolicy::kDevice);
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(report->verified_bytes, 2u << 20) << "its first copy, all of it";
  EXPECT_TRUE(Device().is_proved);
}

TEST_F(EngineWaysTest, AWayThatLiesInItsTrialComesBackWhenItIsTrue) {
  for (const LyingDevice::Lie lie :
       {LyingDevice::Lie::kNothing, LyingDevice::Lie::kFlipsABit,
        LyingDevice::Lie::kDropsTheLastBlock}) {
    device_.lie = lie;
    Make(CopyVerify::kNone);
    EXPECT_FALSE(Device().is_there);
    EXPECT_EQ(Device().failure_count, 1u);
    EXPECT_THAT(Device().last_failure, HasSubstr("other bytes"));
    const auto refused = Copy(CopyPolicy::kDevice);
    EXPECT_TRUE(refused.Is(ErrorCode::kNotSupported));
    // Pauses of 30 s, 1 min, 2 min...; in between nothing is tried.
    int trials = scratch_.borrowed;
    for (const int seconds : {30, 60, 120}) {
      now_ += std::chrono::seconds(seconds) - std::chrono::milliseconds(1);
      EXPECT_FALSE(Copy(CopyPolicy::kDevice).ok());
      EXPECT_EQ(scratch_.borrowed, trials);
      now_ += std::chrono::milliseconds(1);
      EXPECT_FALSE(Copy(CopyPolicy::kDevice).ok());
      EXPECT_EQ(scratch_.borrowed, ++trials);
    }
    device_.lie = LyingDevice::Lie::kNone;
    now_ += std::chrono::hours(1);
    const auto report = Copy(CopyPolicy::kDevice);
    ASSERT_TRUE(report.ok());
    EXPECT_EQ(report->bytes_by_way[static_cast<size_t>(CopyWayId::kDevice)], 2u << 20);
    EXPECT_TRUE(Device().is_proved);
    EXPECT_THAT(log_, HasSubstr("copies by device work now"));
    EXPECT_EQ(scratch_.borrowed, scratch_.returned);
  }
}

TEST_F(EngineWaysTest, LiesAfterTheTrial) {
  for (const LyingDevice::Lie lie :
       {LyingDevice::Lie::kNothing, LyingDevice::Lie::kFlipsABit,
        LyingDevice::Lie::kDropsTheLastBlock}) {
    for (const CopyVerify verify : {CopyVerify::kSample, CopyVerify::kAll}) {
      device_.lie = LyingDevice::Lie::kNone;
      FillDevice(device_, 1);
      Make(verify);
      device_.lie = lie;
      const std::string before = Contents(device_);
      // 64 KiB: a sample is all of it.
      const std::vector<CopyPiece> pieces = {
          {DeviceOffset(0), DeviceOffset(4 << 20), 64 << 10}};
      EXPECT_TRUE(engine_->Copy({.pieces = pieces, .policy = CopyPolicy::kDevice})
                      .Is(ErrorCode::kNotSupported));
      now_ += std::chrono::hours(1);
      const auto report = engine_->Copy({.pieces = pieces});
      ASSERT_TRUE(report.ok());
      EXPECT_EQ(report->completed_bytes, 64u << 10);
      EXPECT_TRUE(IsCopied(device_, before, pieces, 64 << 10));
    }
  }
}

TEST_F(EngineWaysTest, ReasonsOfFallbacks) {
  Make();
  auto report = Copy(CopyPolicy::kAuto, kBlockBytes);
  ASSERT_TRUE(report.ok());
  // Reading two samples back takes longer than to move one block.
  if (Device().request_bytes_min > kBlockBytes) {
    EXPECT_EQ(Count(*report, FallbackReason::kTooSmall).count, 1u);
    EXPECT_EQ(Count(*report, FallbackReason::kTooSmall).bytes, kBlockBytes);
  }
  EXPECT_EQ(report->fallback_count, 0u) << "nothing was tried in vain";

  device_.lie = LyingDevice::Lie::kNothing;
  EXPECT_FALSE(Copy(CopyPolicy::kDevice).ok());
  const CopyTotals totals = engine_->totals();
  EXPECT_EQ(totals.fallbacks[static_cast<size_t>(FallbackReason::kVerifyFailed)].count, 1u);
  report = Copy(CopyPolicy::kAuto);
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(Count(*report, FallbackReason::kSetAside).count +
                Count(*report, FallbackReason::kTooSmall).count,
            1u);

  MemoryDevice plain(kDeviceBytes);
  const auto engine = *CopyEngine::Create(plain, {});
  const std::vector<CopyPiece> pieces = {{DeviceOffset(0), DeviceOffset(4 << 20), 4096}};
  report = engine->Copy({.pieces = pieces});
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(Count(*report, FallbackReason::kNoWay).count, 1u);
  report = engine->Copy({.pieces = pieces, .policy = CopyPolicy::kBuffered});
  ASSERT_TRUE(report.ok());
  for (const FallbackCount& count : report->fallbacks) EXPECT_EQ(count.count, 0u);
}

TEST_F(EngineWaysTest, CommandsAndLatencyAreCounted) {
  Make();
  const auto report = Copy(CopyPolicy::kDevice, 3 << 20);
  ASSERT_TRUE(report.ok());
  const auto device = static_cast<size_t>(CopyWayId::kDevice);
  EXPECT_EQ(report->commands_by_way[device], 3u);
  EXPECT_EQ(report->latency_by_way[device].total_count(), 3u);
  ASSERT_TRUE(Copy(CopyPolicy::kBuffered, 3 << 20).ok());
  const auto buffered = static_cast<size_t>(CopyWayId::kBuffered);
  EXPECT_EQ(engine_->totals().latency_by_way[buffered].total_count(), 3u);
}

TEST_F(EngineWaysTest, VerifyOfOneRequest) {
  Make(CopyVerify::kNone);
  const std::vector<CopyPiece> pieces = {{DeviceOffset(0), DeviceOffset(4 << 20), 1 << 20}};
  CopyRequest request{.pieces = pieces, .policy = CopyPolicy::kDevice};
  EXPECT_EQ(engine_->Copy(request)->verified_bytes, 0u);
  request.verify = CopyVerify::kSample;
  EXPECT_EQ(engine_->Copy(request)->verified_bytes, 64u << 10);
  request.verify = CopyVerify::kAll;
  EXPECT_EQ(engine_->Copy(request)->verified_bytes, 1u << 20);
}

TEST(CopyCostTest, FromWhichSizeOn) {
  const CopyCost memory{.setup_us = 20, .bytes_per_us = 1000};
  struct Case {
    CopyCost device;
    double verify_us;
    uint64_t bytes;
  };
  const Case cases[] = {
      {{.setup_us = 10, .bytes_per_us = 2000}, 0, 0},
      {{.setup_us = 40, .bytes_per_us = 1000}, 0, 0},   // twice the time is allowed
      {{.setup_us = 140, .bytes_per_us = 1000}, 0, RoundUp(100'000, kBlockBytes)},
      {{.setup_us = 40, .bytes_per_us = 1000}, 100, RoundUp(100'000, kBlockBytes)},
      {{.setup_us = 40, .bytes_per_us = 500}, 0, UINT64_MAX},   // half the rate: never gains
      {{.setup_us = 0, .bytes_per_us = 100}, 0, UINT64_MAX},
      {{.setup_us = 1e18, .bytes_per_us = 1e6}, 0, UINT64_MAX},
  };
  for (const Case& c : cases)
    EXPECT_EQ(DeviceCopyBytesMin(c.device, memory, c.verify_us), c.bytes)
        << c.device.setup_us << " " << c.device.bytes_per_us << " " << c.verify_us;
}

TEST(CopyCostTest, AnyMeasurementGivesALine) {
  for (const double small_us : {0.0, 1.0, 1e9})
    for (const double large_us : {0.0, 1.0, 1e9}) {
      const CopyCost cost = CostFromMeasurement(4096, small_us, 2 << 20, large_us);
      EXPECT_GT(cost.bytes_per_us, 0);
      EXPECT_GE(cost.setup_us, 0);
      EXPECT_TRUE(std::isfinite(cost.bytes_per_us));
    }
  const CopyCost cost = CostFromMeasurement(4096, 14.096, 1004096, 1014.096);
  EXPECT_NEAR(cost.setup_us, 10, 0.01);
  EXPECT_NEAR(cost.bytes_per_us, 1000, 0.01);
}

TEST(LatencyHistogramTest, Buckets) {
  LatencyHistogram histogram;
  const auto add = [&](int64_t us) { histogram.Add(std::chrono::microseconds(us)); };
  for (const int64_t us : std::initializer_list<int64_t>{-5, 0, 1, 2, 3, 4, 1'000'000'000'000})
    add(us);
  EXPECT_EQ(histogram.counts[0], 2u);
  EXPECT_EQ(histogram.counts[1], 1u);
  EXPECT_EQ(histogram.counts[2], 2u);
  EXPECT_EQ(histogram.counts[3], 1u);
  EXPECT_EQ(histogram.counts.back(), 1u);
  EXPECT_EQ(histogram.total_count(), 7u);
}

}  // namespace
}  // namespace cofs
