// Recording and crash replay, by hand-made logs and by a model that knows for each
// sector what a power cut may leave.
#include "device/crash_replay.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <set>

#include "base/check.h"
#include "device/fault_device.h"
#include "tests/device/device_fixture.h"

namespace cofs {
namespace {

constexpr uint64_t kBlocks = 16;
constexpr uint64_t kSize = kBlocks * kBlockBytes;

class Recorded {
 public:
  void Write(uint64_t block, char letter, bool fua = false) {
    AlignedBuffer data(kBlockBytes);
    std::fill_n(data.data(), kBlockBytes, letter);
    ASSERT_TRUE(device.Write(DeviceOffset(block * kBlockBytes), data.span(), fua).ok());
  }
  void Flush() { ASSERT_TRUE(device.Flush().ok()); }

  MemoryDevice memory{kSize, {.copy_limits = DeviceCopyLimits{1 << 20, 1 << 20, 8}}};
  FaultDevice faults{memory};
  RecordingDevice device{faults};
};

std::string LettersOf(const MemoryDevice& image, uint64_t block) {
  std::set<char> letters;
  std::string bytes(kBlockBytes, '?');
  image.Peek(block * kBlockBytes, bytes);
  for (const char c : bytes) letters.insert(c == '\0' ? '.' : c);
  return {letters.begin(), letters.end()};
}

TEST(Recording, LogsChangesInOrder) {
  Recorded recorded;
  recorded.Write(1, 'a');
  ReadAll(recorded.device, DeviceOffset(0), kBlockBytes);
  recorded.Flush();
  recorded.device.Mark(42);
  ASSERT_TRUE(recorded.device.WriteZeroes({DeviceOffset(0), kBlockBytes}).ok());
  recorded.Write(2, 'b', /*fua=*/true);
  ASSERT_TRUE(recorded.device.Discard({DeviceOffset(0), kBlockBytes}).ok());
  const DeviceRange sources[] = {{DeviceOffset(kBlockBytes), kBlockBytes},
                                 {DeviceOffset(2 * kBlockBytes), kBlockBytes}};
  ASSERT_TRUE(recorded.device.Copy(sources, DeviceOffset(8 * kBlockBytes)).ok());
  // Refused before it starts: changes nothing, and is not there.
  EXPECT_FALSE(recorded.device.WriteZeroes({DeviceOffset(kSize), kBlockBytes}).ok());
  EXPECT_EQ(recorded.device.logged_bytes(), 4 * kBlockBytes);

  const IoLog log = recorded.device.TakeLog();
  ASSERT_EQ(log.ios.size(), 6u);
  const IoKind kinds[] = {IoKind::kWrite, IoKind::kFlush,   IoKind::kWriteZeroes,
                          IoKind::kWrite, IoKind::kDiscard, IoKind::kWrite};
  EventNumber last = 0;
  for (size_t i = 0; i < 6; ++i) {
    EXPECT_EQ(log.ios[i].kind, kinds[i]);
    EXPECT_GT(log.ios[i].started, last);
    EXPECT_GT(log.ios[i].completed, log.ios[i].started);
    last = log.ios[i].completed;
    EXPECT_EQ(log.ios[i].fua, i == 3);
    EXPECT_EQ(log.ios[i].is_copy, i == 5);
  }
  ASSERT_EQ(log.marks.size(), 1u);
  EXPECT_EQ(log.marks[0].id, 42u);
  EXPECT_GT(log.marks[0].event, log.ios[1].completed);
  EXPECT_LT(log.marks[0].event, log.ios[2].started);
  // A copy is a write of what its sources held.
  const LoggedIo& copy = log.ios[5];
  EXPECT_EQ(copy.range, (DeviceRange{DeviceOffset(8 * kBlockBytes), 2 * kBlockBytes}));
  EXPECT_EQ(copy.data[0], 'a');
  EXPECT_EQ(copy.data[kBlockBytes], 'b');
  EXPECT_EQ(recorded.device.TakeLog().event_count, 0u);
}

// All states of a log by name: "event how" to letters of block 1 and 2.
std::map<std::string, std::string> StatesOf(IoLog log, CrashReplay::Options options) {
  std::map<std::string, std::string> states;
  CrashReplay replay(std::make_unique<MemoryDevice>(kSize), std::move(log), options);
  const Status status = replay.ForEachState([&](CrashState& state) {
    states[StrCat(state.event, " ", state.how)] =
        LettersOf(*state.image, 1) + " " + LettersOf(*state.image, 2);
    // What a visitor does to its image stays there.
    state.image->Poke(0, std::string(kSize, 'X'));
    return OkStatus();
  });
  EXPECT_TRUE(status.ok());
  return states;
}

TEST(CrashReplay, FlushMakesDurable) {
  Recorded recorded;
  recorded.Write(1, 'a');  // events 1 2
  recorded.Flush();        // 3 4
  recorded.Write(1, 'b');  // 5 6
  recorded.Write(2, 'c');  // 7 8
  recorded.Flush();        // 9 10
  recorded.Write(2, 'd');  // 11 12
  const std::map<std::string, std::string> wanted = {
      {"4 dropped", "a ."}, {"4 kept", "a ."},     {"10 dropped", "b c"},
      {"10 kept", "b c"},   {"12 dropped", "b c"}, {"12 kept", "b d"}};
  EXPECT_EQ(StatesOf(recorded.device.TakeLog(), {.random_state_count = 0}), wanted);
}

TEST(CrashReplay, FuaIsDurableByItself) {
  Recorded recorded;
  recorded.Write(1, 'a');                // 1 2
  recorded.Write(2, 'b', /*fua=*/true);  // 3 4
  recorded.Write(2, 'c');                // 5 6
  const std::map<std::string, std::string> wanted = {
      {"4 dropped", ". b"}, {"4 kept", "a b"}, {"6 dropped", ". b"}, {"6 kept", "a c"}};
  EXPECT_EQ(StatesOf(recorded.device.TakeLog(), {.random_state_count = 0}), wanted);
}

TEST(CrashReplay, FailedIsNeverPromised) {
  // A write and a flush that fail; the flush after them covers neither's promise.
  Recorded recorded;
  recorded.Write(1, 'a');  // 1 2
  recorded.faults.FailNth(1);
  EXPECT_FALSE(recorded.device.Flush().ok());  // 3 4
  recorded.Write(2, 'b');                      // 5 6
  const std::map<std::string, std::string> wanted = {{"6 dropped", ". ."},
                                                     {"6 kept", "a b"}};
  EXPECT_EQ(StatesOf(recorded.device.TakeLog(), {.random_state_count = 0}), wanted);

  recorded.faults.FailNth(1);
  const AlignedBuffer data = Pattern(kBlockBytes, 1);
  EXPECT_FALSE(
      recorded.device.Write(DeviceOffset(kBlockBytes), data.span(), /*fua=*/true).ok());
  bool is_dropped_somewhere = false;
  for (const auto& [name, letters] :
       StatesOf(recorded.device.TakeLog(), {.random_state_count = 20}))
    is_dropped_somewhere |= letters == ". .";
  EXPECT_TRUE(is_dropped_somewhere);
}

TEST(CrashReplay, WhatCompletedDuringAFlushIsNotCovered) {
  // Made by hand: the write starts before the flush and completes inside of it.
  IoLog log;
  LoggedIo write, flush;
  write.range = {DeviceOffset(kBlockBytes), kBlockBytes};
  write.data.assign(kBlockBytes, 'a');
  write.started = 1;
  flush.kind = IoKind::kFlush;
  flush.started = 2;
  write.completed = 3;
  flush.completed = 4;
  log.ios = {write, flush};
  log.event_count = 4;
  const auto states = StatesOf(std::move(log), {.random_state_count = 0});
  EXPECT_EQ(states.at("4 dropped"), ". .");
  EXPECT_EQ(states.at("4 kept"), "a .");
}

TEST(CrashReplay, TornStatesComeUp) {
  Recorded recorded;
  recorded.Write(1, 'a');
  recorded.Write(2, 'b');
  std::set<std::string> seen;
  for (const auto& [name, letters] : StatesOf(
           recorded.device.TakeLog(), {.seed = TestSeed(), .random_state_count = 200}))
    seen.insert(letters);
  for (const char* letters : {". .", "a .", ". b", "a b", ".a .b", ".a b", "a .b"})
    EXPECT_TRUE(seen.contains(letters)) << letters;
}

TEST(CrashReplay, MarksAndErrorsNameTheState) {
  Recorded recorded;
  recorded.Write(1, 'a');
  recorded.Flush();
  recorded.device.Mark(7);
  recorded.Write(1, 'b');
  recorded.Flush();
  recorded.device.Mark(8);
  std::vector<std::vector<uint64_t>> marks;
  std::vector<bool> repeated;
  CrashReplay replay(std::make_unique<MemoryDevice>(kSize), recorded.device.TakeLog(),
                     {.random_state_count = 0});
  const Status status = replay.ForEachState([&](CrashState& state) {
    marks.push_back(state.marks);
    repeated.push_back(state.is_repeated);
    if (marks.size() == 6) return Status(ErrorCode::kCorrupt, "found");
    return OkStatus();
  });
  // At the first flush, at the second, at the end of the log; each twice.
  const std::vector<std::vector<uint64_t>> wanted = {{}, {}, {7}, {7}, {7, 8}, {7, 8}};
  EXPECT_EQ(marks, wanted);
  // Nothing was volatile at any of these moments.
  EXPECT_EQ(repeated, (std::vector<bool>{false, true, false, true, false, true}));
  ASSERT_TRUE(status.Is(ErrorCode::kCorrupt));
  EXPECT_NE(status.error().ToString().find("crash after event 10 (kept, seed 1)"),
            std::string::npos)
      << status.error().ToString();
}

TEST(CrashReplay, OnlyWhatAddsNothingIsRepeated) {
  Recorded recorded;
  recorded.Write(1, 'a');                // 1 2
  recorded.Flush();                      // 3 4
  recorded.Write(2, 'b', /*fua=*/true);  // 5 6
  recorded.Write(3, 'c');                // 7 8
  std::map<std::string, bool> repeated;
  CrashReplay replay(std::make_unique<MemoryDevice>(kSize), recorded.device.TakeLog(),
                     {.random_state_count = 0});
  ASSERT_TRUE(replay
                  .ForEachState([&](CrashState& state) {
                    repeated[StrCat(state.event, " ", state.how)] = state.is_repeated;
                    return OkStatus();
                  })
                  .ok());
  const std::map<std::string, bool> wanted = {
      {"4 dropped", false}, {"4 kept", true},     {"6 dropped", false},
      {"6 kept", true},     {"8 dropped", true}, {"8 kept", false}};
  EXPECT_EQ(repeated, wanted);
}

// What a sector may hold at a crash, by the words of the header: the newest durable
// write of it or any later one. Every write has a number, which fills its sectors.
class SectorModel {
 public:
  explicit SectorModel(const IoLog& log) : log_(log) {}

