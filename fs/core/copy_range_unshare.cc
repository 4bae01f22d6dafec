// CopyRange::Unshare: shared blocks of a file are copied to blocks of its own.
#include <algorithm>

#include "base/crc32c.h"
#include "fs/core/block_checksums.h"
#include "fs/core/block_writer.h"
#include "fs/core/copy_range.h"
#include "fs/core/copy_range_checks.h"
#include "fs/core/mapping_change.h"
#include "fs/core/shared_blocks.h"

namespace cofs {
namespace {

// One step: one batch, and the time that the range is locked.
constexpr uint64_t kUnshareBytesMax = 64 << 20;
constexpr size_t kUnshareExtentCountMax = kBatchExtentCountMax / 2;

class Unsharer {
 public:
  Unsharer(Core& core, Inode& inode, const std::function<bool()>& interrupted)
      : core_(core), inode_(inode), interrupted_(interrupted) {}

  // [at, end) or a front part of it; answers how far.
  Result<FileOffset> Step(FileOffset at, FileOffset end);
  uint64_t unshared_bytes() const { return unshared_bytes_; }

 private:
  // What the file maps, from the first to the last extent that is marked as shared.
  struct Stretch {
    FileOffset begin, end;
    std::vector<Extent> extents;  // clipped; the mark is gone where nobody shares
    uint64_t shared_bytes = 0;
    FileOffset looked_to;
  };
  // What becomes of it.
  struct Copied {
    std::vector<Extent> extents;
    std::vector<uint32_t> crcs;
    std::vector<CopyPiece> pieces;
    Allocation allocation;
  };

  Result<Stretch> Look(FileOffset at, FileOffset end) EXCLUDES(inode_.mutex);
  Result<Copied> Prepare(const Stretch& stretch) EXCLUDES(inode_.mutex);
  Status CopyByEngine(const Copied& copied, CopyPolicy policy);

