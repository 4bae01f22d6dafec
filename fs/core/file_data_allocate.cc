// FileData: fallocate(2): preallocating, punching holes, zeroing ranges.
#include <linux/falloc.h>

#include <algorithm>
#include <array>
#include <optional>

#include "fs/core/block_writer.h"
#include "fs/core/file_data.h"
#include "fs/core/mapping_change.h"

namespace cofs {
namespace {

// A range of whole blocks.
struct Blocks {
  FileOffset begin, end;
  bool empty() const { return begin >= end; }
};

// One call of fallocate, with the file's data_lock held over its blocks.
class RangeChange {
 public:
  RangeChange(Core& core, Inode& inode, FileOffset begin, FileOffset end)
      : core_(core), inode_(inode), begin_(begin), end_(end),
        touched_{FileOffset{RoundDown(begin.value(), kBlockBytes)},
                 FileOffset{RoundUp(end.value(), kBlockBytes)}} {}

  Blocks touched() const { return touched_; }
  // The blocks of which nothing but the range can be seen: whole ones, and the last of
  // the file when the range goes to its end.
  Blocks Covered() EXCLUDES(inode_.mutex);

  Status Preallocate() { return Replace(std::nullopt); }
  Status Punch();
  Status Zero();
  // The record alone; `extends`: to the end of the range.
  Status Finish(bool extends, bool changes_contents);

 private:
  // Unwritten blocks where nothing is mapped in touched(). With `zeroed` the range is
  // zeros afterwards: that are the blocks of it which are replaced by unwritten ones. All
  // blocks are allocated before anything changes.
  Status Replace(std::optional<Blocks> zeroed);
  Result<uint64_t> BytesToAllocate(Blocks zeroed) EXCLUDES(inode_.mutex);
  // The batch for what is mapped by `found` from `at` on: answers how far it goes.
  Result<FileOffset> ReplaceSome(FileOffset at, Blocks zeroed, Allocation& allocation)
      REQUIRES(inode_.mutex);
  Status ZeroEdges(Blocks covered);
  // Inside one block; what is not written reads as zeros already.
  Status ZeroPart(FileOffset from, FileOffset to);

