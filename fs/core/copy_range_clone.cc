// CopyRange::Clone: copies that share blocks.
#include <algorithm>

#include "fs/core/copy_range.h"
#include "fs/core/copy_range_checks.h"
#include "fs/core/inode_locks.h"
#include "fs/core/mapping_change.h"
#include "fs/core/shared_blocks.h"

namespace cofs {
namespace {

constexpr size_t kCloneExtentCountMax = 1024;

// The data_locks of both ranges, in the order of the inodes' numbers.
struct BothHolds {
  RangeLock::Hold first, second;
};

BothHolds LockBoth(const CopyRangeRequest& request) {
  const auto range = [&](FileOffset begin) {
    return LockedRange{begin.value(),
                       request.length_bytes == 0
                           ? UINT64_MAX
                           : RoundUp(begin.value() + request.length_bytes, kBlockBytes)};
  };
  const LockedRange source = range(request.source_offset);
  const LockedRange destination = range(request.destination_offset);
  BothHolds holds;
  if (request.source == request.destination) {
    holds.first = request.source->data_lock.AcquireAll(std::vector{source, destination});
  } else if (request.source->id < request.destination->id) {
    holds.first = request.source->data_lock.Acquire(source.begin, source.end);
    holds.second =
        request.destination->data_lock.Acquire(destination.begin, destination.end);
  } else {
    holds.first =
        request.destination->data_lock.Acquire(destination.begin, destination.end);
    holds.second = request.source->data_lock.Acquire(source.begin, source.end);
  }
  return holds;
}

// The number of bytes to share, once both ranges are locked.
Result<uint64_t> CheckedLength(const CopyRangeRequest& request) {
  uint64_t source_size = 0;
  uint64_t destination_size = 0;
  {
    SharedLock lock(request.source->mutex);
    source_size = request.source->record.size_bytes;
  }
  {
    SharedLock lock(request.destination->mutex);
    destination_size = request.destination->record.size_bytes;
  }
  const uint64_t from = request.source_offset.value();
  const uint64_t to = request.destination_offset.value();
  if (from > source_size) return Error(ErrorCode::kInvalidArgument, "clone past the end");
  const uint64_t length = request.length_bytes == 0 ? source_size - from
                                                    : request.length_bytes;
  if (length > source_size - from)
    return Error(ErrorCode::kInvalidArgument, "clone past the end");
  if (to > kFileBytesMax || length > kFileBytesMax - to)
    return Error(ErrorCode::kFileTooLarge, "clone");
  // A part of a block is shared only as the last block of both files.
  if (!IsBlockAligned(length) && (from + length < source_size || to + length < destination_size))
    return Error(ErrorCode::kInvalidArgument, "clone of a part of a block");
  if (request.source == request.destination &&
      Overlap(request.source_offset, request.destination_offset,
              RoundUp(length, kBlockBytes)))
    return Error(ErrorCode::kInvalidArgument, "a clone onto itself");
  return length;
}

// An upper bound of the records that the next batch may change.
Result<size_t> CountRecords(const Core& core, Inode& inode, FileOffset begin, FileOffset end)
    EXCLUDES(inode.mutex) {
  SharedLock lock(inode.mutex);
  TRY_ASSIGN(const ExtentCache::Found found,
             FindExtents(core, inode, begin, end, kCloneExtentCountMax, false));
  return found.extents.size();
}

// One batch. Belongs to one thread; holds both inodes' mutexes.
class CloneBatch {
 public:
  CloneBatch(Core& core, Inode& source, Inode& destination)
      : core_(core), source_(source), destination_(destination),
        locks_({&source, &destination}) {}

  // Shares [from, end) to `to`, or a front part of it; answers how far in the source.
  // The destination's size becomes at least that, or `size_bytes` when all is done.
  Result<FileOffset> Share(FileOffset from, FileOffset end, FileOffset to,
                           uint64_t size_bytes, bool kill_privileges)
      NO_THREAD_SAFETY_ANALYSIS;
  // Of what Share() has shared.
  uint64_t shared_bytes() const { return shared_bytes_; }

 private:
  // The source's extents get the hint that they are shared, all of each.
  static ExtentChange MarkShared(std::span<const Extent> extents);

