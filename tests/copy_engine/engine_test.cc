// The engine: order of the ways, fallback, set-aside, read-back, totals.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <thread>

#include "base/log.h"
#include "copy_engine/device_way.h"
#include "copy_engine/ordered_copy_engine.h"
#include "device/fault_device.h"
#include "tests/copy_engine/copy_fixture.h"

namespace cofs {
namespace {

constexpr uint64_t kDeviceBytes = 2 << 20;       // of the fixture
constexpr uint64_t kLargeDeviceBytes = 8 << 20;  // of tests without it

// A way that does what the test says; copies by memory.
class ScriptedWay : public CopyWay {
 public:
  struct Script {
    CopyStop stop = CopyStop::kDone;
    uint64_t bytes = UINT64_MAX;  // of the task, copied and claimed
    bool copies = true;           // false: lies
    ErrorCode code = ErrorCode::kIo;
  };
  ScriptedWay(CopyWayId id, MemoryDevice& memory) : id_(id), memory_(memory) {}
  CopyWayId id() const override { return id_; }
  const CopyLimits& limits() const override { return limits_; }
  CopyOutcome Run(const CopyTask& task) override {
    ++run_count;
    pieces.assign(task.pieces.begin(), task.pieces.end());
    const uint64_t claimed = std::min(script.bytes, TotalBytes(pieces));
    if (script.copies) CopyFirst(claimed);
    CopyOutcome outcome{.stop = script.stop,
                        .completed_bytes = claimed,
                        .command_count = 3,
                        .error = std::nullopt};
    if (script.stop != CopyStop::kDone && script.stop != CopyStop::kInterrupted)
      outcome.error = Error(script.code, "as scripted");
    return outcome;
  }

  Script script;
  CopyLimits limits_;
  uint64_t run_count = 0;
  std::vector<CopyPiece> pieces;  // of the last run

 private:
  void CopyFirst(uint64_t bytes) {
    for (const CopyPiece& piece : pieces) {
      std::string data(std::min(bytes, piece.length_bytes), '?');
      memory_.Peek(piece.source.value(), data);
      memory_.Poke(piece.destination.value(), data);
      bytes -= data.size();
    }
  }

  const CopyWayId id_;
  MemoryDevice& memory_;
};

class EngineTest : public ::testing::Test {
 protected:
  void SetUp() override {
    SetLogSink([this](LogLevel, std::string_view line) { log_ += line; });
    FillDevice(memory_, 1);
    before_ = Contents(memory_);
    auto first = std::make_unique<ScriptedWay>(CopyWayId::kNvmeCopy, memory_);
    auto second = std::make_unique<ScriptedWay>(CopyWayId::kHostFile, memory_);
    first_ = first.get();
    second_ = second.get();
    FoundWays found;
    found.ways.push_back(std::move(first));
    found.ways.push_back(std::move(second));
    found.findings = findings_;
    engine_ = std::make_unique<OrderedCopyEngine>(device_, options_, std::move(found),
                                                  [this] { return now_; });
  }
  void TearDown() override { SetLogSink(nullptr); }

  Result<CopyReport> Copy(CopyPolicy policy = CopyPolicy::kAuto) {
    return engine_->Copy({.pieces = pieces_, .policy = policy});
  }
  static uint64_t Bytes(const CopyReport& report, CopyWayId way) {
    return report.bytes_by_way[static_cast<size_t>(way)];
  }