  Core& core_;
  Inode& inode_;
  const std::function<bool()>& interrupted_;
  uint64_t unshared_bytes_ = 0;
};

Result<Unsharer::Stretch> Unsharer::Look(FileOffset at, FileOffset end) {
  Stretch stretch;
  std::vector<Extent> found_extents;
  {
    SharedLock lock(inode_.mutex);
    TRY_ASSIGN(ExtentCache::Found found,
               FindExtents(core_, inode_, at, end, kUnshareExtentCountMax, false));
    stretch.looked_to = std::min(end, found.complete_to);
    found_extents = std::move(found.extents);
  }
  size_t count = 0;  // up to the last one that is marked
  for (const Extent& extent : found_extents) {
    const Extent piece = Clip(extent, at, stretch.looked_to);
    if (piece.length_bytes == 0) continue;
    if (!piece.shared() || piece.unwritten()) {
      if (count > 0) stretch.extents.push_back(piece);
      continue;
    }
    // The mark is a hint. Whoever wants to share these blocks anew has to come through
    // this file, whose range is locked.
    TRY_ASSIGN(const uint64_t shared_bytes,
               core_.shared_blocks->SplitBySharing(piece, SIZE_MAX, stretch.extents));
    stretch.shared_bytes += shared_bytes;
    count = stretch.extents.size();
  }
  stretch.extents.resize(count);
  if (count > 0) {
    stretch.begin = stretch.extents.front().file_offset;
    stretch.end = stretch.extents.back().file_end();
  }
  return stretch;
}

Result<Unsharer::Copied> Unsharer::Prepare(const Stretch& stretch) {
  Copied copied;
  std::optional<DeviceOffset> goal;
  {
    SharedLock lock(inode_.mutex);
    goal = GoalFor(inode_, stretch.extents, stretch.begin);
  }
  TRY_ASSIGN(copied.allocation, Allocation::Take(*core_.space, stretch.shared_bytes, goal,
                                                 SpacePurpose::kGrowth));
  copied.crcs.resize((stretch.end - stretch.begin) / kBlockBytes);
  ChecksumReader checksums(*core_.store);
  std::vector<uint32_t> crcs;
  for (const Extent& extent : stretch.extents) {
    if (!extent.unwritten()) {
      crcs.clear();
      TRY(checksums.Append({extent.device_offset, extent.length_bytes}, crcs));
      std::ranges::copy(crcs, copied.crcs.begin() + static_cast<std::ptrdiff_t>(
                                                        (extent.file_offset - stretch.begin) /
                                                        kBlockBytes));
    }
    if (!extent.shared() || extent.unwritten()) {
      copied.extents.push_back(extent);
      continue;
    }
    for (uint64_t at = 0; at < extent.length_bytes;) {
      const DeviceRange run = copied.allocation.Next(extent.length_bytes - at);
      copied.extents.push_back({extent.file_offset + at, run.offset, run.length_bytes, 0});
      copied.pieces.push_back({extent.device_offset + at, run.offset, run.length_bytes});
      at += run.length_bytes;
    }
  }
  return copied;
}

Status Unsharer::CopyByEngine(const Copied& copied, CopyPolicy policy) {
  ChecksumReader checksums(*core_.store);
  CopyRequest request;
  request.pieces = copied.pieces;
  request.policy = policy;
  request.verify = core_.options.verify_copy.get();
  request.interrupted = interrupted_;
  request.check_source = [&](DeviceOffset source, std::span<const char> data) -> Status {
    for (uint64_t at = 0; at < data.size(); at += kBlockBytes) {
      TRY_ASSIGN(const uint32_t crc, checksums.Get(source + at));
      if (Crc32c(data.data() + at, kBlockBytes) != crc)
        return Error(ErrorCode::kChecksum, StrCat("unsharing the block at ", source + at));
    }
    return OkStatus();
  };
  TRY_ASSIGN(const CopyReport report, core_.copies->Copy(request));
  uint64_t wanted_bytes = 0;
  for (const CopyPiece& piece : copied.pieces) wanted_bytes += piece.length_bytes;
  if (report.completed_bytes < wanted_bytes)
    return Error(ErrorCode::kInterrupted, "unsharing");
  return OkStatus();
}

Result<FileOffset> Unsharer::Step(FileOffset at, FileOffset end) {
  end = std::min(end, at + kUnshareBytesMax);
  const auto hold = inode_.data_lock.Acquire(at.value(), end.value());
  TRY_ASSIGN(const Stretch stretch, Look(at, end));
  if (stretch.extents.empty()) return stretch.looked_to;
  CopyPolicy policy = CopyPolicy::kAuto;
  for (;;) {
    TRY_ASSIGN(Copied copied, Prepare(stretch));
    if (!copied.pieces.empty()) {
      const Status done = CopyByEngine(copied, policy);
      // What lies below the volume has changed meanwhile, or a command may still run: to
      // fresh blocks, through memory.
      if (done.Is(ErrorCode::kRetry) || done.Is(ErrorCode::kTimedOut)) {
        copied.allocation.Abandon();
        if (policy == CopyPolicy::kAuto) {
          policy = CopyPolicy::kBuffered;
          continue;
        }
      }
      if (!done.ok()) return done.error().Within(StrCat("inode ", inode_.id));
    }
    TRY(core_.store->AdmitGrowth(
        BatchBytesMax(2 * copied.extents.size() + 2, stretch.end - stretch.begin)));
    ExclusiveLock lock(inode_.mutex);
    TRY(ApplyMapping(core_, inode_,
                     {.begin = stretch.begin,
                      .end = stretch.end,
                      .replacement = copied.extents,
                      .crcs = copied.crcs,
                      .allocation = &copied.allocation,
                      .edit = [](InodeRecord& record) { record.ctime = Now(); }}));
    unshared_bytes_ += stretch.shared_bytes;
    return stretch.looked_to;
  }
}

}  // namespace

Status CopyRange::Unshare(const InodeRef& file, FileOffset offset, uint64_t length_bytes,
                          const std::function<bool()>& interrupted) {
  TRY(CheckCopyFiles(core_, *file, *file));
  if (length_bytes == 0) return Error(ErrorCode::kInvalidArgument, "length 0");
  if (length_bytes > kFileBytesMax || offset.value() > kFileBytesMax - length_bytes)
    return Error(ErrorCode::kFileTooLarge, StrCat("inode ", file->id));
  FileOffset end{RoundUp(offset.value() + length_bytes, kBlockBytes)};
  {
    SharedLock lock(file->mutex);
    end = std::min(end, FileOffset{RoundUp(file->record.size_bytes, kBlockBytes)});
  }
  Unsharer unsharer(core_, *file, interrupted);
  Status status = OkStatus();
  for (FileOffset at{RoundDown(offset.value(), kBlockBytes)}; at < end && status.ok();) {
    const Result<FileOffset> done = unsharer.Step(at, end);
    if (!done.ok()) {
      status = done.error();
      break;
    }
    at = *done;
    if (at < end && interrupted && interrupted())
      status = Error(ErrorCode::kInterrupted, "unsharing");
  }
  core_.counters.unshared_bytes.fetch_add(unsharer.unshared_bytes(),
                                          std::memory_order_relaxed);
  TRY(std::move(status));
  return core_.committer->CommitIfSync();
}

}  // namespace cofs
