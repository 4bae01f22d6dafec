// The buffered way and the way of a device with a copy command: the same bytes, the same
// prefixes, the same faults.
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <set>
#include <thread>

#include "copy_engine/buffered_way.h"
#include "copy_engine/device_way.h"
#include "device/fault_device.h"
#include "tests/copy_engine/copy_fixture.h"

namespace cofs {
namespace {

constexpr uint64_t kDeviceBytes = 4 << 20;
const std::function<bool()> kNever;
const std::function<Status(DeviceOffset, std::span<const char>)> kUnchecked;

// A device with everything that makes copies come apart: completions in random order,
// small copy commands.
struct Bench {
  explicit Bench(uint64_t seed)
      : memory(kDeviceBytes,
               {.copy_limits = DeviceCopyLimits{.segment_bytes_max = 24 * kBlockBytes,
                                                .command_bytes_max = 50 * kBlockBytes,
                                                .segments_max = 4}}),
        device(memory, seed) {
    FillDevice(memory, seed);
    before = Contents(memory);
  }

  std::unique_ptr<CopyWay> Make(CopyWayId id) {
    if (id == CopyWayId::kDevice) return std::move(DeviceWay::Create(device)).value();
    return std::make_unique<BufferedWay>(
        device, CopyEngine::Options{.depth = 6,
                                    .in_flight_bytes_max = 6 * 16 * kBlockBytes,
                                    .chunk_bytes = 16 * kBlockBytes});
  }

