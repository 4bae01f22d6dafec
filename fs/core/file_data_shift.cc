// FileData: collapsing and inserting ranges. Extents move to other places of the file; no
// block is read, written or copied, and no checksum changes: these go by place on the
// device. The inode is locked from the first batch to the last: no reader sees what lies
// between them.
#include <algorithm>
#include <vector>

#include "fs/core/file_data.h"
#include "fs/core/mapping_change.h"

namespace cofs {
namespace {

// Of one batch: the record of each is erased and written.
constexpr size_t kMovedExtentCountMax = kBatchExtentCountMax / 2;

void Touch(InodeRecord& record) { record.mtime = record.ctime = Now(); }

std::vector<Extent> Pieces(std::span<const Extent> extents, FileOffset begin,
                           FileOffset end) {
  std::vector<Extent> pieces;
  for (const Extent& extent : extents) {
    const Extent piece = Clip(extent, begin, end);
    if (piece.length_bytes > 0) pieces.push_back(piece);
  }
  return pieces;
}

// What lies behind `begin`.
struct Behind {
  uint64_t extent_count = 0;
  FileOffset mapped_end, written_end;  // of the last extents, or `begin`
};
Result<Behind> LookBehind(const Core& core, Inode& inode, FileOffset begin)
    EXCLUDES(inode.mutex) {
  Behind behind{.mapped_end = begin, .written_end = begin};
  for (FileOffset at = begin; at < kLastFileOffset;) {
    SharedLock lock(inode.mutex);
    TRY_ASSIGN(const ExtentCache::Found found,
               FindExtents(core, inode, at, kLastFileOffset, kBatchExtentCountMax, false));
    for (const Extent& extent : found.extents) {
      behind.mapped_end = extent.file_end();
      if (!extent.unwritten()) behind.written_end = extent.file_end();
    }
    behind.extent_count += found.extents.size();
    at = found.complete_to;
  }
  return behind;
}

// Frees [begin, end) from the front until one batch can drop the rest beside what it moves.
Status DropToOneBatch(Core& core, Inode& inode, FileOffset begin, FileOffset end)
    REQUIRES(inode.mutex) {
  for (FileOffset at = begin;;) {
    TRY_ASSIGN(const ExtentCache::Found found,
               FindExtents(core, inode, at, end, kMovedExtentCountMax, false));
    if (found.complete_to >= end) return OkStatus();
    TRY(ApplyMapping(core, inode, {.begin = at, .end = found.complete_to, .edit = Touch}));
    at = found.complete_to;
  }
}

}  // namespace

Status FileData::Collapse(Inode& inode, FileOffset begin, uint64_t length_bytes) {
  {
    SharedLock lock(inode.mutex);
    if ((begin + length_bytes).value() >= inode.record.size_bytes)
      return Error(ErrorCode::kInvalidArgument, "a collapse that reaches the end");
  }
  TRY_ASSIGN(const Behind behind, LookBehind(core_, inode, begin));
  TRY(core_.store->AdmitGrowth(BatchBytesMax(2 * behind.extent_count + 4, 0)));
  ExclusiveLock lock(inode.mutex);
  TRY(DropToOneBatch(core_, inode, begin, begin + length_bytes));
  // From the front on: between what has been moved and what has not there is a hole of
  // length_bytes, but for the first batch, which drops what is left there.
  for (FileOffset to = begin;;) {
    const FileOffset from = to + length_bytes;
    TRY_ASSIGN(const ExtentCache::Found gap,
               FindExtents(core_, inode, to, from, SIZE_MAX, false));
    const std::vector<Extent> dropped = Pieces(gap.extents, to, from);
    TRY_ASSIGN(const ExtentCache::Found found,
               FindExtents(core_, inode, from, kLastFileOffset, kMovedExtentCountMax, false));
    const FileOffset end = std::min(found.complete_to, kLastFileOffset);
    const bool is_last = end == kLastFileOffset;
    std::vector<Extent> moved = Pieces(found.extents, from, end);
    for (Extent& extent : moved) extent.file_offset = extent.file_offset - length_bytes;
    TRY(ApplyMapping(core_, inode,
                     {.begin = to,
                      .end = end,
                      .replacement = moved,
                      .dropped = &dropped,
                      .edit = [&](InodeRecord& record) {
                        if (is_last) record.size_bytes -= length_bytes;
                        Touch(record);
                      }}));
    if (is_last) return OkStatus();
    to = end - length_bytes;
  }
}

Status FileData::Insert(Inode& inode, FileOffset begin, uint64_t length_bytes,
                        bool has_grown) {
  uint64_t old_size_bytes = 0;
  {
    SharedLock lock(inode.mutex);
    old_size_bytes = inode.record.size_bytes;
  }
  if (has_grown) old_size_bytes -= std::min(old_size_bytes, length_bytes);
  if (begin.value() >= old_size_bytes)
    return Error(ErrorCode::kInvalidArgument, "an insert at or behind the end");
  TRY_ASSIGN(const Behind behind, LookBehind(core_, inode, begin));
  if (has_grown && behind.written_end.value() > RoundUp(old_size_bytes, kBlockBytes))
    return Error(ErrorCode::kInvalidArgument, "the end of the file holds data");
  if (length_bytes > kFileBytesMax - std::max(old_size_bytes, behind.mapped_end.value()))
    return Error(ErrorCode::kFileTooLarge, StrCat("inode ", inode.id));
  TRY(core_.store->AdmitGrowth(BatchBytesMax(2 * behind.extent_count + 4, 0)));
  const std::vector<Extent> nothing;
  ExclusiveLock lock(inode.mutex);
  // From the end on: the file has its new size with the first batch.
  for (FileOffset end = kLastFileOffset;;) {
    TRY_ASSIGN(const std::optional<FileOffset> cut, FindCut(core_, inode, begin, end));
    const FileOffset from = cut.value_or(begin);
    TRY_ASSIGN(const ExtentCache::Found found,
               FindExtents(core_, inode, from, end, SIZE_MAX, false));
    std::vector<Extent> moved = Pieces(found.extents, from, end);
    const bool is_first = end == kLastFileOffset;
    for (Extent& extent : moved) extent.file_offset += length_bytes;
    TRY(ApplyMapping(core_, inode,
                     {.begin = from,
                      .end = is_first ? end : end + length_bytes,
                      .replacement = moved,
                      .dropped = &nothing,
                      .edit = [&](InodeRecord& record) {
                        if (is_first && !has_grown) record.size_bytes += length_bytes;
                        Touch(record);
                      }}));
    if (!cut) return OkStatus();
    end = from;
  }
}

}  // namespace cofs
