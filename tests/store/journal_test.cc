// The metadata journal: its encoding, and what a replay makes of damage.
#include "extent_map/store/journal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "device/memory_device.h"
#include "extent_map/store/journal_state.h"
#include "tests/store/golden.h"
#include "tests/store/hex.h"
#include "tests/store/workload.h"

namespace cofs::store {
namespace {

#define ASSERT_OK(expression)                                \
  do {                                                       \
    const auto& status_ = (expression);                      \
    ASSERT_TRUE(status_.ok()) << status_.error().ToString(); \
  } while (false)

constexpr uint64_t kChunk = 32 << 10;
constexpr uint64_t kPool = 2 << 20;

DeviceRange Range(uint64_t offset, uint64_t length) {
  return {DeviceOffset{offset}, length};
}

JournalState TestState() {
  JournalState state;
  state.chunk_bytes = kChunk;
  state.file_id_limit = 4103;
  state.pool = {Range(kPool, 8 << 20)};
  FileRecord& current = state.files[7];
  current.name = "CURRENT";
  current.layout.extents = {Range(kPool, kChunk)};
  current.layout.Append(16);
  FileRecord& wal = state.files[9];
  wal.name = "000004.log";
  wal.kind = FileKind::kGroups;
  wal.layout.extents = {Range(kPool + kChunk, 2 * kChunk)};
  wal.layout.block_count = 3;
  state.ids = {{"CURRENT", 7}, {"000004.log", 9}};
  return state;
}

std::string TestChanges() {
  std::string out;
  EncodePoolRange(out, Range(16 << 20, 1 << 20));
  EncodeFileIdLimit(out, 8199);
  EncodeCreate(out, 10, FileKind::kWhole, "000005.sst");
  EncodeExtend(out, 10, Range(kPool + 3 * kChunk, kChunk));
  FileLayout layout;
  layout.Append(kPayloadBytes + 100);
  layout.Append(50);
  EncodeSynced(out, 10, layout, 0);
  EncodeRename(out, 10, "000006.sst");
  EncodeDelete(out, 9);
  EncodeExtend(out, 10, Range(kPool + 4 * kChunk, kChunk));
  EncodeTrim(out, 10, Range(kPool + 4 * kChunk, kChunk));
  EncodeGiveBack(out, Range((16 << 20) + 4 * kChunk, 8 * kChunk));
  return out;
}

TEST(JournalStateTest, GoldenBytes) {
  EXPECT_EQ(ToHex(EncodeSnapshot(TestState())), kGoldenSnapshot);
  EXPECT_EQ(DecodeSnapshot(EncodeSnapshot(TestState())).value(), TestState());
  EXPECT_EQ(ToHex(TestChanges()), kGoldenChanges);
  JournalState state = TestState();
  ASSERT_OK(ApplyChanges(state, TestChanges()));
  EXPECT_EQ(state.pool, (std::vector{Range(kPool, 8 << 20), Range(16 << 20, 4 * kChunk),
                                     Range((16 << 20) + 12 * kChunk, 20 * kChunk)}));
  EXPECT_EQ(state.file_id_limit, 8199u);
  EXPECT_EQ(state.ids, (std::map<std::string, uint64_t, std::less<>>{
                           {"CURRENT", 7}, {"000006.sst", 10}}));
  const FileLayout& layout = state.files.at(10).layout;
  EXPECT_EQ(layout.size_bytes, kPayloadBytes + 150);
  EXPECT_EQ(layout.extents, std::vector{Range(kPool + 3 * kChunk, kChunk)});
  EXPECT_EQ(layout.sections, (std::vector{Section{2, kPayloadBytes + 100}}));
  EXPECT_EQ(DecodeSnapshot(EncodeSnapshot(state)).value(), state);
}

TEST(JournalStateTest, RefusesImpossibleChanges) {
  const auto is_refused = [](const std::string& change) {
    JournalState state = TestState();
    return ApplyChanges(state, change).Is(ErrorCode::kCorrupt);
  };
  const auto changed = [](auto encode, auto... arguments) {
    std::string out;
    encode(out, arguments...);
    return out;
  };
  FileLayout layout;
  layout.block_count = 9;
  layout.size_bytes = 8 * kPayloadBytes + 1;
  EXPECT_TRUE(is_refused(changed(EncodeSynced, 7, layout, 0))) << "beyond its chunks";
  layout.block_count = 2;
  layout.size_bytes = 10;
  EXPECT_TRUE(is_refused(changed(EncodeSynced, 7, layout, 0))) << "too few bytes";
  layout.block_count = 2;
  layout.size_bytes = kPayloadBytes + 1;
  EXPECT_TRUE(is_refused(changed(EncodeSynced, 9, layout, 0))) << "sizes of a WAL";
  layout.size_bytes = 0;
  EXPECT_TRUE(is_refused(changed(EncodeSynced, 9, layout, 0))) << "shorter than before";
  EXPECT_TRUE(is_refused(changed(EncodeCreate, 7, FileKind::kWhole, "x"))) << "used id";
  EXPECT_TRUE(is_refused(changed(EncodeCreate, 0, FileKind::kWhole, "x"))) << "id 0";
  EXPECT_TRUE(is_refused(changed(EncodeCreate, 9999, FileKind::kWhole, "x"))) << "lease";
  EXPECT_TRUE(is_refused(changed(EncodeCreate, 11, FileKind::kWhole, ""))) << "no name";
  EXPECT_TRUE(is_refused(changed(EncodeCreate, 11, FileKind{3}, "x"))) << "kind";
  EXPECT_TRUE(is_refused(changed(EncodeDelete, 8))) << "no such file";
  EXPECT_TRUE(is_refused(changed(EncodeFileIdLimit, 5))) << "smaller limit";
  EXPECT_TRUE(is_refused(changed(EncodeTrim, 9, Range(kPool + kChunk, kChunk))))
      << "not the end";
  EXPECT_TRUE(is_refused(changed(EncodeTrim, 9, Range(kPool + kChunk, 2 * kChunk))))
      << "durable blocks";
  EXPECT_TRUE(is_refused(changed(EncodeGiveBack, Range(kPool - kChunk, 2 * kChunk))))
      << "not the pool's";
  EXPECT_TRUE(is_refused(changed(EncodeGiveBack, Range(kPool, (8 << 20) + kChunk))))
      << "more than the range";
  EXPECT_TRUE(is_refused(std::string("\x0a\x07", 2))) << "unknown change";
  EXPECT_TRUE(is_refused(std::string("\0", 1))) << "change 0";
}

TEST(JournalStateTest, GivesBackAnyPart) {
  const uint64_t end = kPool + (8 << 20);
  const struct {
    DeviceRange given;
    std::vector<DeviceRange> left;
  } kCases[] = {
      {Range(kPool, 8 << 20), {}},
      {Range(kPool, kChunk), {Range(kPool + kChunk, (8 << 20) - kChunk)}},
      {Range(end - kChunk, kChunk), {Range(kPool, (8 << 20) - kChunk)}},
      {Range(kPool + kChunk, kChunk),
       {Range(kPool, kChunk), Range(kPool + 2 * kChunk, (8 << 20) - 2 * kChunk)}},
  };
  for (const auto& c : kCases) {
    JournalState state = TestState();
    std::string change;
    EncodeGiveBack(change, c.given);
    ASSERT_OK(ApplyChanges(state, change));
    EXPECT_EQ(state.pool, c.left);
  }
}

TEST(JournalStateTest, CutOrChangedBytesAreRefusedOrConsistent) {
  std::mt19937_64 random(TestSeed(8));
  const std::string snapshot = EncodeSnapshot(TestState());
  for (size_t length = 0; length < snapshot.size(); ++length)
    EXPECT_TRUE(DecodeSnapshot(snapshot.substr(0, length)).Is(ErrorCode::kCorrupt));
  EXPECT_TRUE(DecodeSnapshot(snapshot + "x").Is(ErrorCode::kCorrupt));
  const std::string changes = TestChanges();
  for (int i = 0; i < 20000; ++i) {
    std::string bytes = i % 2 == 0 ? snapshot : changes;
    for (uint64_t k = random() % 3 + 1; k > 0; --k)
      bytes[random() % bytes.size()] = static_cast<char>(random());
    JournalState state = TestState();
    if (i % 2 == 0) {
      auto decoded = DecodeSnapshot(bytes);
      if (!decoded.ok()) continue;
      state = std::move(decoded).value();
    } else if (!ApplyChanges(state, bytes).ok()) {
      continue;
    }
    // Whatever is accepted has one encoding and comes back as it is.
    ASSERT_EQ(DecodeSnapshot(EncodeSnapshot(state)).value(), state);
  }
}

constexpr uint64_t kGeneration = 0x1122334455667788;

class JournalTest : public testing::Test {
 protected:
  static constexpr uint64_t kSegmentBytes = 64 * kBlockBytes;
  const DeviceRange segment_ = Range(4 << 20, kSegmentBytes);
  MemoryDevice device_{16 << 20};
  int published_ = 0;

