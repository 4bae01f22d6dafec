// The heartbeat's bytes, and who gets a volume: one, whatever order they come in.
#include "extent_map/heartbeat.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "base/crc32c.h"
#include "base/log.h"
#include "device/fault_device.h"
#include "device/memory_device.h"
#include "extent_map/mount_protection.h"
#include "tests/extent_map/hex.h"
#include "tests/extent_map/random.h"

namespace cofs {
namespace {

using std::chrono::milliseconds;
using testing::AnyOf;
using testing::HasSubstr;
using Clock = std::chrono::steady_clock;

Heartbeat HeartbeatExample() {
  Heartbeat heartbeat;
  heartbeat.state = HeartbeatState::kMounted;
  heartbeat.sequence = 0x0102;
  for (size_t i = 0; i < 16; ++i) {
    heartbeat.volume.bytes[i] = static_cast<uint8_t>(i);
    heartbeat.holder.bytes[i] = static_cast<uint8_t>(0x10 + i);
    heartbeat.boot.bytes[i] = static_cast<uint8_t>(0x20 + i);
  }
  heartbeat.written_s = 0x65000000;
  heartbeat.interval_ms = 2000;
  heartbeat.pid_namespace = 0xeffffffc;
  heartbeat.pid_start = 0x1234;
  heartbeat.pid = 77;
  heartbeat.host = "alpha";
  heartbeat.device = "/dev/sda1";
  return heartbeat;
}

constexpr size_t kHeartbeatGoldenBytes = 184;  // the rest is zero
const char kHeartbeatGolden[] =
    "636f667362656174 01000000 545158d6 0201000000000000"
    "000102030405060708090a0b0c0d0e0f 101112131415161718191a1b1c1d1e1f"
    "202122232425262728292a2b2c2d2e2f 0000006500000000"
    "fcffffef00000000 3412000000000000 4d000000 d0070000"
    "616c706861000000000000000000000000000000000000000000000000000000"
    "0000000000000000000000000000000000000000000000000000000000000000"
    "2f6465762f7364613100000000000000";

std::string PatchedHeartbeat(std::string block, size_t place, std::string_view hex) {
  const std::string bytes = FromHex(hex);
  block.replace(place, bytes.size(), bytes);
  block.replace(12, 4, 4, '\0');
  const uint32_t crc = Crc32c(block.data(), block.size());
  block.replace(12, 4, reinterpret_cast<const char*>(&crc), 4);
  return block;
}

TEST(HeartbeatBlock, GoldenBytes) {
  const std::string block = EncodeHeartbeat(HeartbeatExample());
  ASSERT_EQ(block.size(), kBlockBytes);
  EXPECT_EQ(ToHex(block.substr(0, kHeartbeatGoldenBytes)), PlainHex(kHeartbeatGolden));
  EXPECT_EQ(block.find_first_not_of('\0', kHeartbeatGoldenBytes), std::string::npos);
  std::string golden = FromHex(kHeartbeatGolden);
  golden.resize(kBlockBytes);
  const auto again = DecodeHeartbeat(golden);
  ASSERT_TRUE(again.ok()) << again.error().ToString();
  EXPECT_EQ(*again, HeartbeatExample());
}

TEST(HeartbeatBlock, LongNamesAreCut) {
  Heartbeat heartbeat = HeartbeatExample();
  heartbeat.host = std::string(1000, 'h');
  heartbeat.device = std::string(1000, 'd');
  const auto again = DecodeHeartbeat(EncodeHeartbeat(heartbeat));
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->host, std::string(kHeartbeatHostBytesMax, 'h'));
  EXPECT_EQ(again->device, std::string(kHeartbeatDeviceBytesMax, 'd'));
}

TEST(HeartbeatBlock, RefusesDamage) {
  const std::string good = EncodeHeartbeat(HeartbeatExample());
  std::string bad_sum = good;
  bad_sum[4000] = 1;
  const struct {
    const char* what;
    std::string block;
    ErrorCode code;
  } kCases[] = {
      {"short", good.substr(1), ErrorCode::kInvalidArgument},
      {"zeros", std::string(kBlockBytes, '\0'), ErrorCode::kNotFound},
      {"magic", PatchedHeartbeat(good, 0, "62"), ErrorCode::kNotFound},
      {"a flipped bit", bad_sum, ErrorCode::kCorrupt},
      {"state", PatchedHeartbeat(good, 8, "03000000"), ErrorCode::kCorrupt},
      {"interval 0", PatchedHeartbeat(good, 100, "00000000"), ErrorCode::kCorrupt},
      {"interval of a minute", PatchedHeartbeat(good, 100, "60ea0000"), ErrorCode::kCorrupt},
      {"host padding", PatchedHeartbeat(good, 160, "61"), ErrorCode::kCorrupt},
      {"host without an end", PatchedHeartbeat(good, 167, "61"), ErrorCode::kCorrupt},
      {"device padding", PatchedHeartbeat(good, 423, "61"), ErrorCode::kCorrupt},
      {"reserved", PatchedHeartbeat(good, 424, "01"), ErrorCode::kCorrupt},
      {"reserved, last", PatchedHeartbeat(good, 4095, "01"), ErrorCode::kCorrupt},
  };
  for (const auto& test : kCases)
    EXPECT_TRUE(DecodeHeartbeat(test.block).Is(test.code)) << test.what;
}

TEST(HeartbeatBlock, AnyBytesAreRefusedOrAreCanonical) {
  TestRandom random;
  const std::string good = EncodeHeartbeat(HeartbeatExample());
  for (int i = 0; i < 20000; ++i) {
    const std::string byte(1, static_cast<char>(random.Below(256)));
    const std::string block = PatchedHeartbeat(good, random.Below(430), ToHex(byte));
    const auto got = DecodeHeartbeat(block);
    if (got.ok()) {
      ASSERT_EQ(EncodeHeartbeat(*got), block);
    }
  }
}

// ---- who gets the volume ----

// Threads of a busy machine may wait for some tenths of a second.
constexpr milliseconds kInterval{100};
// 2 intervals and what is waited for beyond.
constexpr milliseconds kWatch = 7 * kInterval;

class MountProtection : public ::testing::Test {
 protected:
  MountProtection() {
    SetLogSink([this](LogLevel, std::string_view line) {
      MutexLock lock(log_mutex_);
      log_ += std::string(line) + "\n";
    });
  }
  ~MountProtection() override { SetLogSink(nullptr); }