  std::set<uint64_t> MayHold(uint64_t sector, EventNumber now) const {
    std::vector<const LoggedIo*> writes;
    for (const LoggedIo& io : log_.ios) {
      const bool covers = io.kind != IoKind::kFlush && io.started <= now &&
                          sector * kSectorBytes >= io.range.offset.value() &&
                          sector * kSectorBytes < io.range.end().value();
      if (covers) writes.push_back(&io);
    }
    const auto seen_at = [now](const LoggedIo* io) {
      return io->completed != 0 && io->completed <= now
                 ? io->completed
                 : UINT64_MAX - 1 + 0 * io->started;
    };
    uint64_t durable_at = 0;
    for (const LoggedIo* io : writes)
      if (IsDurable(*io, now)) durable_at = std::max(durable_at, seen_at(io));
    std::set<uint64_t> values;
    if (durable_at == 0) values.insert(0);
    for (const LoggedIo* io : writes)
      if (seen_at(io) >= durable_at) values.insert(NumberOf(*io));
    return values;
  }
  static uint64_t NumberOf(const LoggedIo& io) {
    uint64_t number = 0;
    if (!io.data.empty()) std::memcpy(&number, io.data.data(), sizeof(number));
    return number;
  }

 private:
  bool IsDurable(const LoggedIo& io, EventNumber now) const {
    if (io.failed || io.completed == 0 || io.completed > now) return false;
    if (io.fua) return true;
    for (const LoggedIo& flush : log_.ios) {
      if (flush.kind == IoKind::kFlush && !flush.failed && flush.started > io.completed &&
          flush.completed != 0 && flush.completed <= now)
        return true;
    }
    return false;
  }
  const IoLog& log_;
};

// A log with overlapping I/Os in flight, flushes among them and some failures.
IoLog RandomLog(std::mt19937_64& random) {
  IoLog log;
  std::vector<size_t> in_flight;
  for (uint64_t number = 1; number <= 60 || !in_flight.empty();) {
    if (number <= 60 && (in_flight.size() < 3 || random() % 2 == 0)) {
      LoggedIo io;
      io.started = ++log.event_count;
      if (random() % 5 == 0) {
        io.kind = IoKind::kFlush;
      } else {
        io.range = {DeviceOffset(random() % (kBlocks - 2) * kBlockBytes),
                    (1 + random() % 2) * kBlockBytes};
        io.data.resize(io.range.length_bytes);
        for (size_t i = 0; i < io.data.size(); i += sizeof(number))
          std::memcpy(io.data.data() + i, &number, sizeof(number));
        io.fua = random() % 6 == 0;
      }
      ++number;
      in_flight.push_back(log.ios.size());
      log.ios.push_back(std::move(io));
    } else {
      const size_t which = random() % in_flight.size();
      LoggedIo& io = log.ios[in_flight[which]];
      in_flight.erase(in_flight.begin() + static_cast<std::ptrdiff_t>(which));
      if (random() % 20 == 0) continue;  // never completes
      io.completed = ++log.event_count;
      io.failed = random() % 12 == 0;
    }
  }
  return log;
}

TEST(CrashReplay, EverySectorIsOldOrNew) {
  const uint64_t seed = TestSeed();
  uint64_t state_count = 0;
  for (uint64_t round = 0; round < 30; ++round) {
    std::mt19937_64 random(seed * 1000 + round);
    const IoLog log = RandomLog(random);
    const SectorModel model(log);
    CrashReplay replay(std::make_unique<MemoryDevice>(kSize), log,
                       {.seed = seed + round, .random_state_count = 8});
    const Status status = replay.ForEachState([&](CrashState& state) -> Status {
      ++state_count;
      for (uint64_t sector = 0; sector < kSize / kSectorBytes; ++sector) {
        std::string bytes(kSectorBytes, '?');
        state.image->Peek(sector * kSectorBytes, bytes);
        uint64_t value = 0;
        std::memcpy(&value, bytes.data(), sizeof(value));
        for (size_t i = 0; i < bytes.size(); i += sizeof(value))
          if (std::memcmp(bytes.data() + i, &value, sizeof(value)) != 0)
            return Error(ErrorCode::kCorrupt, StrCat("sector ", sector, " is a mixture"));
        if (!model.MayHold(sector, state.event).contains(value))
          return Error(ErrorCode::kCorrupt, StrCat("sector ", sector, " holds ", value));
      }
      return OkStatus();
    });
    ASSERT_TRUE(status.ok()) << "round " << round << ": " << status.error().ToString();
  }
  EXPECT_GT(state_count, 500u);
}

TEST(CrashReplay, ThousandsOfStatesOfALargeDeviceAreCheap) {
  // A device of a terabyte that was discarded as a whole, then written here and there.
  MemoryDevice memory(1ull << 40);
  RecordingDevice device(memory);
  ASSERT_TRUE(device.Discard({DeviceOffset(0), 1ull << 40}).ok());
  std::mt19937_64 random(TestSeed());
  const AlignedBuffer data = Pattern(kBlockBytes, 3);
  for (int i = 0; i < 600; ++i) {
    const DeviceOffset offset(random() % (1ull << 28) * kBlockBytes);
    ASSERT_TRUE(device.Write(offset, data.span()).ok());
    if (i % 2 == 0) {
      ASSERT_TRUE(device.Flush().ok());
    }
  }
  size_t state_count = 0;
  CrashReplay replay(std::make_unique<MemoryDevice>(1ull << 40), device.TakeLog(),
                     {.random_state_count = 4});
  ASSERT_TRUE(replay
                  .ForEachState([&](CrashState&) {
                    ++state_count;
                    return OkStatus();
                  })
                  .ok());
  EXPECT_GT(state_count, 1500u);
}

}  // namespace
}  // namespace cofs
