#include "fs/core/clone_batch.h"

#include <algorithm>

#include "fs/core/mapping_change.h"
#include "fs/core/shared_blocks.h"

namespace cofs {
namespace {

constexpr size_t kCloneExtentCountMax = 1024;

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

// An upper bound of the records that the next batch may change.
Result<size_t> CountRecords(const Core& core, Inode& inode, FileOffset begin, FileOffset end)
    EXCLUDES(inode.mutex) {
  SharedLock lock(inode.mutex);
  TRY_ASSIGN(const ExtentCache::Found found,
             FindExtents(core, inode, begin, end, kCloneExtentCountMax, false));
  return found.extents.size();
}

}  // namespace

RangePairHold::RangePairHold(const Range& source, const Range& destination) {
  const auto range = [](const Range& r) { return LockedRange{r.begin.value(), r.end.value()}; };
  if (&source.inode == &destination.inode) {
    first_ = source.inode.data_lock.AcquireAll(std::vector{range(source), range(destination)});
    return;
  }
  const bool source_first = source.inode.id < destination.inode.id;
  const Range& a = source_first ? source : destination;
  const Range& b = source_first ? destination : source;
  first_ = a.inode.data_lock.Acquire(a.begin.value(), a.end.value());
  second_ = b.inode.data_lock.Acquire(b.begin.value(), b.end.value());
}

ExtentChange CloneBatch::MarkShared(std::span<const Extent> extents) {
  ExtentChange change;
  for (Extent extent : extents) {
    if (extent.unwritten() || extent.shared()) continue;
    extent.flags |= kExtentShared;
    change.written.push_back(extent);
  }
  return change;
}

Result<FileOffset> CloneBatch::Share(const Request& request) {
  const FileOffset from = request.from, to = request.to;
  TRY_ASSIGN(const ExtentCache::Found source,
             FindExtents(core_, source_, from, request.end, kCloneExtentCountMax,
                         /*neighbours=*/false));
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
  CountAllocated(record, more, MappedBytes(old.extents, to, to_end));
  record.size_bytes = std::max(record.size_bytes, std::min(to_end.value(), request.size_bytes));
  if (!request.keep_times) record.mtime = record.ctime = Now();
  if (request.kill_privileges) KillPrivileges(destination_.id, record, transaction.batch());
  transaction.PutInode(destination_.id, record);
  TRY(core_.committer->Apply(std::move(transaction)));
  source_.extents.Apply(marked);
  destination_.extents.Apply(change);
  destination_.record = std::move(record);
  shared_bytes_ += more;
  return done;
}

Result<uint64_t> CloneBatchBytesMax(const Core& core, Inode& source, FileOffset from,
                                    FileOffset end, Inode& destination, FileOffset to) {
  TRY_ASSIGN(const size_t source_count, CountRecords(core, source, from, end));
  TRY_ASSIGN(const size_t old_count,
             CountRecords(core, destination, to, to + (end - from)));
  // Marked, shared, mapped; dropped in up to as many pieces.
  return BatchBytesMax(4 * (source_count + old_count + 2), 0);
}

}  // namespace cofs
