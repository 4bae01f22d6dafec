// Power cuts around what the pool gives back to the volume: the store has what was
// committed, and its pool nothing that the volume may have used since.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <thread>

#include "base/aligned_buffer.h"
#include "device/crash_replay.h"
#include "device/memory_device.h"
#include "device/recording_device.h"
#include "extent_map/records.h"
#include "tests/store/test_volume.h"
#include "tests/store/workload.h"

namespace cofs {
namespace {

constexpr uint64_t kVolumeBytes = 64 << 20;
constexpr std::string_view kUsed = "used by a file since then";

// Batch n, from 1, puts record n; then the records are deleted one by one; then put again.
constexpr int kRecordCount = 250;
constexpr int kBatchCount = 3 * kRecordCount;
constexpr size_t kValueBytes = 60'000;

std::string KeyOf(int record) {
  return XattrKey(InodeId{static_cast<uint64_t>(100 + record)}, "user.large");
}
std::string ValueOf(int batch) {
  std::string value(kValueBytes, static_cast<char>('a' + batch % 26));
  std::memcpy(value.data(), &batch, sizeof(batch));
  return value;
}
const std::string& CounterKey() {
  static const std::string key = XattrKey(InodeId{2}, "user.count");
  return key;
}

Batch MakeBatch(int n) {
  Batch batch;
  batch.Put(CounterKey(), std::to_string(n));
  const int record = (n - 1) % kRecordCount;
  if ((n - 1) / kRecordCount == 1) {
    batch.Delete(KeyOf(record));
    // So that there is enough in these batches to be worth a compaction.
    batch.Put(XattrKey(InodeId{2}, "user.filler"), std::string(2000, 'f'));
  } else {
    batch.Put(KeyOf(record), ValueOf(n));
  }
  return batch;
}

// The batch that wrote `record` last, when `count` of them have been written; 0: none, or
// it has been deleted.
int WriterOf(int record, int count) {
  if (count > 2 * kRecordCount + record) return 2 * kRecordCount + record + 1;
  return count > record && count <= kRecordCount + record ? record + 1 : 0;
}

Error Difference(std::string what) { return Error(ErrorCode::kStale, std::move(what)); }

// How many batches it holds: those, and nothing else.
Result<int> CountBatches(const Store& store) {
  TRY_ASSIGN(const auto counter, store.Get(CounterKey()));
  const int count = counter ? std::stoi(*counter) : 0;
  for (int record = 0; record < kRecordCount; ++record) {
    TRY_ASSIGN(const auto value, store.Get(KeyOf(record)));
    const int writer = WriterOf(record, count);
    if (value.has_value() != (writer != 0) || (value && *value != ValueOf(writer)))
      return Difference(StrCat("record ", record, " after ", count, " batches"));
  }
  return count;
}

// What comes back is written over at once, and never handed out again.
class UsedSpace final : public PoolSpaceSource {
 public:
  explicit UsedSpace(BlockDevice& device)
      : device_(device),
        space_(kReservedEnd + Store::InitialPoolBytes(kVolumeBytes),
               DeviceOffset{kVolumeBytes}) {}
  Result<DeviceRange> TakeForPool(uint64_t wanted, uint64_t minimum) override {
    return space_.TakeForPool(wanted, minimum);
  }
  Status PrepareReturn() override { return OkStatus(); }
  void ReturnFromPool(DeviceRange range) override {
    AlignedBuffer used(range.length_bytes);
    for (uint64_t at = 0; at < range.length_bytes; at += kBlockBytes)
      std::memcpy(used.data() + at, kUsed.data(), kUsed.size());
    const Status written = device_.Write(range.offset, used.span());
    CHECK(written.ok(), written.error().ToString());
    returned_bytes_ += range.length_bytes;
  }
  uint64_t returned_bytes() const { return returned_bytes_; }

 private:
  BlockDevice& device_;
  TestSpace space_;
  std::atomic<uint64_t> returned_bytes_{0};
};

// Marks carry how many batches a completed commit covers.
void Record(RecordingDevice& device) {
  UsedSpace space(device);
  auto volume = OpenTestVolume(device);
  CHECK(volume.ok(), volume.error().ToString());
  Store& store = *volume->store;
  store.StartGrowing(&space);
  for (int n = 1; n <= kBatchCount; ++n) {
    Batch batch = MakeBatch(n);
    if (n <= kRecordCount || n > 2 * kRecordCount)
      CHECK(store.AdmitGrowth(batch.size_bytes()).ok());
    CHECK(store.Write(std::move(batch)).ok());
    if (n % 10 != 0) continue;
    CHECK(store.Commit().ok());
    device.Mark(static_cast<uint64_t>(n));
    if (n != 2 * kRecordCount) continue;
    // As when a file's write was refused.
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (space.returned_bytes() < (8 << 20) && std::chrono::steady_clock::now() < end) {
      store.NoteVolumeFull();
      CHECK(store.Commit().ok());
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }
  ASSERT_GE(space.returned_bytes(), 8u << 20);
}

Status CheckState(CrashState& state, const MemoryDevice& image) {
  const int committed = state.marks.empty() ? 0 : static_cast<int>(state.marks.back());
  TRY_ASSIGN(auto volume, OpenTestVolume(*state.image));
  TRY_ASSIGN(const int count, CountBatches(*volume.store));
  if (count < committed)
    return Difference(StrCat("holds ", count, " batches, ", committed, " were committed"));
  std::string start(kUsed.size(), '\0');
  for (const DeviceRange& range : volume.store->PoolRanges()) {
    for (DeviceOffset at = range.offset; at < range.end(); at += kBlockBytes) {
      image.Peek(at.value(), start);
      if (start == kUsed) return Difference(StrCat("a file's block at ", at, " in the pool"));
    }
  }
  return OkStatus();
}

TEST(StoreGiveBackTest, EveryStateKeepsFilesAndStoreApart) {
  const uint64_t seed = TestSeed(1);
  MemoryDevice memory(kVolumeBytes);
  ASSERT_TRUE(FormatTestVolume(memory).ok());
  auto initial = memory.Fork();
  RecordingDevice device(memory);
  Record(device);
  if (HasFailure()) return;
  IoLog log = device.TakeLog();
  const uint64_t about = 5 * log.ios.size();
  const uint64_t one_of =
      std::max<uint64_t>(1, about / TestCount("COFS_STATE_COUNT", 100));
  CrashReplay replay(std::move(initial), std::move(log),
                     {.seed = seed, .random_state_count = 3});
  std::mt19937_64 random(seed);
  int checked = 0;
  const Status status = replay.ForEachState([&](CrashState& state) {
    // It is while no batch is written that ranges are given back: look at most of that.
    const bool gives_back = !state.marks.empty() && state.marks.back() == 2 * kRecordCount;
    if (random() % (gives_back ? 2 : one_of) != 0) return OkStatus();
    ++checked;
    return CheckState(state, *state.image);
  });
  EXPECT_TRUE(status.ok()) << status.error().ToString();
  EXPECT_GT(checked, 20);
  std::printf("%d states\n", checked);
}

}  // namespace
}  // namespace cofs
