#include "fs/core/mapping_change.h"

#include <sys/stat.h>

#include <algorithm>

#include "fs/core/block_checksums.h"
#include "fs/core/shared_blocks.h"
#include "fs/core/xattrs.h"

namespace cofs {
namespace {

// Of one record, with its key.
constexpr uint64_t kInodeRecordBytes = 512;
constexpr uint64_t kExtentRecordBytes = 64;
constexpr uint64_t kChecksumRecordBytes = 300;

void PutChecksums(const MappingChange& change, Batch& batch) {
  if (change.crcs.empty()) return;
  ChecksumWriter writer(batch);
  for (const Extent& extent : change.replacement) {
    if (extent.unwritten()) continue;
    const size_t first = (extent.file_offset - change.begin) / kBlockBytes;
    writer.Add(extent.device_offset,
               change.crcs.subspan(first, extent.length_bytes / kBlockBytes));
  }
  writer.Finish();
}

}  // namespace

Result<ExtentCache::Found> FindExtents(const Core& core, Inode& inode, FileOffset begin,
                                       FileOffset end, size_t count_max,
                                       bool with_neighbours) {
  TRY_ASSIGN(ExtentCache::Found found,
             inode.extents.Find(*core.store, inode.id, begin, end, count_max,
                                with_neighbours));
  const DeviceOffset device_end{core.device->geometry().size_bytes};
  for (const Extent& extent : found.extents)
    if (extent.device_end() > device_end)
      return Error(ErrorCode::kCorrupt,
                   StrCat("inode ", inode.id, ": the extent at ", extent.file_offset,
                          " is outside of the device"));
  return found;
}

Result<std::optional<FileOffset>> FindCut(const Core& core, Inode& inode, FileOffset begin,
                                          FileOffset end) {
  TRY_ASSIGN(const ExtentCache::Found found,
             FindExtents(core, inode, begin, end, kBatchExtentCountMax, false));
  if (found.complete_to >= end) return std::optional<FileOffset>{};
  const std::string last = ExtentKey(inode.id, end);
  const auto cursor = core.store->NewCursor(ExtentKeys(inode.id).first, last);
  cursor->SeekForPrev(last);
  std::optional<FileOffset> cut;
  for (size_t count = 0; count < kBatchExtentCountMax && cursor->valid(); ++count) {
    TRY_ASSIGN(const ParsedKey key, ParseKey(cursor->key()));
    if (key.position < begin.value()) break;
    cut = FileOffset{key.position};
    cursor->Prev();
  }
  TRY(cursor->status());
  return cut;
}

void PutExtents(InodeId inode, const ExtentChange& change, Batch& batch) {
  for (const FileOffset offset : change.erased) batch.Delete(ExtentKey(inode, offset));
  for (const Extent& extent : change.written)
    batch.Put(ExtentKey(inode, extent.file_offset), EncodeExtent(extent));
}

uint64_t MappedBytes(std::span<const Extent> extents, FileOffset begin, FileOffset end) {
  uint64_t bytes = 0;
  for (const Extent& extent : extents) bytes += Clip(extent, begin, end).length_bytes;
  return bytes;
}

Status ApplyMapping(Core& core, Inode& inode, const MappingChange& change) {
  Transaction transaction;
  InodeRecord record = inode.record;
  ExtentChange extents;
  SharedBlocks::Locks locks;
  if (change.begin < change.end) {
    TRY_ASSIGN(
        const ExtentCache::Found found,
        FindExtents(core, inode, change.begin, change.end, SIZE_MAX, /*neighbours=*/true));
    extents = ReplaceRange(found.extents, change.begin, change.end, change.replacement);
    PutExtents(inode.id, extents, transaction.batch());
    PutChecksums(change, transaction.batch());
    TRY_ASSIGN(locks, core.shared_blocks->Drop(
                          change.dropped != nullptr ? *change.dropped : extents.dropped,
                          transaction));
    const uint64_t more = MappedBytes(change.replacement, change.begin, change.end);
    const uint64_t less = MappedBytes(found.extents, change.begin, change.end);
    CountAllocated(record, more, less);
  }
  if (change.kill_privileges) {
    KillPrivileges(inode.id, record, transaction.batch());
  } else if (change.kill_capability && (record.flags & kInodeHasXattr) != 0) {
    // Seldom there: a look is cheaper than a deletion with each write.
    const std::string key = XattrKey(inode.id, kCapabilityXattr);
    TRY_ASSIGN(const std::optional<std::string> value, core.store->Get(key));
    if (value) transaction.batch().Delete(key);
  }
  if (change.edit) change.edit(record);
  if (change.amend) TRY(change.amend(record, transaction));
  if (change.finish)
    change.finish(transaction);
  else
    transaction.PutInode(inode.id, record);
  if (change.allocation != nullptr) change.allocation->Keep(change.allocation->used_bytes());
  TRY(core.committer->Apply(std::move(transaction)));
  inode.extents.Apply(extents);
  inode.record = std::move(record);
  return OkStatus();
}

void CountAllocated(InodeRecord& record, uint64_t more_bytes, uint64_t less_bytes) {
  constexpr uint64_t kMax = RoundDown(INT64_MAX, kBlockBytes);
  const uint64_t sum = std::min(record.allocated_bytes + more_bytes, kMax);
  record.allocated_bytes = std::max(sum, less_bytes) - less_bytes;
}

void KillPrivileges(InodeId inode, InodeRecord& record, Batch& batch) {
  record.mode &= ~uint32_t{S_ISUID};
  // Without execute permission for the group the bit once meant mandatory locks.
  if ((record.mode & S_IXGRP) != 0) record.mode &= ~uint32_t{S_ISGID};
  if ((record.flags & kInodeHasXattr) != 0) batch.Delete(XattrKey(inode, kCapabilityXattr));
}

uint64_t BatchBytesMax(size_t extent_count, uint64_t data_bytes) {
  uint64_t checksum_count = 0;
  if (data_bytes > 0) {
    // Each run of blocks touches a chunk more than it fills.
    const uint64_t block_count = data_bytes / kBlockBytes + 2;
    checksum_count = std::min(block_count,
                              data_bytes / kChecksumChunkBytes + 1 + extent_count);
    extent_count = std::min<uint64_t>(extent_count, block_count + 2);
  }
  return kInodeRecordBytes + extent_count * kExtentRecordBytes +
         checksum_count * kChecksumRecordBytes;
}

}  // namespace cofs