  MemoryDevice memory_{kDeviceBytes};
  FaultDevice device_{memory_};
  std::string before_;
  std::string log_;
  CopyEngine::Options options_{.depth = 4,
                               .in_flight_bytes_max = 256 << 10,
                               .chunk_bytes = 64 << 10,
                               .verify = CopyVerify::kAll};
  std::vector<WayFinding> findings_ = {{.way = CopyWayId::kNvmeCopy,
                                        .state = WayFinding::State::kProved,
                                        .limits = {},
                                        .description = "the first",
                                        .reason = ""},
                                       {.way = CopyWayId::kScsiXcopy,
                                        .state = WayFinding::State::kAbsent,
                                        .limits = {},
                                        .description = "",
                                        .reason = "not a SCSI drive"},
                                       {.way = CopyWayId::kHostFile,
                                        .state = WayFinding::State::kFound,
                                        .limits = {},
                                        .description = "the second",
                                        .reason = ""}};
  std::chrono::steady_clock::time_point now_{};
  ScriptedWay* first_ = nullptr;
  ScriptedWay* second_ = nullptr;
  std::unique_ptr<OrderedCopyEngine> engine_;
  // Two pieces of 300 and 200 KiB.
  const std::vector<CopyPiece> pieces_ = {
      {DeviceOffset(0), DeviceOffset(1 << 20), 300 << 10},
      {DeviceOffset(512 << 10), DeviceOffset(1536 << 10), 200 << 10}};
  const uint64_t total_bytes_ = 500 << 10;
};

TEST_F(EngineTest, FirstWayDoesItAll) {
  const auto report = Copy();
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(report->completed_bytes, total_bytes_);
  EXPECT_EQ(Bytes(*report, CopyWayId::kNvmeCopy), total_bytes_);
  EXPECT_EQ(report->fallback_count, 0u);
  EXPECT_EQ(report->command_count, 3u);
  EXPECT_EQ(second_->run_count, 0u);
  EXPECT_TRUE(IsCopied(memory_, before_, pieces_, total_bytes_));
}

TEST_F(EngineTest, FallsBackForTheRestOnly) {
  // 320 KiB by the first way: into the middle of the second piece; 80 KiB by the second;
  // the rest through memory.
  first_->script = {.stop = CopyStop::kWayFailed, .bytes = 320 << 10};
  second_->script = {.stop = CopyStop::kNotApplicable, .bytes = 80 << 10};
  const auto report = Copy();
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(report->completed_bytes, total_bytes_);
  EXPECT_EQ(Bytes(*report, CopyWayId::kNvmeCopy), 320u << 10);
  EXPECT_EQ(Bytes(*report, CopyWayId::kHostFile), 80u << 10);
  EXPECT_EQ(Bytes(*report, CopyWayId::kBuffered), 100u << 10);
  EXPECT_EQ(report->fallback_count, 2u);
  EXPECT_NE(report->fallback_reason.find("as scripted"), std::string::npos);
  ASSERT_EQ(second_->pieces.size(), 1u);
  EXPECT_EQ(second_->pieces[0].source, DeviceOffset((512 << 10) + (20 << 10)));
  EXPECT_EQ(second_->pieces[0].destination, DeviceOffset((1536 << 10) + (20 << 10)));
  EXPECT_EQ(second_->pieces[0].length_bytes, 180u << 10);
  EXPECT_TRUE(IsCopied(memory_, before_, pieces_, total_bytes_));

  const CopyTotals totals = engine_->totals();
  EXPECT_EQ(totals.copy_count, 1u);
  EXPECT_EQ(totals.fallback_count, 2u);
  EXPECT_EQ(totals.bytes_by_way, report->bytes_by_way);
  EXPECT_EQ(totals.commands_by_way[static_cast<size_t>(CopyWayId::kNvmeCopy)], 3u);
  EXPECT_EQ(totals.commands_by_way[static_cast<size_t>(CopyWayId::kBuffered)], 2u);
}

TEST_F(EngineTest, ShortPrefixAtEveryBlock) {
  for (uint64_t bytes = 0; bytes <= total_bytes_; bytes += 7 * kBlockBytes) {
    memory_.Poke(0, before_);
    first_->script = {.stop = CopyStop::kNotApplicable, .bytes = bytes};
    second_->script = {.stop = CopyStop::kNotApplicable, .bytes = bytes % (36 << 10)};
    const auto report = Copy();
    ASSERT_TRUE(report.ok());
    EXPECT_EQ(report->completed_bytes, total_bytes_);
    EXPECT_TRUE(IsCopied(memory_, before_, pieces_, total_bytes_)) << bytes;
  }
}

TEST_F(EngineTest, InterruptEndsWithAShortCount) {
  first_->script = {.stop = CopyStop::kInterrupted, .bytes = 64 << 10};
  const auto report = Copy();
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(report->completed_bytes, 64u << 10);
  EXPECT_EQ(second_->run_count, 0u);
}

TEST_F(EngineTest, FailedCopyIsNotTriedOtherwise) {
  first_->script = {.stop = CopyStop::kCopyFailed, .bytes = 0, .code = ErrorCode::kRetry};
  EXPECT_TRUE(Copy().Is(ErrorCode::kRetry));
  EXPECT_EQ(second_->run_count, 0u);
  EXPECT_EQ(device_.io_count(), 0u);
}

TEST_F(EngineTest, Policies) {
  const auto buffered = Copy(CopyPolicy::kBuffered);
  ASSERT_TRUE(buffered.ok());
  EXPECT_EQ(Bytes(*buffered, CopyWayId::kBuffered), total_bytes_);
  EXPECT_EQ(first_->run_count + second_->run_count, 0u);

  first_->script = {.stop = CopyStop::kWayFailed, .bytes = 0};
  second_->script = {.stop = CopyStop::kNotApplicable, .bytes = 0};
  const uint64_t writes = device_.io_count(FaultKind::kWrite);
  const auto by_device = Copy(CopyPolicy::kDevice);
  ASSERT_TRUE(by_device.Is(ErrorCode::kNotSupported));
  EXPECT_NE(by_device.error().ToString().find("host-file"), std::string::npos)
      << by_device.error().ToString();
  EXPECT_EQ(device_.io_count(FaultKind::kWrite), writes) << "went through memory";
}

TEST_F(EngineTest, SmallRequestsStayBufferedWhereThatIsFaster) {
  first_->limits_.request_bytes_min = total_bytes_ + 1;
  second_->limits_.request_bytes_min = total_bytes_;
  ASSERT_TRUE(Copy().ok());
  EXPECT_EQ(first_->run_count, 0u);
  EXPECT_EQ(second_->run_count, 1u);
  ASSERT_TRUE(Copy(CopyPolicy::kDevice).ok());
  EXPECT_EQ(first_->run_count, 1u) << "asked for by name, whatever it costs";
}

TEST_F(EngineTest, FailingWayIsSetAsideWithGrowingPauses) {
  first_->script = {.stop = CopyStop::kWayFailed, .bytes = 0};
  uint64_t runs = 0;
  for (const int pause_s : {1, 2, 4, 8}) {
    ASSERT_TRUE(Copy().ok());
    EXPECT_EQ(first_->run_count, ++runs);
    EXPECT_TRUE(engine_->ways()[0].is_set_aside);
    now_ += std::chrono::seconds(pause_s) - std::chrono::milliseconds(1);
    ASSERT_TRUE(Copy().ok());
    EXPECT_EQ(first_->run_count, runs) << "too early";
    now_ += std::chrono::milliseconds(1);
    EXPECT_FALSE(engine_->ways()[0].is_set_aside);
  }
  const std::vector<CopyWayState> ways = engine_->ways();
  ASSERT_EQ(ways.size(), 4u);
  EXPECT_EQ(ways[0].id, CopyWayId::kNvmeCopy);
  EXPECT_EQ(ways[0].failure_count, 4u);
  EXPECT_NE(ways[0].last_failure.find("as scripted"), std::string::npos);
  EXPECT_EQ(ways[1].failure_count, 0u);
  EXPECT_EQ(ways[2].id, CopyWayId::kBuffered);
  EXPECT_NE(log_.find("nvme-copy are set aside for 8 s"), std::string::npos) << log_;

  // Success ends the count; not applicable says nothing.
  first_->script = {};
  ASSERT_TRUE(Copy().ok());
  first_->script = {.stop = CopyStop::kNotApplicable, .bytes = 0};
  ASSERT_TRUE(Copy().ok());
  EXPECT_FALSE(engine_->ways()[0].is_set_aside);
  first_->script = {.stop = CopyStop::kWayFailed, .bytes = 0};
  ASSERT_TRUE(Copy().ok());
  now_ += std::chrono::seconds(1);
  EXPECT_FALSE(engine_->ways()[0].is_set_aside);
  // Never longer than an hour.
  for (int i = 0; i < 30; ++i) {
    ASSERT_TRUE(Copy().ok());
    now_ += std::chrono::hours(1);
    EXPECT_FALSE(engine_->ways()[0].is_set_aside);
  }
}

TEST_F(EngineTest, BufferedWayIsNeverSetAside) {
  device_.FailNth(1);
  EXPECT_TRUE(Copy(CopyPolicy::kBuffered).Is(ErrorCode::kIo));
  EXPECT_TRUE(Copy(CopyPolicy::kBuffered).ok());
  EXPECT_FALSE(engine_->ways()[2].is_set_aside);
}

TEST_F(EngineTest, LiesAreFoundAndDoneAgain) {
  first_->script = {.copies = false};
  const auto report = Copy();
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(report->completed_bytes, total_bytes_);
  EXPECT_EQ(Bytes(*report, CopyWayId::kNvmeCopy), 0u);
  EXPECT_EQ(Bytes(*report, CopyWayId::kHostFile), total_bytes_);
  EXPECT_NE(report->fallback_reason.find("differs"), std::string::npos);
  EXPECT_TRUE(engine_->ways()[0].is_set_aside);
  EXPECT_EQ(engine_->totals().verify_failed_count, 1u);
  EXPECT_TRUE(IsCopied(memory_, before_, pieces_, total_bytes_));
}

TEST_F(EngineTest, ReadBackChecksTheSource) {
  const auto report =
      engine_->Copy({.pieces = pieces_,
                     .check_source = [](DeviceOffset, std::span<const char>) -> Status {
                       return Error(ErrorCode::kChecksum, "block 5");
                     }});
  EXPECT_TRUE(report.Is(ErrorCode::kChecksum));
  EXPECT_EQ(second_->run_count, 0u) << "no other way would help";
}

TEST_F(EngineTest, SamplesBoundTheReadBack) {
  options_.verify = CopyVerify::kSample;
  SetUp();
  ASSERT_TRUE(Copy().ok());
  EXPECT_EQ(engine_->totals().verified_bytes, 64u << 10);
  // A way that does nothing at all is found by any sample.
  memory_.Poke(0, before_);
  first_->script = {.copies = false};
  const auto report = Copy();
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(Bytes(*report, CopyWayId::kHostFile), total_bytes_);

  options_.verify = CopyVerify::kNone;
  SetUp();
  first_->script = {.copies = false};
  const uint64_t reads = device_.io_count(FaultKind::kRead);
  ASSERT_TRUE(Copy().ok());
  EXPECT_EQ(device_.io_count(FaultKind::kRead), reads);
}

TEST_F(EngineTest, UnprovedWaysAreReadBackMore) {
  options_.verify = CopyVerify::kSample;
  SetUp();
  EXPECT_TRUE(engine_->ways()[0].is_proved);
  EXPECT_FALSE(engine_->ways()[1].is_proved);
  first_->script = {.stop = CopyStop::kWayFailed, .bytes = 0};
  ASSERT_TRUE(Copy().ok());
  EXPECT_EQ(engine_->totals().verified_bytes, total_bytes_) << "the second's first copy";
  EXPECT_TRUE(engine_->ways()[1].is_proved);
  EXPECT_FALSE(engine_->ways()[0].is_proved) << "it failed";
  ASSERT_TRUE(Copy().ok());
  EXPECT_EQ(engine_->totals().verified_bytes, total_bytes_ + (64 << 10));
}

TEST_F(EngineTest, StatesOfWays) {
  const std::vector<CopyWayState> ways = engine_->ways();
  ASSERT_EQ(ways.size(), 4u);
  const struct {
    CopyWayId id;
    bool is_there, is_proved;
    const char* description;
  } cases[] = {{CopyWayId::kNvmeCopy, true, true, "the first"},
               {CopyWayId::kHostFile, true, false, "the second"},
               {CopyWayId::kBuffered, true, true, "read and write through memory"},
               {CopyWayId::kScsiXcopy, false, false, "not a SCSI drive"}};
  for (size_t i = 0; i < ways.size(); ++i) {
    EXPECT_EQ(ways[i].id, cases[i].id);
    EXPECT_EQ(ways[i].is_there, cases[i].is_there);
    EXPECT_EQ(ways[i].is_proved, cases[i].is_proved);
    EXPECT_EQ(ways[i].description, cases[i].description);
  }
}

TEST_F(EngineTest, BadRequestsAreRefused) {
  const auto at = [](uint64_t offset) { return DeviceOffset(offset); };
  const std::vector<std::vector<CopyPiece>> cases = {
      {{at(0), at(1 << 20), 0}},              // empty
      {{at(512), at(1 << 20), kBlockBytes}},  // not in blocks
      {{at(0), at(1 << 20), 512}},
      {{at(kDeviceBytes), at(0), kBlockBytes}},  // outside
      {{at(0), at(kDeviceBytes - kBlockBytes), 2 * kBlockBytes}},
      {{at(RoundDown(UINT64_MAX, kBlockBytes)), at(0), kBlockBytes}},
      {{at(0), at(kBlockBytes), 2 * kBlockBytes}},  // onto itself
      {{at(0), at(1 << 20), kBlockBytes}, {at(kBlockBytes), at(1 << 20), kBlockBytes}},
      {{at(0), at(1 << 20), kBlockBytes}, {at(1 << 20), at(1536 << 10), kBlockBytes}},
  };
  for (const auto& pieces : cases)
    EXPECT_TRUE(engine_->Copy({.pieces = pieces}).Is(ErrorCode::kInvalidArgument));
  EXPECT_EQ(Contents(memory_), before_);
  EXPECT_TRUE(engine_->Copy({}).ok()) << "nothing to do is no error";
}

TEST(CopyEngine, FindsTheCommandOfTheDevice) {
  MemoryDevice memory(kLargeDeviceBytes,
                      {.copy_limits = DeviceCopyLimits{1 << 20, 1 << 20, 4}});
  FillDevice(memory, 1);
  const std::string before = Contents(memory);
  const auto engine = CopyEngine::Create(memory, {});
  ASSERT_TRUE(engine.ok());
  const std::vector<CopyPiece> pieces = {
      {DeviceOffset(0), DeviceOffset(4 << 20), 3 << 20}};
  const auto report = (*engine)->Copy({.pieces = pieces});
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(report->bytes_by_way[static_cast<size_t>(CopyWayId::kDevice)], 3u << 20);
  EXPECT_EQ(report->command_count, 3u);
  EXPECT_TRUE(IsCopied(memory, before, pieces, 3 << 20));
}

TEST(CopyEngine, NamesOfWays) {
  EXPECT_EQ(NameOf(CopyWayId::kNvmeCopy), "nvme-copy");
  EXPECT_EQ(NameOf(CopyWayId::kScsiXcopy), "scsi-xcopy");
  EXPECT_EQ(NameOf(CopyWayId::kHostFile), "host-file");
  EXPECT_EQ(NameOf(CopyWayId::kDevice), "device");
  EXPECT_EQ(NameOf(CopyWayId::kBuffered), "buffered");
}

// Random faults of a device that copies by itself, under many threads: a copy that
// reports success is right.
TEST(CopyEngine, FaultsAndThreads) {
  const uint64_t seed = CopyTestSeed();
  SetLogSink([](LogLevel, std::string_view) {});
  MemoryDevice memory(kLargeDeviceBytes,
                      {.copy_limits = DeviceCopyLimits{64 << 10, 128 << 10, 4}});
  FillDevice(memory, seed);
  const std::string before = Contents(memory);
  FaultDevice device(memory, seed);
  device.Add({.matches = [](const FaultPoint& point) { return point.number % 23 == 0; },
              .torn_sector_count = 3});
  const auto engine =
      std::move(CopyEngine::Create(device, {.chunk_bytes = 32 << 10})).value();
  std::vector<std::thread> threads;
  std::vector<std::vector<CopyPiece>> done(4);
  for (uint64_t t = 0; t < done.size(); ++t)
    threads.emplace_back([&, t] {
      for (uint64_t i = 0; i < 8; ++i) {
        const std::vector<CopyPiece> pieces = {
            {DeviceOffset(i * (256 << 10)),
             DeviceOffset((4 << 20) + (t * 8 + i) * (128 << 10)), 128 << 10}};
        const auto report = engine->Copy({.pieces = pieces});
        if (report.ok() && report->completed_bytes == 128 << 10)
          done[t].push_back(pieces[0]);
      }
    });
  for (std::thread& thread : threads) thread.join();
  device.ClearFaults();
  SetLogSink(nullptr);
  const std::string after = Contents(memory);
  size_t done_count = 0;
  for (const auto& mine : done)
    for (const CopyPiece& piece : mine) {
      ++done_count;
      EXPECT_EQ(after.substr(piece.destination.value(), piece.length_bytes),
                before.substr(piece.source.value(), piece.length_bytes));
    }
  EXPECT_GT(done_count, 4u);
  EXPECT_EQ(after.substr(0, 4 << 20), before.substr(0, 4 << 20)) << "a source changed";
}

}  // namespace
}  // namespace cofs
