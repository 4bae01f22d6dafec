// CopyRange::Dedupe: files that hold the same bytes come to share them.
#include <algorithm>
#include <cstring>

#include "base/aligned_buffer.h"
#include "base/crc32c.h"
#include "fs/core/block_checksums.h"
#include "fs/core/clone_batch.h"
#include "fs/core/copy_range.h"
#include "fs/core/copy_range_checks.h"
#include "fs/core/mapping_change.h"
#include "fs/core/verified_read.h"

namespace cofs {
namespace {

// Compared, and locked, at a time.
constexpr uint64_t kDedupeWindowBytes = 4 << 20;
// Whose checksums are compared at a time.
constexpr uint64_t kDedupeSumsBytes = 64 << 20;

uint32_t ZeroBlockCrc() {
  static const uint32_t crc = [] {
    const std::vector<char> zeros(kBlockBytes);
    return Crc32c(zeros.data(), zeros.size());
  }();
  return crc;
}

// Whether two ranges map the same blocks everywhere, or nothing.
bool IsSameMapping(std::span<const Extent> a, FileOffset a_begin, std::span<const Extent> b,
                   FileOffset b_begin) {
  // Pieces may be cut differently: compare stretches.
  size_t i = 0, j = 0;
  uint64_t a_done = 0, b_done = 0;  // of a[i] and b[j]
  while (i < a.size() && j < b.size()) {
    if (a[i].unwritten() != b[j].unwritten() || a[i].file_offset + a_done - a_begin !=
                                                    b[j].file_offset + b_done - b_begin)
      return false;
    if (a[i].device_offset + a_done != b[j].device_offset + b_done) return false;
    const uint64_t step = std::min(a[i].length_bytes - a_done, b[j].length_bytes - b_done);
    a_done += step;
    b_done += step;
    if (a_done == a[i].length_bytes) a_done = 0, ++i;
    if (b_done == b[j].length_bytes) b_done = 0, ++j;
  }
  return i == a.size() && j == b.size();
}

class Deduper {
 public:
  Deduper(Core& core, const CopyRangeRequest& request)
      : core_(core), request_(request), source_(*request.source),
        destination_(*request.destination) {}

  Result<DedupeResult> Run();

 private:
  // One side of a window.
  struct Side {
    Inode& inode;
    FileOffset begin, end;
    std::vector<Extent> extents = {};  // clipped
  };

  Result<uint64_t> CheckedLength() const;
  Status Look(Side& side) EXCLUDES(side.inode.mutex);
  // Whether the checksums of all blocks agree. What is compared stays as it is.
  Result<bool> HaveSameSums(const Side& a, const Side& b);
  Result<std::vector<uint32_t>> SumsOf(const Side& side);
  Result<bool> HaveSameBytes(const Side& a, const Side& b);
  Status ReadSide(const Side& side, AlignedBuffer& buffer);
  // False: they differ. At most kDedupeWindowBytes, block-aligned.
  Result<bool> DedupeWindow(uint64_t at, uint64_t length_bytes);