  Core& core_;
  Inode& inode_;
  const FileOffset begin_, end_;
  const Blocks touched_;
};

Blocks RangeChange::Covered() {
  SharedLock lock(inode_.mutex);
  const bool to_end = end_.value() >= inode_.record.size_bytes;
  return {FileOffset{RoundUp(begin_.value(), kBlockBytes)},
          to_end ? touched_.end : FileOffset{RoundDown(end_.value(), kBlockBytes)}};
}

// Calls visit(extent, begin, end) for each stretch of `range` with one mapping, with
// nullptr for holes, until it answers false.
template <typename Visit>
void ForEachStretch(std::span<const Extent> extents, Blocks range, Visit&& visit) {
  FileOffset done = range.begin;
  for (const Extent& extent : extents) {
    const Extent piece = Clip(extent, range.begin, range.end);
    if (piece.length_bytes == 0) continue;
    if (done < piece.file_offset && !visit(nullptr, done, piece.file_offset)) return;
    if (!visit(&piece, piece.file_offset, piece.file_end())) return;
    done = piece.file_end();
  }
  if (done < range.end) visit(nullptr, done, range.end);
}

// Cuts [from, to) at the borders of `zeroed`.
std::array<FileOffset, 4> CutsOf(FileOffset from, FileOffset to, Blocks zeroed) {
  const FileOffset a = std::clamp(zeroed.begin, from, to);
  const FileOffset b = std::clamp(std::max(zeroed.end, zeroed.begin), a, to);
  return {from, a, b, to};
}

Result<uint64_t> RangeChange::BytesToAllocate(Blocks zeroed) {
  uint64_t bytes = 0;
  for (FileOffset at = touched_.begin; at < touched_.end;) {
    SharedLock lock(inode_.mutex);
    TRY_ASSIGN(const ExtentCache::Found found,
               FindExtents(core_, inode_, at, touched_.end, kBatchExtentCountMax, false));
    ForEachStretch(found.extents, {at, found.complete_to},
                   [&](const Extent* extent, FileOffset from, FileOffset to) {
                     const auto cuts = CutsOf(from, to, zeroed);
                     if (extent == nullptr)
                       bytes += to - from;
                     else if (!extent->unwritten())
                       bytes += cuts[2] - cuts[1];
                     return true;
                   });
    at = found.complete_to;
  }
  return bytes;
}

Result<FileOffset> RangeChange::ReplaceSome(FileOffset at, Blocks zeroed,
                                            Allocation& allocation) {
  TRY_ASSIGN(const ExtentCache::Found found,
             FindExtents(core_, inode_, at, touched_.end, kBatchExtentCountMax / 2, false));
  std::vector<Extent> replacement;
  FileOffset done = at;
  const uint64_t used_before = allocation.used_bytes();
  ForEachStretch(
      found.extents, {at, found.complete_to},
      [&](const Extent* extent, FileOffset from, FileOffset to) {
        const auto cuts = CutsOf(from, to, zeroed);
        for (size_t i = 0; i + 1 < cuts.size(); ++i) {
          const bool is_zeroed = i == 1;
          const bool stays = extent != nullptr && (extent->unwritten() || !is_zeroed);
          if (stays && cuts[i] < cuts[i + 1])
            replacement.push_back(Clip(*extent, cuts[i], cuts[i + 1]));
          for (FileOffset next = cuts[i]; !stays && next < cuts[i + 1];) {
            if (replacement.size() >= kBatchExtentCountMax) return false;
            const DeviceRange run = allocation.Next(cuts[i + 1] - next);
            replacement.push_back({next, run.offset, run.length_bytes, kExtentUnwritten});
            next += run.length_bytes;
            done = next;
          }
          done = cuts[i + 1];
        }
        return true;
      });
  if (allocation.used_bytes() == used_before) return done;
  inode_.placement.Note(replacement.back().file_end(), replacement.back().device_end());
  TRY(ApplyMapping(core_, inode_,
                   {.begin = at,
                    .end = done,
                    .replacement = replacement,
                    .allocation = &allocation,
                    .edit = [](InodeRecord& record) { record.ctime = Now(); }}));
  return done;
}

Status RangeChange::Replace(std::optional<Blocks> zeroed) {
  const Blocks replaced = zeroed.value_or(Blocks{});
  TRY_ASSIGN(const uint64_t bytes, BytesToAllocate(replaced));
  std::optional<DeviceOffset> goal;
  {
    SharedLock lock(inode_.mutex);
    TRY_ASSIGN(const ExtentCache::Found found,
               FindExtents(core_, inode_, touched_.begin, touched_.begin + kBlockBytes, 1,
                           /*with_neighbours=*/true));
    goal = GoalFor(inode_, found.extents, touched_.begin);
  }
  TRY_ASSIGN(Allocation allocation,
             Allocation::Take(*core_.space, bytes, goal, SpacePurpose::kGrowth));
  if (zeroed) TRY(ZeroEdges(*zeroed));
  for (FileOffset at = touched_.begin; bytes > 0 && at < touched_.end;) {
    ExclusiveLock lock(inode_.mutex);
    TRY_ASSIGN(at, ReplaceSome(at, replaced, allocation));
  }
  return OkStatus();
}

Status RangeChange::ZeroPart(FileOffset from, FileOffset to) {
  const FileOffset block{RoundDown(from.value(), kBlockBytes)};
  {
    SharedLock lock(inode_.mutex);
    to = std::min(to, FileOffset{inode_.record.size_bytes});
    if (from >= to) return OkStatus();
    TRY_ASSIGN(const ExtentCache::Found found,
               FindExtents(core_, inode_, block, block + kBlockBytes, 1, false));
    if (found.extents.empty() || found.extents.front().unwritten()) return OkStatus();
  }
  alignas(kBlockBytes) static const std::array<char, kBlockBytes> zeros{};
  TRY_ASSIGN(WrittenBlocks written,
             WriteBlocks(core_, inode_, from, {zeros.data(), to - from}));
  ExclusiveLock lock(inode_.mutex);
  return ApplyMapping(core_, inode_,
                      {.begin = written.begin,
                       .end = written.end,
                       .replacement = written.extents,
                       .crcs = written.crcs,
                       .allocation = &written.allocation,
                       .edit = [](InodeRecord& record) {
                         record.mtime = record.ctime = Now();
                       }});
}

Status RangeChange::ZeroEdges(Blocks covered) {
  if (covered.begin > covered.end) return ZeroPart(begin_, end_);  // inside one block
  TRY(ZeroPart(begin_, std::min(covered.begin, end_)));
  if (covered.end < end_) TRY(ZeroPart(std::max(covered.end, begin_), end_));
  return OkStatus();
}

Status RangeChange::Punch() {
  const Blocks covered = Covered();
  TRY(ZeroEdges(covered));
  for (FileOffset at = covered.begin; at < covered.end;) {
    ExclusiveLock lock(inode_.mutex);
    TRY_ASSIGN(const ExtentCache::Found found,
               FindExtents(core_, inode_, at, covered.end, kBatchExtentCountMax, false));
    if (!found.extents.empty())
      TRY(ApplyMapping(core_, inode_,
                       {.begin = at,
                        .end = found.complete_to,
                        .edit = [](InodeRecord& record) {
                          record.mtime = record.ctime = Now();
                        }}));
    at = found.complete_to;
  }
  return OkStatus();
}

Status RangeChange::Zero() { return Replace(Covered()); }

Status RangeChange::Finish(bool extends, bool changes_contents) {
  ExclusiveLock lock(inode_.mutex);
  return ApplyMapping(core_, inode_, {.edit = [&](InodeRecord& record) {
                        const Timestamp now = Now();
                        record.ctime = now;
                        if (changes_contents) record.mtime = now;
                        if (!extends || end_.value() <= record.size_bytes) return;
                        record.size_bytes = end_.value();
                        record.mtime = now;
                      }});
}

}  // namespace

Status FileData::CheckAllocate(Inode& inode, int kind, FileOffset offset,
                               uint64_t length_bytes) {
  if (core_.committer->read_only()) return Error(ErrorCode::kReadOnly, "fallocate");
  if (length_bytes == 0) return Error(ErrorCode::kInvalidArgument, "length 0");
  if (length_bytes > kFileBytesMax || offset.value() > kFileBytesMax - length_bytes)
    return Error(ErrorCode::kFileTooLarge, StrCat("inode ", inode.id));
  SharedLock lock(inode.mutex);
  if (!inode.is_regular())
    return Error(ErrorCode::kNotSupported, StrCat("inode ", inode.id, " is no file"));
  if ((inode.record.flags & kInodeImmutable) != 0 ||
      (kind != 0 && (inode.record.flags & kInodeAppendOnly) != 0))
    return Error(ErrorCode::kNotPermitted, StrCat("inode ", inode.id));
  return OkStatus();
}

Status FileData::MoveBehind(const InodeRef& inode, Shift shift, FileOffset offset,
                            uint64_t length_bytes) {
  TRY(CheckAllocate(*inode, FALLOC_FL_INSERT_RANGE, offset, length_bytes));
  if (!IsBlockAligned(offset.value()) || !IsBlockAligned(length_bytes))
    return Error(ErrorCode::kInvalidArgument, "a part of a block can't be moved");
  {
    const auto hold = inode->data_lock.Acquire(offset.value(), UINT64_MAX);
    if (shift == Shift::kCollapse)
      TRY(Collapse(*inode, offset, length_bytes));
    else
      TRY(Insert(*inode, offset, length_bytes, shift == Shift::kInsertIntoGrown));
  }
  return core_.committer->CommitIfSync();
}

Status FileData::InsertIntoGrown(const InodeRef& inode, FileOffset offset,
                                 uint64_t length_bytes) {
  return MoveBehind(inode, Shift::kInsertIntoGrown, offset, length_bytes);
}

Status FileData::Allocate(const InodeRef& inode, int mode, FileOffset offset,
                          uint64_t length_bytes) {
  if (mode == FALLOC_FL_COLLAPSE_RANGE)
    return MoveBehind(inode, Shift::kCollapse, offset, length_bytes);
  if (mode == FALLOC_FL_INSERT_RANGE)
    return MoveBehind(inode, Shift::kInsert, offset, length_bytes);
  const bool keeps_size = (mode & FALLOC_FL_KEEP_SIZE) != 0;
  const int kind = mode & ~FALLOC_FL_KEEP_SIZE;
  if ((kind != 0 && kind != FALLOC_FL_PUNCH_HOLE && kind != FALLOC_FL_ZERO_RANGE) ||
      (kind == FALLOC_FL_PUNCH_HOLE && !keeps_size))
    return Error(ErrorCode::kNotSupported, StrCat("fallocate mode ", mode));
  TRY(CheckAllocate(*inode, kind, offset, length_bytes));
  if (kind != FALLOC_FL_PUNCH_HOLE)
    TRY(core_.store->AdmitGrowth(BatchBytesMax(kBatchExtentCountMax, 0)));
  {
    RangeChange change(core_, *inode, offset, offset + length_bytes);
    const auto hold = inode->data_lock.Acquire(change.touched().begin.value(),
                                               change.touched().end.value());
    switch (kind) {
      case FALLOC_FL_PUNCH_HOLE:
        TRY(change.Punch());
        break;
      case FALLOC_FL_ZERO_RANGE:
        TRY(change.Zero());
        break;
      default:
        TRY(change.Preallocate());
    }
    TRY(change.Finish(!keeps_size, kind != 0));
  }
  return core_.committer->CommitIfSync();
}

}  // namespace cofs