  MemoryDevice memory;
  FaultDevice device;
  std::string before;
};

class WayTest : public ::testing::TestWithParam<CopyWayId> {
 protected:
  const uint64_t seed_ = CopyTestSeed();
};

std::string WayName(const ::testing::TestParamInfo<CopyWayId>& tested) {
  return tested.param == CopyWayId::kBuffered ? "Buffered" : "Device";
}

INSTANTIATE_TEST_SUITE_P(Ways, WayTest,
                         ::testing::Values(CopyWayId::kBuffered, CopyWayId::kDevice),
                         WayName);

TEST_P(WayTest, CopiesRandomPieces) {
  std::mt19937_64 random(seed_);
  for (uint64_t round = 0; round < 12; ++round) {
    Bench bench(seed_ + round);
    const auto way = bench.Make(GetParam());
    const std::vector<CopyPiece> pieces = RandomPieces(random, kDeviceBytes, 60);
    const CopyOutcome outcome = way->Run({pieces, 6, kNever, kUnchecked});
    EXPECT_EQ(outcome.stop, CopyStop::kDone);
    EXPECT_EQ(outcome.completed_bytes, TotalBytes(pieces));
    EXPECT_FALSE(outcome.error.has_value());
    EXPECT_TRUE(IsCopied(bench.memory, bench.before, pieces, TotalBytes(pieces)));
    EXPECT_GT(outcome.command_count, 0u);
  }
}

TEST_P(WayTest, FaultAtEveryIo) {
  std::mt19937_64 random(seed_);
  const std::vector<CopyPiece> pieces = RandomPieces(random, kDeviceBytes, 12);
  for (uint64_t n = 1;; ++n) {
    Bench bench(seed_);
    const auto way = bench.Make(GetParam());
    bench.device.FailNth(n, /*torn_sector_count=*/n % 20);
    const CopyOutcome outcome = way->Run({pieces, 6, kNever, kUnchecked});
    EXPECT_TRUE(IsCopied(bench.memory, bench.before, pieces, outcome.completed_bytes))
        << "fault at " << n;
    if (bench.device.failed_count() == 0) {
      EXPECT_EQ(outcome.stop, CopyStop::kDone);
      EXPECT_GT(n, 3u);
      break;
    }
    EXPECT_EQ(outcome.stop, GetParam() == CopyWayId::kBuffered ? CopyStop::kCopyFailed
                                                               : CopyStop::kWayFailed);
    ASSERT_TRUE(outcome.error.has_value());
    EXPECT_EQ(outcome.error->code(), ErrorCode::kIo);
    EXPECT_LT(outcome.completed_bytes, TotalBytes(pieces));
  }
}

TEST_P(WayTest, InterruptedAtEveryPoll) {
  std::mt19937_64 random(seed_);
  const std::vector<CopyPiece> pieces = RandomPieces(random, kDeviceBytes, 12);
  uint64_t last_bytes = 0;
  for (uint64_t allowed = 0;; ++allowed) {
    Bench bench(seed_);
    const auto way = bench.Make(GetParam());
    uint64_t polls = 0;
    const std::function<bool()> interrupted = [&] { return polls++ == allowed; };
    const CopyOutcome outcome = way->Run({pieces, 6, interrupted, kUnchecked});
    EXPECT_TRUE(IsCopied(bench.memory, bench.before, pieces, outcome.completed_bytes));
    if (outcome.stop == CopyStop::kDone) break;
    ASSERT_EQ(outcome.stop, CopyStop::kInterrupted);
    EXPECT_FALSE(outcome.error.has_value());
    // What was sent counts: an interrupt does not throw work away.
    EXPECT_EQ(outcome.command_count, allowed);
    EXPECT_EQ(outcome.completed_bytes == 0, allowed == 0);
    EXPECT_GE(outcome.completed_bytes, last_bytes);
    last_bytes = outcome.completed_bytes;
  }
  EXPECT_GT(last_bytes, 0u);
}

TEST_P(WayTest, ManyThreadsAtOnce) {
  // Eight copies from the same sources, each to its own place.
  Bench bench(seed_);
  const auto way = bench.Make(GetParam());
  std::vector<std::vector<CopyPiece>> pieces(8);
  for (uint64_t t = 0; t < pieces.size(); ++t)
    for (uint64_t i = 0; i < 5; ++i)
      pieces[t].push_back({.source = DeviceOffset(i * 12 * kBlockBytes),
                           .destination = DeviceOffset(kDeviceBytes / 2 +
                                                       (t * 60 + i * 12) * kBlockBytes),
                           .length_bytes = 12 * kBlockBytes});
  std::vector<std::thread> threads;
  std::atomic<int> done{0};
  for (const auto& mine : pieces)
    threads.emplace_back([&] {
      for (int round = 0; round < 3; ++round)
        done += way->Run({mine, 6, kNever, kUnchecked}).stop == CopyStop::kDone;
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(done, 24);
  std::vector<CopyPiece> all;
  for (const auto& mine : pieces) all.insert(all.end(), mine.begin(), mine.end());
  EXPECT_TRUE(IsCopied(bench.memory, bench.before, all, TotalBytes(all)));
}

TEST(DeviceWay, JoinsPiecesIntoManySourceCommands) {
  // Sources far apart, destinations next to each other: one command for four of them.
  Bench bench(1);
  const auto way = bench.Make(CopyWayId::kDevice);
  std::vector<CopyPiece> pieces;
  for (uint64_t i = 0; i < 8; ++i)
    pieces.push_back({.source = DeviceOffset(i * 10 * kBlockBytes),
                      .destination = DeviceOffset(kDeviceBytes / 2 + i * 2 * kBlockBytes),
                      .length_bytes = 2 * kBlockBytes});
  const CopyOutcome outcome = way->Run({pieces, 1, kNever, kUnchecked});
  EXPECT_EQ(outcome.stop, CopyStop::kDone);
  EXPECT_EQ(outcome.command_count, 2u);
  EXPECT_EQ(bench.device.io_count(FaultKind::kCopy), 2u);
  EXPECT_EQ(bench.device.io_count(FaultKind::kRead), 0u);
}

TEST(DeviceWay, OnlyForDevicesThatCan) {
  MemoryDevice none(1 << 20);
  EXPECT_TRUE(DeviceWay::Create(none).Is(ErrorCode::kNotSupported));
  const DeviceCopyLimits zero_limits[] = {{0, 1 << 20, 1},
                                          {1 << 20, 0, 1},
                                          {1 << 20, 1 << 20, 0},
                                          {kBlockBytes - 1, 1 << 20, 1}};
  for (const DeviceCopyLimits& limits : zero_limits) {
    MemoryDevice device(1 << 20, {.copy_limits = limits});
    EXPECT_TRUE(DeviceWay::Create(device).Is(ErrorCode::kNotSupported));
  }
}

// What the queues of the buffered way do, seen from below.
class WatchedDevice : public BlockDevice {
 public:
  explicit WatchedDevice(BlockDevice& base) : base_(base) {}
  const DeviceGeometry& geometry() const override { return base_.geometry(); }
  Status Execute(std::span<IoOp> ops) override { return base_.Execute(ops); }
  std::unique_ptr<IoQueue> NewQueue(unsigned depth) override {
    ++queue_count;
    return std::make_unique<Queue>(*this, base_.NewQueue(depth));
  }

  uint64_t queue_count = 0;
  uint64_t bytes_now = 0, bytes_max = 0;
  uint64_t reads_now = 0, writes_now = 0;
  bool was_mixed = false;  // a read and a write were in flight together

 private:
  class Queue : public IoQueue {
   public:
    Queue(WatchedDevice& watched, std::unique_ptr<IoQueue> base)
        : watched_(watched), base_(std::move(base)) {}
    void Submit(IoOp* op) override {
      watched_.bytes_now += op->length_bytes;
      watched_.bytes_max = std::max(watched_.bytes_max, watched_.bytes_now);
      ++(op->kind == IoKind::kRead ? watched_.reads_now : watched_.writes_now);
      watched_.was_mixed |= watched_.reads_now > 0 && watched_.writes_now > 0;
      base_->Submit(op);
    }
    IoOp* Reap() override {
      IoOp* op = base_->Reap();
      if (op == nullptr) return nullptr;
      watched_.bytes_now -= op->length_bytes;
      --(op->kind == IoKind::kRead ? watched_.reads_now : watched_.writes_now);
      return op;
    }
    unsigned in_flight() const override { return base_->in_flight(); }

   private:
    WatchedDevice& watched_;
    std::unique_ptr<IoQueue> base_;
  };

  BlockDevice& base_;
};

TEST(BufferedWay, BoundedMemoryAndOverlap) {
  const struct {
    CopyEngine::Options options;
    uint64_t bytes_max;
    bool is_mixed;
  } cases[] = {
      {{.depth = 4, .in_flight_bytes_max = 1 << 20, .chunk_bytes = 128 << 10},
       512 << 10,
       true},
      {{.depth = 64, .in_flight_bytes_max = 256 << 10, .chunk_bytes = 64 << 10},
       256 << 10,
       true},
      // Less memory than a chunk, than a block; limits that are not whole blocks.
      {{.depth = 4, .in_flight_bytes_max = 64 << 10, .chunk_bytes = 1 << 20},
       64 << 10,
       false},
      {{.depth = 4, .in_flight_bytes_max = 1, .chunk_bytes = 1 << 20},
       kBlockBytes,
       false},
      {{.depth = 0, .in_flight_bytes_max = 1 << 20, .chunk_bytes = 5000},
       kBlockBytes,
       false},
  };
  const std::vector<CopyPiece> pieces = {{.source = DeviceOffset(0),
                                          .destination = DeviceOffset(kDeviceBytes / 2),
                                          .length_bytes = 2 << 20}};
  for (const auto& c : cases) {
    MemoryDevice memory(kDeviceBytes, {.queue_shuffle_seed = 3});
    FillDevice(memory, 1);
    const std::string before = Contents(memory);
    WatchedDevice device(memory);
    BufferedWay way(device, c.options);
    for (int round = 0; round < 2; ++round)
      EXPECT_EQ(way.Run({pieces, std::max(c.options.depth, 1u), kNever, kUnchecked}).stop,
                CopyStop::kDone);
    EXPECT_TRUE(IsCopied(memory, before, pieces, TotalBytes(pieces)));
    EXPECT_EQ(device.bytes_max, c.bytes_max) << "too much, or less than it may";
    EXPECT_EQ(device.was_mixed, c.is_mixed);
    EXPECT_EQ(device.queue_count, 1u) << "the second run did not take the first's arena";
  }
}

TEST(BufferedWay, ChecksEveryBlockBeforeItIsWritten) {
  const uint64_t seed = CopyTestSeed();
  std::mt19937_64 random(seed);
  const std::vector<CopyPiece> pieces = RandomPieces(random, kDeviceBytes, 12);
  Bench bench(seed);
  const auto way = bench.Make(CopyWayId::kBuffered);
  uint64_t checked_bytes = 0;
  const std::thread::id caller = std::this_thread::get_id();
  const std::function<Status(DeviceOffset, std::span<const char>)> check =
      [&](DeviceOffset source, std::span<const char> data) {
        EXPECT_EQ(std::this_thread::get_id(), caller);
        EXPECT_EQ(data.size() % kBlockBytes, 0u);
        EXPECT_EQ(std::string_view(data.data(), data.size()),
                  std::string_view(bench.before).substr(source.value(), data.size()));
        checked_bytes += data.size();
        return OkStatus();
      };
  EXPECT_EQ(way->Run({pieces, 6, kNever, check}).stop, CopyStop::kDone);
  EXPECT_EQ(checked_bytes, TotalBytes(pieces));
}

TEST(BufferedWay, BadSourceEndsTheCopyBeforeIt) {
  const std::vector<CopyPiece> pieces = {{.source = DeviceOffset(0),
                                          .destination = DeviceOffset(kDeviceBytes / 2),
                                          .length_bytes = 160 * kBlockBytes}};
  for (uint64_t bad_chunk = 0; bad_chunk < 10; ++bad_chunk) {
    Bench bench(CopyTestSeed() + bad_chunk);
    const auto way = bench.Make(CopyWayId::kBuffered);
    const DeviceOffset bad(bad_chunk * 16 * kBlockBytes);
    const std::function<Status(DeviceOffset, std::span<const char>)> check =
        [&](DeviceOffset source, std::span<const char>) -> Status {
      if (source == bad) return Error(ErrorCode::kChecksum, "block 1");
      return OkStatus();
    };
    const CopyOutcome outcome = way->Run({pieces, 6, kNever, check});
    EXPECT_EQ(outcome.stop, CopyStop::kCopyFailed);
    ASSERT_TRUE(outcome.error.has_value());
    EXPECT_EQ(outcome.error->code(), ErrorCode::kChecksum);
    EXPECT_EQ(outcome.completed_bytes, bad.value()) << "all before it, nothing of it";
    EXPECT_TRUE(IsCopied(bench.memory, bench.before, pieces, outcome.completed_bytes));
    // Bad data was not written anywhere.
    EXPECT_EQ(Contents(bench.memory).substr(kDeviceBytes / 2 + bad.value(), kBlockBytes),
              bench.before.substr(kDeviceBytes / 2 + bad.value(), kBlockBytes));
  }
}

}  // namespace
}  // namespace cofs
