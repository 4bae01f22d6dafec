#include "fs/core/recovery.h"

#include <algorithm>
#include <optional>
#include <string_view>
#include <thread>

#include "base/aligned_buffer.h"
#include "base/check.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "extent_map/records.h"
#include "fs/core/census.h"

namespace cofs {
namespace {

constexpr unsigned kScanThreadCountMax = 4;
// Fewer inode numbers than that are not worth another thread.
constexpr uint64_t kScanInodeCountMin = 4096;

BlockRun RunOf(DeviceRange range) {
  return {range.offset.value() >> kBlockShift, range.length_bytes >> kBlockShift};
}

struct ScanResult {
  UsedBlocks used;
  RecoveredSpace::Seen seen;
  std::optional<Error> error;
};

Status Scan(const Store& store, const std::string& first, const std::string& last,
            ScanResult& result) {
  const auto cursor = store.NewCursor(first, last);
  for (cursor->Seek(first); cursor->valid(); cursor->Next()) {
    TRY_ASSIGN(const ParsedKey key, ParseKey(cursor->key()));
    if (key.kind == RecordKind::kInode) ++result.seen.inode_count;
    if (key.kind == RecordKind::kDentry && IsCollision(key.position))
      result.seen.has_collisions = true;
    if (key.kind != RecordKind::kExtent) continue;
    Result<Extent> extent = DecodeExtent(FileOffset{key.position}, cursor->value());
    if (!extent.ok())
      return extent.error().Within(
          StrCat("inode ", key.inode, ", extent at ", key.position));
    const BlockRun run = RunOf({extent->device_offset, extent->length_bytes});
    (extent->shared() ? result.used.shared : result.used.exclusive).push_back(run);
  }
  return cursor->status();
}

void Append(std::vector<BlockRun>& to, std::vector<BlockRun>&& from) {
  if (to.empty()) {
    to = std::move(from);
  } else {
    to.insert(to.end(), from.begin(), from.end());
  }
  from = {};
}

// Every extent of the store, by threads that each walk a range of inode numbers.
Result<ScanResult> ScanAll(const Store& store, InodeId inode_counter) {
  const unsigned cores = std::max(std::thread::hardware_concurrency(), 1u);
  const uint64_t pieces = std::clamp<uint64_t>(inode_counter.value() / kScanInodeCountMin,
                                               1, std::min(cores, kScanThreadCountMax));
  const KeyRange all = AllFileRecords();
  std::vector<ScanResult> results(pieces);
  std::vector<std::string> borders{all.first};
  for (uint64_t i = 1; i < pieces; ++i)
    borders.push_back(AllOfInode(InodeId{inode_counter.value() / pieces * i}).first);
  borders.push_back(all.last);
  const auto scan = [&](uint64_t i) {
    if (Status status = Scan(store, borders[i], borders[i + 1], results[i]); !status.ok())
      results[i].error = std::move(status).error();
  };
  std::vector<std::thread> threads;
  for (uint64_t i = 1; i < pieces; ++i) threads.emplace_back(scan, i);
  scan(0);
  for (std::thread& thread : threads) thread.join();

  ScanResult out;
  for (ScanResult& result : results) {
    if (result.error) return *std::move(result.error);
    Append(out.used.exclusive, std::move(result.used.exclusive));
    Append(out.used.shared, std::move(result.used.shared));
    out.seen.inode_count += result.seen.inode_count;
    out.seen.has_collisions = out.seen.has_collisions || result.seen.has_collisions;
  }
  return out;
}

void SortByPlace(std::vector<BlockRun>& runs) {
  std::sort(runs.begin(), runs.end(),
            [](const BlockRun& a, const BlockRun& b) { return a.first < b.first; });
}

// Sorted runs that may overlap, as sorted runs that don't even touch.
void Unite(std::vector<BlockRun>& runs) {
  size_t kept = 0;
  for (size_t i = 0; i < runs.size(); ++i) {
    if (kept > 0 && runs[i].first <= runs[kept - 1].end()) {
      const uint64_t end = std::max(runs[kept - 1].end(), runs[i].end());
      runs[kept - 1].count = end - runs[kept - 1].first;
    } else {
      runs[kept++] = runs[i];
    }
  }
  runs.resize(kept);
}

Status CheckApart(const BlockRun& before, const BlockRun& run) {
  if (run.first >= before.end()) return OkStatus();
  return Error(ErrorCode::kCorrupt,
               StrCat("the blocks at ", run.first << kBlockShift, " are used twice"));
}

// Blocks whose count is no longer exact are never freed, whether anything maps them or not.
Status AddNeverFreed(const Store& store, std::vector<BlockRun>& runs) {
  const KeyRange keys = AllShared();
  const auto cursor = store.NewCursor(keys.first, keys.last);
  for (cursor->Seek(keys.first); cursor->valid(); cursor->Next()) {
    TRY_ASSIGN(const ParsedKey key, ParseKey(cursor->key()));
    TRY_ASSIGN(const SharedRecord record, DecodeShared(cursor->value()));
    if (record.reference_count == kReferenceCountMax)
      runs.push_back(RunOf({DeviceOffset{key.position}, record.length_bytes}));
  }
  return cursor->status();
}

Result<RecoveredSpace> Rebuild(const Store& store, const Superblock& superblock,
                               InodeId inode_counter) {
  TRY_ASSIGN(ScanResult scan, ScanAll(store, inode_counter));
  scan.used.exclusive.push_back(RunOf({DeviceOffset{0}, kReservedEnd.value()}));
  for (const DeviceRange& range : store.PoolRanges())
    scan.used.exclusive.push_back(RunOf(range));
  TRY(AddNeverFreed(store, scan.used.shared));
  TRY_ASSIGN(const std::vector<DeviceRange> free,
             FreeOf(std::move(scan.used), superblock.volume_bytes));
  RecoveredSpace out;
  out.seen = scan.seen;
  out.allocator = std::make_unique<Allocator>(superblock.volume_bytes);
  for (const DeviceRange& range : free) TRY(out.allocator->Release(range));
  return out;
}

// Nothing of the volume itself is free.
Status CheckImage(const Allocator& allocator, const Store& store) {
  std::vector<DeviceRange> own = store.PoolRanges();
  own.push_back({DeviceOffset{0}, kReservedEnd.value()});
  const std::vector<DeviceRange> free = allocator.FreeRuns();
  for (const DeviceRange& range : own) {
    // The first free run that ends behind the range's start.
    const auto run = std::upper_bound(
        free.begin(), free.end(), range.offset,
        [](DeviceOffset offset, const DeviceRange& r) { return offset < r.end(); });
    if (run != free.end() && run->offset < range.end())
      return Error(ErrorCode::kCorrupt,
                   StrCat("allocator image: ", range.offset, " is not free"));
  }
  return OkStatus();
}

Result<std::unique_ptr<Allocator>> LoadImage(BlockDevice& device, const Store& store,
                                             const Superblock& superblock) {
  const DeviceRange place = superblock.allocator_image;
  // A run takes at most 20 bytes, and there is one for every two blocks at most.
  if (place.length_bytes >
      (superblock.volume_bytes >> kBlockShift) * 10 + 2 * kBlockBytes)
    return Error(ErrorCode::kCorrupt, "allocator image: too long");
  AlignedBuffer buffer(place.length_bytes);
  TRY(device.Read(place.offset, buffer.span()));
  if (Crc32c(buffer.data(), buffer.size_bytes()) != superblock.allocator_image_crc32c)
    return Error(ErrorCode::kChecksum, "allocator image");
  TRY_ASSIGN(auto allocator, Allocator::DecodeImage({buffer.data(), buffer.size_bytes()},
                                                    superblock.volume_bytes));
  TRY(CheckImage(*allocator, store));
  return allocator;
}

}  // namespace

Result<std::vector<DeviceRange>> FreeOf(UsedBlocks used, uint64_t volume_bytes) {
  SortByPlace(used.exclusive);
  SortByPlace(used.shared);
  Unite(used.shared);
  const uint64_t end = volume_bytes >> kBlockShift;
  std::vector<DeviceRange> free;
  BlockRun before;  // the last run used, and everything before it
  auto exclusive = used.exclusive.begin();
  auto shared = used.shared.begin();
  while (exclusive != used.exclusive.end() || shared != used.shared.end()) {
    const bool take_exclusive =
        shared == used.shared.end() ||
        (exclusive != used.exclusive.end() && exclusive->first <= shared->first);
    const BlockRun run = take_exclusive ? *exclusive++ : *shared++;
    TRY(CheckApart(before, run));
    if (run.first > end || run.count > end - run.first)
      return Error(ErrorCode::kCorrupt,
                   StrCat("the blocks at ", run.first << kBlockShift, " are outside"));
    if (run.first > before.end())
      free.push_back({DeviceOffset{before.end() << kBlockShift},
                      (run.first - before.end()) << kBlockShift});
    before = run;
  }
  if (before.end() < end)
    free.push_back(
        {DeviceOffset{before.end() << kBlockShift}, (end - before.end()) << kBlockShift});
  return free;
}

Result<RecoveredSpace> RecoverSpace(BlockDevice& device, const Store& store,
                                    const Superblock& superblock, InodeId inode_counter) {
  if (superblock.clean && superblock.allocator_image.length_bytes != 0) {
    auto allocator = LoadImage(device, store, superblock);
    if (allocator.ok()) return RecoveredSpace{std::move(*allocator), std::nullopt};
    // Also what a crash leaves between a growth of the pool and the end of the mount.
    LogWarning(StrCat("free space is rebuilt: ", allocator.error().ToString()));
  }
  return Rebuild(store, superblock, inode_counter);
}

}  // namespace cofs
