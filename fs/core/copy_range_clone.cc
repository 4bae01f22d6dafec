// CopyRange::Clone: copies that share blocks.
#include "fs/core/clone_batch.h"
#include "fs/core/copy_range.h"
#include "fs/core/copy_range_checks.h"

namespace cofs {
namespace {

// The data_locks of both ranges.
RangePairHold LockBoth(const CopyRangeRequest& request) {
  const auto end = [&](FileOffset begin) {
    return FileOffset{request.length_bytes == 0
                          ? UINT64_MAX
                          : RoundUp(begin.value() + request.length_bytes, kBlockBytes)};
  };
  const FileOffset from = request.source_offset, to = request.destination_offset;
  return RangePairHold({*request.source, from, end(from)},
                       {*request.destination, to, end(to)});
}

// What can be told without a look at the files.
Status CheckPlaces(const CopyRangeRequest& request) {
  if (!IsBlockAligned(request.source_offset.value()) ||
      !IsBlockAligned(request.destination_offset.value()))
    return Error(ErrorCode::kInvalidArgument, "clone of a part of a block");
  if (request.source_offset.value() > kFileBytesMax ||
      request.length_bytes > kFileBytesMax - request.source_offset.value())
    return Error(ErrorCode::kInvalidArgument, "clone past the end");
  if (request.destination_offset.value() > kFileBytesMax ||
      request.length_bytes > kFileBytesMax - request.destination_offset.value())
    return Error(ErrorCode::kFileTooLarge, "clone");
  return OkStatus();
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

Status CopyRange::CheckClone(const CopyRangeRequest& request) {
  TRY(CheckCopyFiles(core_, *request.source, *request.destination));
  TRY(CheckPlaces(request));
  TRY(CheckedLength(request));
  return OkStatus();
}

Status CopyRange::Clone(const CopyRangeRequest& request) {
  TRY(CheckCopyFiles(core_, *request.source, *request.destination));
  TRY(CheckPlaces(request));
  {
    const RangePairHold holds = LockBoth(request);
    TRY_ASSIGN(const uint64_t length_bytes, CheckedLength(request));
    const FileOffset end{RoundUp(request.source_offset.value() + length_bytes, kBlockBytes)};
    const uint64_t size_bytes = request.destination_offset.value() + length_bytes;
    for (FileOffset from = request.source_offset; from < end;) {
      if (from > request.source_offset && request.interrupted && request.interrupted())
        return Error(ErrorCode::kInterrupted, "clone");
      const FileOffset to = request.destination_offset + (from - request.source_offset);
      TRY_ASSIGN(const uint64_t batch_bytes,
                 CloneBatchBytesMax(core_, *request.source, from, end,
                                    *request.destination, to));
      TRY(core_.store->AdmitGrowth(batch_bytes));
      const FileOffset begin = from;
      CloneBatch batch(core_, *request.source, *request.destination);
      TRY_ASSIGN(from, batch.Share({.from = from,
                                    .end = end,
                                    .to = to,
                                    .size_bytes = size_bytes,
                                    .kill_privileges = request.kill_privileges}));
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