  static HeartbeatWriter::Options Fast(std::function<void(const Error&)> on_lost = {}) {
    HeartbeatWriter::Options options;
    options.interval = kInterval;
    options.settle = milliseconds(30);
    options.on_lost = std::move(on_lost);
    return options;
  }
  Status Look(const IsCancelled& is_cancelled = {}) {
    return CheckHeartbeat(memory_, LeftHeartbeat::kKeep, is_cancelled);
  }
  Result<Heartbeat> Read() {
    std::string block(kBlockBytes, '\0');
    memory_.Peek(kHeartbeatOffset.value(), block);
    return DecodeHeartbeat(block);
  }
  void Put(const Heartbeat& heartbeat) {
    memory_.Poke(kHeartbeatOffset.value(), EncodeHeartbeat(heartbeat));
  }
  std::string log() {
    MutexLock lock(log_mutex_);
    return log_;
  }

  MemoryDevice memory_{64 << 20};

 private:
  Mutex log_mutex_;
  std::string log_ GUARDED_BY(log_mutex_);
};

TEST_F(MountProtection, AVolumeThatNobodyHasIsTakenAtOnce) {
  EXPECT_TRUE(Look().ok());
  EXPECT_TRUE(Read().Is(ErrorCode::kNotFound)) << "looking writes nothing";
  auto writer = HeartbeatWriter::Claim(memory_, Fast());
  ASSERT_TRUE(writer.ok()) << writer.error().ToString();
  const auto first = Read();
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(first->state, HeartbeatState::kMounted);
  EXPECT_EQ(first->pid, static_cast<uint32_t>(::getpid()));
  EXPECT_EQ(first->device, "memory");
  const auto deadline = Clock::now() + std::chrono::seconds(20);
  while (Read()->sequence < first->sequence + 3 && Clock::now() < deadline)
    std::this_thread::sleep_for(milliseconds(5));
  EXPECT_GE(Read()->sequence, first->sequence + 3) << "it beats";
  ASSERT_TRUE((*writer)->End().ok());
  EXPECT_EQ(Read()->state, HeartbeatState::kEnded);
  const auto begin = Clock::now();
  EXPECT_TRUE(Look().ok());
  EXPECT_LT(Clock::now() - begin, kWatch) << "what has ended is not waited for";
}

TEST_F(MountProtection, WhoeverBeatsHasIt) {
  auto writer = HeartbeatWriter::Claim(memory_, Fast());
  ASSERT_TRUE(writer.ok());
  const Status looked = Look();
  ASSERT_TRUE(looked.Is(ErrorCode::kBusy));
  char host[256] = "";
  ::gethostname(host, sizeof(host) - 1);
  EXPECT_THAT(looked.error().ToString(),
              AllOf(HasSubstr(std::string(host).substr(0, kHeartbeatHostBytesMax)),
                    HasSubstr("memory"), HasSubstr(std::to_string(::getpid()))));
  EXPECT_TRUE(HeartbeatWriter::Claim(memory_, Fast()).Is(ErrorCode::kBusy));
  EXPECT_TRUE((*writer)->End().ok());
  EXPECT_EQ(Read()->state, HeartbeatState::kEnded) << "the refused ones have left it alone";
}

TEST_F(MountProtection, OneThatStoppedIsWatchedAndTaken) {
  Heartbeat stale = HeartbeatExample();  // of another boot
  stale.interval_ms = static_cast<uint32_t>(kInterval.count());
  for (const HeartbeatState state : {HeartbeatState::kMounted, HeartbeatState::kRepaired}) {
    stale.state = state;
    Put(stale);
    const auto begin = Clock::now();
    EXPECT_TRUE(Look().ok());
    EXPECT_GE(Clock::now() - begin, kWatch);
    EXPECT_THAT(log(), AllOf(HasSubstr("host alpha"), HasSubstr("/dev/sda1"),
                             HasSubstr("left by a crash")));
    EXPECT_EQ(*Read(), stale) << "looking writes nothing";
  }
  auto writer = HeartbeatWriter::Claim(memory_, Fast());
  ASSERT_TRUE(writer.ok()) << writer.error().ToString();
  EXPECT_TRUE((*writer)->End().ok());
}

// Who does not beat himself has to wait only once.
TEST_F(MountProtection, OneThatStoppedIsEndedByWhoMayWrite) {
  Heartbeat stale = HeartbeatExample();
  stale.interval_ms = static_cast<uint32_t>(kInterval.count());
  Put(stale);
  EXPECT_TRUE(CheckHeartbeat(memory_, LeftHeartbeat::kEnd).ok());
  EXPECT_EQ(Read()->state, HeartbeatState::kEnded);
  EXPECT_EQ(Read()->host, "alpha");
  EXPECT_TRUE(Look([] { return true; }).ok()) << "no wait";
  MemoryDevice untouched(64 << 20);
  FaultDevice faults(untouched);
  EXPECT_TRUE(CheckHeartbeat(faults, LeftHeartbeat::kEnd).ok());
  EXPECT_EQ(faults.io_count(FaultKind::kWrite), 0u);
}

// A block that was torn by a crash, or is being written.
TEST_F(MountProtection, DamageIsWatchedToo) {
  std::string block = EncodeHeartbeat(HeartbeatExample());
  block[30] ^= 1;
  memory_.Poke(kHeartbeatOffset.value(), block);
  std::atomic<int> questions{0};
  EXPECT_TRUE(Look([&] { return ++questions > 3; })
                  .Is(ErrorCode::kInterrupted));
}

// The holder has died and its number is not used, or is another's by now.
TEST_F(MountProtection, AProcessOfThisHostThatIsGoneIsNotWaitedFor) {
  auto writer = HeartbeatWriter::Claim(memory_, Fast());
  ASSERT_TRUE(writer.ok());
  Heartbeat gone = *Read();
  writer->reset();  // as by a crash
  gone.interval_ms = kHeartbeatIntervalMsMax;
  Put(gone);
  std::atomic<int> questions{0};
  EXPECT_TRUE(Look([&] { return ++questions > 2; })
                  .Is(ErrorCode::kInterrupted))
      << "this process lives";
  ++gone.pid_start;
  Put(gone);
  EXPECT_TRUE(Look([] { return true; }).ok()) << "the number is another's";
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  gone.pid = static_cast<uint32_t>(child);
  Put(gone);
  EXPECT_TRUE(Look([] { return true; }).ok()) << "a zombie";
  ::waitpid(child, nullptr, 0);
  EXPECT_TRUE(Look([] { return true; }).ok()) << "nobody's";
  gone.boot.bytes[0] ^= 1;
  Put(gone);
  EXPECT_TRUE(Look([] { return true; }).Is(ErrorCode::kInterrupted))
      << "another boot";
}

TEST_F(MountProtection, OneOfManyWhoComeAtOnceGetsIt) {
  for (int round = 0; round < 20; ++round) {
    std::vector<std::unique_ptr<HeartbeatWriter>> writers(4);
    std::vector<std::thread> threads;
    for (auto& writer : writers) {
      threads.emplace_back([&] {
        auto claimed = HeartbeatWriter::Claim(memory_, Fast());
        EXPECT_TRUE(claimed.ok() || claimed.Is(ErrorCode::kBusy));
        if (claimed.ok()) writer = std::move(*claimed);
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_LE(std::ranges::count_if(writers, [](const auto& w) { return w != nullptr; }), 1);
    for (auto& writer : writers)
      if (writer != nullptr) {
        EXPECT_TRUE(writer->End().ok());
      }
    Heartbeat ended = HeartbeatExample();
    ended.state = HeartbeatState::kEnded;
    Put(ended);
  }
}

TEST_F(MountProtection, OneThatWasWrittenOverIsLost) {
  std::atomic<int> lost_count{0};
  std::string words;
  auto writer = HeartbeatWriter::Claim(memory_, Fast([&](const Error& error) {
    words = error.ToString();
    ++lost_count;
  }));
  ASSERT_TRUE(writer.ok());
  const Heartbeat other = HeartbeatExample();
  Put(other);
  const auto deadline = Clock::now() + std::chrono::seconds(20);
  while (lost_count == 0 && Clock::now() < deadline)
    std::this_thread::sleep_for(milliseconds(5));
  ASSERT_EQ(lost_count, 1);
  EXPECT_THAT(words, AllOf(HasSubstr("alpha"), HasSubstr("/dev/sda1")));
  std::this_thread::sleep_for(3 * kInterval);
  EXPECT_EQ(*Read(), other) << "it beats no more";
  EXPECT_TRUE((*writer)->End().ok());
  EXPECT_EQ(*Read(), other);
  EXPECT_EQ(lost_count, 1);
}

// A device that fails for a while has not been taken by anybody.
TEST_F(MountProtection, FailedBeatsAreNoLoss) {
  FaultDevice faults(memory_);
  std::atomic<int> lost_count{0};
  auto writer = HeartbeatWriter::Claim(faults, Fast([&](const Error&) { ++lost_count; }));
  ASSERT_TRUE(writer.ok());
  faults.Add({.matches = [](const FaultPoint& p) { return p.kind == FaultKind::kWrite; },
              .torn_sector_count = 0});
  const auto deadline = Clock::now() + std::chrono::seconds(20);
  const auto await_failures = [&](uint64_t count) {
    const uint64_t before = faults.failed_count();
    while (faults.failed_count() < before + count && Clock::now() < deadline)
      std::this_thread::sleep_for(milliseconds(5));
  };
  await_failures(2);
  std::string half(kBlockBytes, '\0');  // what a failed write may leave
  memory_.Peek(kHeartbeatOffset.value(), half);
  half[20] ^= 1;
  memory_.Poke(kHeartbeatOffset.value(), half);
  await_failures(2);
  faults.ClearFaults();
  while (!Read().ok() && Clock::now() < deadline)
    std::this_thread::sleep_for(milliseconds(5));
  ASSERT_TRUE(Read().ok());
  const uint64_t sequence = Read()->sequence;
  while (Read()->sequence < sequence + 2 && Clock::now() < deadline)
    std::this_thread::sleep_for(milliseconds(5));
  EXPECT_GE(Read()->sequence, sequence + 2);
  EXPECT_EQ(lost_count, 0);
  EXPECT_TRUE((*writer)->End().ok());
}

}  // namespace
}  // namespace cofs