  Core& core_;
  Inode& source_;
  Inode& destination_;
  InodeLocks locks_;
  uint64_t shared_bytes_ = 0;
};

ExtentChange CloneBatch::MarkShared(std::span<const Extent> extents) {
  ExtentChange change;
  for (Extent extent : extents) {
    if (extent.unwritten() || extent.shared()) continue;
    extent.flags |= kExtentShared;
    change.written.push_back(extent);
  }
  return change;
}

// Those of `replacement` that `old` does not map to the same blocks: the new owners.
std::vector<DeviceRange> NewOwners(std::span<const Extent> replacement,
                                   std::span<const Extent> old, FileOffset begin,
                                   FileOffset end) {
  std::vector<Extent> clipped;
  for (const Extent& extent : old)
    if (const Extent piece = Clip(extent, begin, end); piece.length_bytes > 0)
      clipped.push_back(piece);
  std::vector<DeviceRange> owners;
  for (const Extent& piece : ReplaceRange(replacement, begin, end, clipped).dropped)
    owners.push_back({piece.device_offset, piece.length_bytes});
  return owners;
}

Result<FileOffset> CloneBatch::Share(FileOffset from, FileOffset end, FileOffset to,
                                     uint64_t size_bytes, bool kill_privileges) {
  TRY_ASSIGN(const ExtentCache::Found source,
             FindExtents(core_, source_, from, end, kCloneExtentCountMax, false));
  TRY_ASSIGN(ExtentCache::Found old,
             FindExtents(core_, destination_, to, to + (source.complete_to - from),
                         kCloneExtentCountMax, /*neighbours=*/true));
  const FileOffset to_end = old.complete_to;
  const FileOffset done = from + (to_end - to);

  std::vector<Extent> touched, replacement;
  for (const Extent& extent : source.extents) {
    Extent piece = Clip(extent, from, done);
    if (piece.length_bytes == 0 || piece.unwritten()) continue;
    touched.push_back(extent);
    piece.file_offset = to + (piece.file_offset - from);
    piece.flags |= kExtentShared;
    replacement.push_back(piece);
  }
  const ExtentChange marked = MarkShared(touched);
  if (&source_ == &destination_) {
    for (const Extent& extent : marked.written) {
      const auto at =
          std::ranges::lower_bound(old.extents, extent.file_offset, {}, &Extent::file_offset);
      if (at != old.extents.end() && at->file_offset == extent.file_offset) *at = extent;
    }
  }
  const ExtentChange change = ReplaceRange(old.extents, to, to_end, replacement);

  Transaction transaction;
  PutExtents(source_.id, marked, transaction.batch());
  PutExtents(destination_.id, change, transaction.batch());
  TRY_ASSIGN(const SharedBlocks::Locks locks,
             core_.shared_blocks->ShareAndDrop(
                 NewOwners(replacement, old.extents, to, to_end), change.dropped,
                 transaction));
  InodeRecord record = destination_.record;
  const uint64_t more = MappedBytes(replacement, to, to_end);
  const uint64_t less = MappedBytes(old.extents, to, to_end);
  record.allocated_bytes = std::max(record.allocated_bytes + more, less) - less;
  record.size_bytes = std::max(record.size_bytes, std::min(to_end.value(), size_bytes));
  record.mtime = record.ctime = Now();
  if (kill_privileges) KillPrivileges(destination_.id, record, transaction.batch());
  transaction.PutInode(destination_.id, record);
  TRY(core_.committer->Apply(std::move(transaction)));
  source_.extents.Apply(marked);
  destination_.extents.Apply(change);
  destination_.record = std::move(record);
  shared_bytes_ += more;
  return done;
}

}  // namespace

Status CheckCopyFiles(const Core& core, Inode& source, Inode& destination) {
  if (core.committer->read_only()) return Error(ErrorCode::kReadOnly, "copy");
  for (Inode* inode : {&source, &destination}) {
    SharedLock lock(inode->mutex);
    if (inode->is_directory())
      return Error(ErrorCode::kIsDirectory, StrCat("inode ", inode->id));
    if (!inode->is_regular())
      return Error(ErrorCode::kInvalidArgument, StrCat("inode ", inode->id, " is no file"));
    if (inode == &destination && (inode->record.flags & kInodeImmutable) != 0)
      return Error(ErrorCode::kNotPermitted, StrCat("inode ", inode->id));
  }
  return OkStatus();
}

Status CopyRange::Clone(const CopyRangeRequest& request) {
  TRY(CheckCopyFiles(core_, *request.source, *request.destination));
  if (!IsBlockAligned(request.source_offset.value()) ||
      !IsBlockAligned(request.destination_offset.value()))
    return Error(ErrorCode::kInvalidArgument, "clone of a part of a block");
  if (request.source_offset.value() > kFileBytesMax ||
      request.length_bytes > kFileBytesMax - request.source_offset.value())
    return Error(ErrorCode::kInvalidArgument, "clone past the end");
  if (request.destination_offset.value() > kFileBytesMax ||
      request.length_bytes > kFileBytesMax - request.destination_offset.value())
    return Error(ErrorCode::kFileTooLarge, "clone");
  {
    const BothHolds holds = LockBoth(request);
    TRY_ASSIGN(const uint64_t length_bytes, CheckedLength(request));
    const FileOffset end{RoundUp(request.source_offset.value() + length_bytes, kBlockBytes)};
    const uint64_t size_bytes = request.destination_offset.value() + length_bytes;
    for (FileOffset from = request.source_offset; from < end;) {
      const FileOffset to = request.destination_offset + (from - request.source_offset);
      TRY_ASSIGN(const size_t source_count, CountRecords(core_, *request.source, from, end));
      TRY_ASSIGN(const size_t old_count, CountRecords(core_, *request.destination, to,
                                                      to + (end - from)));
      // Marked, shared, mapped; dropped in up to as many pieces.
      TRY(core_.store->AdmitGrowth(BatchBytesMax(4 * (source_count + old_count + 2), 0)));
      CloneBatch batch(core_, *request.source, *request.destination);
      const FileOffset begin = from;
      TRY_ASSIGN(from, batch.Share(from, end, to, size_bytes, request.kill_privileges));
      if (request.report == nullptr) continue;
      request.report->shared_bytes += batch.shared_bytes();
      request.report->hole_bytes += from - begin - batch.shared_bytes();
    }
    core_.counters.cloned_bytes.fetch_add(length_bytes, std::memory_order_relaxed);
    core_.counters.clone_count.fetch_add(1, std::memory_order_relaxed);
  }
  return core_.committer->CommitIfSync();
}

}  // namespace cofs
