// FileData: reading and mapping.
#include "fs/core/file_data.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "fs/core/mapping_change.h"
#include "fs/core/verified_read.h"

namespace cofs {
namespace {

constexpr size_t kSeekExtentCount = 512;

// What a read takes from the device, and what it fills with zeros.
struct ReadPlan {
  std::vector<BlockRead> reads;
  // [first, last) of the span.
  std::vector<std::pair<uint64_t, uint64_t>> zeros;
};

ReadPlan PlanRead(std::span<const Extent> extents, FileOffset begin, FileOffset end,
                  char* memory) {
  ReadPlan plan;
  FileOffset done = begin;
  const auto add_zeros = [&](FileOffset to) {
    if (done < to) plan.zeros.push_back({done - begin, to - begin});
  };
  for (const Extent& extent : extents) {
    if (extent.unwritten()) continue;
    const Extent piece = Clip(extent, begin, end);
    if (piece.length_bytes == 0) continue;
    add_zeros(piece.file_offset);
    plan.reads.push_back({piece.device_offset, piece.length_bytes,
                          memory + (piece.file_offset - begin), piece.file_offset});
    done = piece.file_end();
  }
  add_zeros(end);
  return plan;
}

}  // namespace

Result<std::span<const char>> FileData::Read(const InodeRef& inode, FileOffset offset,
                                             uint64_t length_bytes, AlignedBuffer& buffer) {
  const Space::ReadSection reading = core_.space->EnterRead();
  const FileOffset begin{RoundDown(offset.value(), kBlockBytes)};
  FileOffset end;
  std::vector<Extent> extents;
  {
    SharedLock lock(inode->mutex);
    const uint64_t size_bytes = inode->record.size_bytes;
    if (offset.value() >= size_bytes || length_bytes == 0) return std::span<const char>{};
    length_bytes = std::min(length_bytes, size_bytes - offset.value());
    end = FileOffset{RoundUp(offset.value() + length_bytes, kBlockBytes)};
    TRY_ASSIGN(ExtentCache::Found found, FindExtents(core_, *inode, begin, end, SIZE_MAX,
                                                     /*with_neighbours=*/false));
    extents = std::move(found.extents);
  }
  if (buffer.size_bytes() < end - begin) buffer = AlignedBuffer(end - begin);
  const ReadPlan plan = PlanRead(extents, begin, end, buffer.data());
  TRY(ReadVerified(core_, inode->id, plan.reads));
  for (const auto& [from, to] : plan.zeros) std::memset(buffer.data() + from, 0, to - from);
  core_.counters.read_bytes.fetch_add(length_bytes, std::memory_order_relaxed);
  core_.counters.read_count.fetch_add(1, std::memory_order_relaxed);
  return std::span<const char>{buffer.data() + (offset - begin), length_bytes};
}

Result<FileOffset> FileData::Seek(const InodeRef& inode, FileOffset offset, int whence) {
  if (whence != SEEK_DATA && whence != SEEK_HOLE)
    return Error(ErrorCode::kInvalidArgument, "whence");
  FileOffset at = offset;
  for (;;) {
    // The lock is not held over a long list: what changes behind `at` meanwhile is seen
    // or not, as with any seek.
    SharedLock lock(inode->mutex);
    const FileOffset size{inode->record.size_bytes};
    if (at >= size) {
      if (whence == SEEK_HOLE && offset < size) return size;
      return Error(ErrorCode::kSeekPastEnd, StrCat("inode ", inode->id));
    }
    TRY_ASSIGN(const ExtentCache::Found found,
               FindExtents(core_, *inode, at, size, kSeekExtentCount, false));
    for (const Extent& extent : found.extents) {
      if (extent.unwritten()) continue;
      if (whence == SEEK_DATA) return std::max(extent.file_offset, at);
      if (extent.file_offset > at) return at;
      at = extent.file_end();
    }
    if (found.complete_to >= size) {
      if (whence == SEEK_HOLE) return std::min(at, size);
      return Error(ErrorCode::kSeekPastEnd, StrCat("inode ", inode->id));
    }
    // Between the last written extent and complete_to there is no data.
    if (whence == SEEK_HOLE && at < found.complete_to) return at;
    at = found.complete_to;
  }
}

Result<std::vector<Extent>> FileData::Map(const InodeRef& inode, FileOffset begin,
                                          FileOffset end, size_t count_max) {
  if (begin >= end || count_max == 0) return std::vector<Extent>{};
  SharedLock lock(inode->mutex);
  TRY_ASSIGN(ExtentCache::Found found,
             FindExtents(core_, *inode, begin, end, count_max, false));
  return std::move(found.extents);
}

}  // namespace cofs
