// FileData: writing and truncating.
#include <algorithm>
#include <array>

#include "fs/core/block_writer.h"
#include "fs/core/file_data.h"
#include "fs/core/mapping_change.h"

namespace cofs {
namespace {

const std::array<char, kBlockBytes>& ZeroBlock() {
  alignas(kBlockBytes) static const std::array<char, kBlockBytes> zeros{};
  return zeros;
}

// Frees from the end until one batch can free the rest behind `begin`.
Status FreeToOneBatch(Core& core, Inode& inode, FileOffset begin, uint64_t size_bytes,
                      bool kill_privileges) {
  for (FileOffset end = kLastFileOffset;;) {
    ExclusiveLock lock(inode.mutex);
    TRY_ASSIGN(const auto cut, FindCut(core, inode, begin, end));
    if (!cut) return OkStatus();
    TRY(ApplyMapping(core, inode,
                     {.begin = *cut,
                      .end = end,
                      .kill_privileges = kill_privileges,
                      .edit = [&](InodeRecord& record) {
                        record.size_bytes = std::min(
                            record.size_bytes, std::max(cut->value(), size_bytes));
                        record.mtime = record.ctime = Now();
                      }}));
    end = *cut;
  }
}

Result<bool> IsWritten(const Core& core, Inode& inode, FileOffset block)
    EXCLUDES(inode.mutex) {
  SharedLock lock(inode.mutex);
  TRY_ASSIGN(const ExtentCache::Found found,
             FindExtents(core, inode, block, block + kBlockBytes, 1, false));
  return !found.extents.empty() && !found.extents.front().unwritten();
}

}  // namespace

Status FileData::Write(const InodeRef& inode, FileOffset offset, std::span<const char> data,
                       WriteOptions options) {
  if (core_.committer->read_only()) return Error(ErrorCode::kReadOnly, "write");
  if (data.empty()) return OkStatus();
  if (data.size() > kFileBytesMax || offset.value() > kFileBytesMax - data.size())
    return Error(ErrorCode::kFileTooLarge, StrCat("inode ", inode->id));
  const FileOffset data_end = offset + data.size();
  TRY(core_.store->AdmitGrowth(BatchBytesMax(/*extent_count=*/4, data.size())));
  {
    const auto hold = inode->data_lock.Acquire(RoundDown(offset.value(), kBlockBytes),
                                               RoundUp(data_end.value(), kBlockBytes));
    TRY_ASSIGN(WrittenBlocks written, WriteBlocks(core_, *inode, offset, data));
    ExclusiveLock lock(inode->mutex);
    TRY(ApplyMapping(
        core_, *inode,
        {.begin = written.begin,
         .end = written.end,
         .replacement = written.extents,
         .crcs = written.crcs,
         .allocation = &written.allocation,
         .kill_privileges = options.kill_privileges,
         .kill_capability = options.kill_capability,
         .edit = [&](InodeRecord& record) {
           record.size_bytes = std::max(record.size_bytes, data_end.value());
           if (!options.keep_times) record.mtime = record.ctime = Now();
         }}));
  }
  core_.counters.written_bytes.fetch_add(data.size(), std::memory_order_relaxed);
  core_.counters.write_count.fetch_add(1, std::memory_order_relaxed);
  return options.sync ? core_.committer->Commit() : core_.committer->CommitIfSync();
}

Status FileData::Truncate(const InodeRef& inode, uint64_t size_bytes,
                          const std::function<Status(InodeRecord&, Transaction&)>& also_change,
                          bool kill_privileges) {
  if (core_.committer->read_only()) return Error(ErrorCode::kReadOnly, "truncate");
  if (size_bytes > kFileBytesMax)
    return Error(ErrorCode::kFileTooLarge, StrCat("inode ", inode->id));
  {
    const FileOffset tail_block{RoundDown(size_bytes, kBlockBytes)};
    const FileOffset keep_end{RoundUp(size_bytes, kBlockBytes)};
    const auto hold = inode->data_lock.Acquire(tail_block.value(), UINT64_MAX);
    bool grows = false;
    bool shrinks = false;
    {
      SharedLock lock(inode->mutex);
      grows = size_bytes > inode->record.size_bytes;
      shrinks = size_bytes < inode->record.size_bytes;
    }
    const auto edit = [&](InodeRecord& record) {
      record.size_bytes = size_bytes;
      record.mtime = record.ctime = Now();
    };
    if (grows) {
      // Blocks preallocated behind the old end stay.
      ExclusiveLock lock(inode->mutex);
      TRY(ApplyMapping(core_, *inode, {.edit = edit, .amend = also_change}));
    } else {
      TRY(FreeToOneBatch(core_, *inode, keep_end, size_bytes, kill_privileges));
      // Behind the end of a file its last block holds zeros, for whoever extends it.
      WrittenBlocks tail;
      tail.begin = keep_end;
      bool rewrites_tail = false;
      if (shrinks && tail_block < keep_end) {
        TRY_ASSIGN(rewrites_tail, IsWritten(core_, *inode, tail_block));
      }
      if (rewrites_tail) {
        TRY_ASSIGN(tail, WriteBlocks(core_, *inode, FileOffset{size_bytes},
                                     {ZeroBlock().data(), keep_end.value() - size_bytes}));
      }
      ExclusiveLock lock(inode->mutex);
      TRY(ApplyMapping(core_, *inode,
                       {.begin = tail.begin,
                        .end = kLastFileOffset,
                        .replacement = tail.extents,
                        .crcs = tail.crcs,
                        .allocation = &tail.allocation,
                        .edit = edit,
                        .amend = also_change}));
    }
  }
  return core_.committer->CommitIfSync();
}

Status FileData::FreeAll(const InodeRef& inode,
                         const std::function<void(Transaction&)>& finish) {
  const auto hold = inode->data_lock.Acquire(0, UINT64_MAX);
  TRY(FreeToOneBatch(core_, *inode, FileOffset{0}, 0, false));
  ExclusiveLock lock(inode->mutex);
  return ApplyMapping(core_, *inode,
                      {.begin = FileOffset{0}, .end = kLastFileOffset, .finish = finish});
}

}  // namespace cofs