  Core& core_;
  const CopyRangeRequest& request_;
  Inode& source_;
  Inode& destination_;
  AlignedBuffer source_bytes_, destination_bytes_;
};

// In whole blocks; the last may lie behind the ends of both files in part.
Result<uint64_t> Deduper::CheckedLength() const {
  uint64_t sizes[2];
  Inode* const inodes[2] = {&source_, &destination_};
  for (int i = 0; i < 2; ++i) {
    SharedLock lock(inodes[i]->mutex);
    sizes[i] = inodes[i]->record.size_bytes;
  }
  const uint64_t from = request_.source_offset.value();
  const uint64_t to = request_.destination_offset.value();
  const uint64_t length = request_.length_bytes;
  if (!IsBlockAligned(from) || !IsBlockAligned(to))
    return Error(ErrorCode::kInvalidArgument, "dedupe of a part of a block");
  if (from >= sizes[0] || length > sizes[0] - from || to >= sizes[1] ||
      length > sizes[1] - to)
    return Error(ErrorCode::kInvalidArgument, "dedupe past the end");
  const bool to_both_ends = from + length == sizes[0] && to + length == sizes[1];
  const uint64_t blocks =
      to_both_ends ? RoundUp(length, kBlockBytes) : RoundDown(length, kBlockBytes);
  if (&source_ == &destination_ &&
      Overlap(request_.source_offset, request_.destination_offset, blocks))
    return Error(ErrorCode::kInvalidArgument, "dedupe of a range with itself");
  return blocks;
}

Status Deduper::Look(Side& side) {
  SharedLock lock(side.inode.mutex);
  TRY_ASSIGN(const ExtentCache::Found found,
             FindExtents(core_, side.inode, side.begin, side.end, SIZE_MAX, false));
  side.extents.clear();
  for (const Extent& extent : found.extents)
    if (const Extent piece = Clip(extent, side.begin, side.end); piece.length_bytes > 0)
      side.extents.push_back(piece);
  return OkStatus();
}

Result<std::vector<uint32_t>> Deduper::SumsOf(const Side& side) {
  std::vector<uint32_t> sums((side.end - side.begin) / kBlockBytes, ZeroBlockCrc());
  ChecksumReader checksums(*core_.store);
  std::vector<uint32_t> of_extent;
  for (const Extent& extent : side.extents) {
    if (extent.unwritten()) continue;
    of_extent.clear();
    TRY(checksums.Append({extent.device_offset, extent.length_bytes}, of_extent));
    std::ranges::copy(of_extent, sums.begin() + static_cast<std::ptrdiff_t>(
                                                    (extent.file_offset - side.begin) /
                                                    kBlockBytes));
  }
  return sums;
}

Result<bool> Deduper::HaveSameSums(const Side& a, const Side& b) {
  if (IsSameMapping(a.extents, a.begin, b.extents, b.begin)) return true;
  TRY_ASSIGN(const std::vector<uint32_t> sums_a, SumsOf(a));
  TRY_ASSIGN(const std::vector<uint32_t> sums_b, SumsOf(b));
  return sums_a == sums_b;
}

Status Deduper::ReadSide(const Side& side, AlignedBuffer& buffer) {
  const uint64_t length = side.end - side.begin;
  if (buffer.size_bytes() < length) buffer = AlignedBuffer(length);
  std::memset(buffer.data(), 0, length);
  std::vector<BlockRead> reads;
  for (const Extent& extent : side.extents)
    if (!extent.unwritten())
      reads.push_back({extent.device_offset, extent.length_bytes,
                       buffer.data() + (extent.file_offset - side.begin),
                       extent.file_offset});
  return ReadVerified(core_, side.inode.id, reads);
}

Result<bool> Deduper::HaveSameBytes(const Side& a, const Side& b) {
  TRY(ReadSide(a, source_bytes_));
  TRY(ReadSide(b, destination_bytes_));
  return std::memcmp(source_bytes_.data(), destination_bytes_.data(), a.end - a.begin) == 0;
}

Result<bool> Deduper::DedupeWindow(uint64_t at, uint64_t length_bytes) {
  Side from{source_, request_.source_offset + at, request_.source_offset + at + length_bytes};
  Side to{destination_, request_.destination_offset + at,
          request_.destination_offset + at + length_bytes};
  // From the comparison through the batch nobody changes what either file maps here.
  const RangePairHold hold({source_, from.begin, from.end}, {destination_, to.begin, to.end});
  TRY(CheckedLength());
  TRY(Look(from));
  TRY(Look(to));
  if (IsSameMapping(from.extents, from.begin, to.extents, to.begin)) return true;
  TRY_ASSIGN(const bool same_sums, HaveSameSums(from, to));
  if (!same_sums) return false;
  TRY_ASSIGN(const bool same_bytes, HaveSameBytes(from, to));
  if (!same_bytes) return false;
  for (FileOffset done = from.begin; done < from.end;) {
    const FileOffset place = to.begin + (done - from.begin);
    TRY_ASSIGN(const uint64_t batch_bytes,
               CloneBatchBytesMax(core_, source_, done, from.end, destination_, place));
    TRY(core_.store->AdmitGrowth(batch_bytes));
    CloneBatch batch(core_, source_, destination_);
    TRY_ASSIGN(done, batch.Share({.from = done,
                                  .end = from.end,
                                  .to = place,
                                  .keep_times = true}));
  }
  return true;
}

Result<DedupeResult> Deduper::Run() {
  DedupeResult result;
  TRY_ASSIGN(const uint64_t length_bytes, CheckedLength());
  const auto interrupted = [&] { return request_.interrupted && request_.interrupted(); };
  // What differs is found by the checksums alone, before anything has changed.
  for (uint64_t at = 0; at < length_bytes; at += kDedupeSumsBytes) {
    if (interrupted()) return Error(ErrorCode::kInterrupted, "dedupe");
    const uint64_t step = std::min(kDedupeSumsBytes, length_bytes - at);
    Side from{source_, request_.source_offset + at, request_.source_offset + at + step};
    Side to{destination_, request_.destination_offset + at,
            request_.destination_offset + at + step};
    const Space::ReadSection reading = core_.space->EnterRead();
    TRY(Look(from));
    TRY(Look(to));
    TRY_ASSIGN(const bool same_sums, HaveSameSums(from, to));
    if (!same_sums) return DedupeResult{.deduped_bytes = 0, .differs = true};
  }
  while (result.deduped_bytes < length_bytes) {
    const bool is_first = result.deduped_bytes == 0;
    if (interrupted()) {
      if (is_first) return Error(ErrorCode::kInterrupted, "dedupe");
      break;
    }
    const uint64_t step = std::min(kDedupeWindowBytes, length_bytes - result.deduped_bytes);
    const Result<bool> same = DedupeWindow(result.deduped_bytes, step);
    if (!same.ok() && is_first) return same.error();
    if (same.ok() && !*same) result.differs = is_first;
    if (!same.ok() || !*same) break;
    result.deduped_bytes += step;
  }
  // A last block that lies behind the end in part counts as what was asked.
  result.deduped_bytes = std::min(result.deduped_bytes, request_.length_bytes);
  return result;
}

}  // namespace

Result<DedupeResult> CopyRange::Dedupe(const CopyRangeRequest& request) {
  TRY(CheckCopyFiles(core_, *request.source, *request.destination));
  TRY_ASSIGN(const DedupeResult result, Deduper(core_, request).Run());
  core_.counters.deduped_bytes.fetch_add(result.deduped_bytes, std::memory_order_relaxed);
  TRY(core_.committer->CommitIfSync());
  return result;
}

}  // namespace cofs
