// The store on a device in memory: batches as the file system writes them, and commits.
#include <benchmark/benchmark.h>

#include <atomic>
#include <memory>
#include <string>

#include "base/check.h"
#include "device/memory_device.h"
#include "extent_map/records.h"
#include "extent_map/store/store.h"
#include "extent_map/superblock.h"

namespace cofs {
namespace {

constexpr uint64_t kVolumeBytes = uint64_t{4} << 30;

template <typename T>
T Need(Result<T> result) {
  CHECK(result.ok(), result.ok() ? "" : result.error().ToString());
  return std::move(result).value();
}

// A new store whose pool is half of a volume in memory.
class StoreOnMemory {
 public:
  StoreOnMemory() : device_(kVolumeBytes) {
    Superblock superblock;
    superblock.uuid = Uuid::Random();
    superblock.volume_bytes = kVolumeBytes;
    Batch root;
    root.Put(InodeCounterKey(), EncodeInodeCounter(kFirstFreeInode));
    Need(Store::Format(device_, {kReservedEnd, kVolumeBytes / 2}, root, superblock));
    Need(SuperblockSlots::Format(device_, superblock));
    slots_ = Need(SuperblockSlots::Load(device_));
    store_ = Need(Store::Open(device_, *slots_, {}));
  }
  ~StoreOnMemory() { store_->Close().IgnoreError("the benchmark is over"); }
  Store& store() { return *store_; }

 private:
  MemoryDevice device_;
  std::unique_ptr<SuperblockSlots> slots_;
  std::unique_ptr<Store> store_;
};

InodeRecord FileRecord() {
  InodeRecord record;
  record.mode = 0100644;
  record.link_count = 1;
  record.mtime = record.ctime = record.atime = record.btime = {1700000000, 123456789};
  return record;
}

// What a creation writes: the inode, its entry, its directory.
Batch CreationOf(uint64_t number) {
  const InodeId directory{17}, inode{1000 + number};
  Batch batch;
  batch.Put(InodeKey(inode), EncodeInode(FileRecord()));
  batch.Put(DentryKey(directory, kCookieMin + number),
            EncodeDentry({"file" + std::to_string(number), inode, 8}));
  InodeRecord parent = FileRecord();
  parent.mode = 040755;
  parent.link_count = 2;
  parent.size_bytes = number + 1;
  parent.parent = kRootInode;
  batch.Put(InodeKey(directory), EncodeInode(parent));
  return batch;
}

void BM_WriteCreation(benchmark::State& state) {
  StoreOnMemory volume;
  uint64_t number = 0;
  for (auto _ : state) Need(volume.store().Write(CreationOf(number++)));
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_WriteCreation);

// What a write of 128 KiB writes: an extent, its checksums, the inode.
void BM_WriteExtent(benchmark::State& state) {
  StoreOnMemory volume;
  constexpr uint64_t kLength = 128 << 10;
  uint64_t number = 0;
  for (auto _ : state) {
    const InodeId inode{1000};
    const uint64_t offset = number++ % 100'000 * kLength;
    Batch batch;
    batch.Put(ExtentKey(inode, FileOffset{offset}),
              EncodeExtent({FileOffset{offset}, DeviceOffset{(1 << 30) + offset}, kLength, 0}));
    ChecksumChunk chunk;
    chunk.present = offset % kChecksumChunkBytes == 0 ? 0xffffffff : 0xffffffffull << 32;
    batch.Merge(ChecksumKey(DeviceOffset{(1 << 30) + offset}), EncodeChecksums(chunk));
    InodeRecord record = FileRecord();
    record.size_bytes = offset + kLength;
    batch.Put(InodeKey(inode), EncodeInode(record));
    Need(volume.store().Write(std::move(batch)));
  }
  state.SetBytesProcessed(static_cast<int64_t>(kLength) * state.iterations());
}
BENCHMARK(BM_WriteExtent);

// One batch and its commit, as many threads as fsync at once: they share commits.
std::unique_ptr<StoreOnMemory> shared_volume;
std::atomic<uint64_t> shared_number{0};

void BM_WriteAndCommit(benchmark::State& state) {
  if (state.thread_index() == 0) shared_volume = std::make_unique<StoreOnMemory>();
  for (auto _ : state) {
    Need(shared_volume->store().Write(CreationOf(shared_number++)));
    Need(shared_volume->store().Commit());
  }
  state.SetItemsProcessed(state.iterations());
  if (state.thread_index() == 0) shared_volume.reset();
}
BENCHMARK(BM_WriteAndCommit)->Threads(1)->Threads(4)->Threads(16)->UseRealTime();

void BM_Get(benchmark::State& state) {
  StoreOnMemory volume;
  constexpr uint64_t kCount = 200'000;
  for (uint64_t i = 0; i < kCount; ++i) Need(volume.store().Write(CreationOf(i)));
  Need(volume.store().Commit());
  uint64_t number = 0;
  for (auto _ : state) {
    number = (number * 2862933555777941757ull + 3037000493ull) % kCount;
    auto value = Need(volume.store().Get(InodeKey(InodeId{1000 + number})));
    CHECK(value.has_value());
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_Get);

void BM_WalkADirectory(benchmark::State& state) {
  StoreOnMemory volume;
  constexpr uint64_t kCount = 10'000;
  for (uint64_t i = 0; i < kCount; ++i) Need(volume.store().Write(CreationOf(i)));
  const KeyRange range = DentryKeys(InodeId{17});
  for (auto _ : state) {
    const auto cursor = volume.store().NewCursor(range.first, range.last);
    uint64_t count = 0;
    for (cursor->Seek(range.first); cursor->valid(); cursor->Next()) ++count;
    CHECK(count == kCount, count);
  }
  state.SetItemsProcessed(static_cast<int64_t>(kCount) * state.iterations());
}
BENCHMARK(BM_WalkADirectory)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace cofs