  Journal::Publish Publisher() {
    return [this](DeviceRange, uint64_t) {
      ++published_;
      return OkStatus();
    };
  }
  // A snapshot and `count` records; record i creates file 100+i.
  void WriteJournal(int count) {
    Journal journal(device_);
    ASSERT_OK(journal.StartSegment(segment_, kGeneration, EncodeSnapshot(TestState()),
                                   Publisher()));
    for (int i = 0; i < count; ++i) ASSERT_OK(journal.Append(RecordOf(i)));
  }
  static std::string RecordOf(int i) {
    std::string change;
    EncodeCreate(change, 100 + static_cast<uint64_t>(i), FileKind::kWhole,
                 "file" + std::to_string(i));
    return change;
  }
  // How many of the records a replay has.
  Result<int> Replay() {
    Journal journal(device_);
    TRY_ASSIGN(const JournalState state, journal.Load(segment_, kGeneration));
    return static_cast<int>(state.files.size() - TestState().files.size());
  }
  void Flip(uint64_t block, uint64_t byte) {
    char c;
    device_.Peek(segment_.offset.value() + block * kBlockBytes + byte, {&c, 1});
    c ^= 16;
    device_.Poke(segment_.offset.value() + block * kBlockBytes + byte, {&c, 1});
  }
};

TEST_F(JournalTest, GoldenHeader) {
  Journal journal(device_);
  ASSERT_OK(journal.StartSegment(segment_, kGeneration - 1, EncodeSnapshot(TestState()),
                                 Publisher()));
  for (int i = 0; i < 3; ++i) ASSERT_OK(journal.Append(RecordOf(i)));
  ASSERT_OK(journal.StartSegment(segment_, kGeneration, EncodeSnapshot(TestState()),
                                 Publisher()));
  std::string header(32, '\0');
  device_.Peek(segment_.offset.value(), header);
  // Its sequence is 5: after one snapshot and three records.
  EXPECT_EQ(ToHex(header), kGoldenSnapshotHeader);
  EXPECT_EQ(published_, 2);
  // The records of the older generation are not seen.
  EXPECT_EQ(Replay().value(), 0);
}

TEST_F(JournalTest, ReplaysWhatWasAppended) {
  WriteJournal(20);
  EXPECT_EQ(Replay().value(), 20);
  Journal journal(device_);
  ASSERT_OK(journal.Load(segment_, kGeneration));
  EXPECT_FALSE(journal.wants_new_segment());
  EXPECT_TRUE(journal.Verify().ok());
  ASSERT_OK(journal.Append(RecordOf(20)));
  EXPECT_EQ(Replay().value(), 21);
  // 64 blocks: the snapshot and 31 pairs.
  for (int i = 21; i < 31; ++i) {
    ASSERT_TRUE(journal.Fits(RecordOf(i).size()));
    ASSERT_OK(journal.Append(RecordOf(i)));
  }
  EXPECT_FALSE(journal.Fits(1));
  EXPECT_EQ(Replay().value(), 31);
}

TEST_F(JournalTest, OneDamagedCopyLosesNothing) {
  for (uint64_t block = 1; block < 21; ++block) {
    WriteJournal(10);
    Flip(block, block * 97 % kBlockBytes);
    EXPECT_EQ(Replay().value(), 10) << block;
    Journal journal(device_);
    ASSERT_OK(journal.Load(segment_, kGeneration));
    EXPECT_TRUE(journal.wants_new_segment());
    // The last record's second copy may have been torn: nothing to complain about.
    EXPECT_EQ(journal.Verify().ok(), block >= 19) << block;
  }
}

TEST_F(JournalTest, BothCopiesDamagedIsRotOrTheEnd) {
  for (uint64_t record = 0; record < 10; ++record) {
    WriteJournal(10);
    Flip(1 + 2 * record, 5);
    Flip(2 + 2 * record, 500);
    const auto replayed = Replay();
    if (record < 9)
      EXPECT_TRUE(replayed.Is(ErrorCode::kCorrupt)) << record;
    else
      EXPECT_EQ(replayed.value(), 9);
  }
}

TEST_F(JournalTest, DamagedSnapshotIsCorrupt) {
  for (const uint64_t byte : {0, 4, 8, 20, 24, 28, 40, 4000}) {
    WriteJournal(3);
    Flip(0, byte);
    EXPECT_TRUE(Replay().Is(ErrorCode::kCorrupt)) << byte;
  }
  WriteJournal(3);
  Journal journal(device_);
  EXPECT_TRUE(journal.Load(segment_, kGeneration + 1).Is(ErrorCode::kCorrupt));
  EXPECT_TRUE(
      journal.Load(Range(8 << 20, kSegmentBytes), kGeneration).Is(ErrorCode::kCorrupt));
  EXPECT_TRUE(journal.Load(Range(1ull << 40, kSegmentBytes), kGeneration)
                  .Is(ErrorCode::kCorrupt));
  EXPECT_TRUE(journal.Load(Range(0, 0), kGeneration).Is(ErrorCode::kCorrupt));
}

TEST_F(JournalTest, GoesOnOverATornRecord) {
  WriteJournal(5);
  Flip(9, 9);
  Flip(10, 9);
  Journal journal(device_);
  ASSERT_OK(journal.Load(segment_, kGeneration));
  ASSERT_OK(journal.Append(RecordOf(50)));
  ASSERT_OK(journal.Append(RecordOf(51)));
  EXPECT_EQ(Replay().value(), 6);
}

TEST_F(JournalTest, LargeRecordsAndSnapshots) {
  JournalState large = TestState();
  std::string changes;
  for (uint64_t id = 200; id < 1200; ++id)
    EncodeCreate(changes, id, FileKind::kWhole, "some file " + std::to_string(id));
  ASSERT_OK(ApplyChanges(large, changes));
  const std::string snapshot = EncodeSnapshot(large);
  EXPECT_GT(snapshot.size(), 4 * kBlockBytes);
  const DeviceRange segment =
      Range(6 << 20, RoundUp(Journal::SegmentBytesWanted(snapshot.size()), kChunk));
  Journal journal(device_);
  ASSERT_OK(journal.StartSegment(segment, kGeneration, snapshot, Publisher()));
  std::string more;
  for (uint64_t id = 2000; id < 2400; ++id)
    EncodeCreate(more, id, FileKind::kWhole, "some file " + std::to_string(id));
  ASSERT_TRUE(journal.Fits(more.size()));
  ASSERT_OK(journal.Append(more));
  Journal again(device_);
  EXPECT_EQ(again.Load(segment, kGeneration).value().files.size(), 1402u);
  // The first copy lost in its first block: the second is found behind it.
  char zero = 0;
  const uint64_t record =
      segment.offset.value() + RoundUp(32 + snapshot.size(), kBlockBytes);
  device_.Poke(record, {&zero, 1});
  EXPECT_EQ(again.Load(segment, kGeneration).value().files.size(), 1402u);
}

}  // namespace
}  // namespace cofs::store
