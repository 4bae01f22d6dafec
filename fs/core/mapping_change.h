// MappingChange: what one batch does to the contents of one file, and its application
// to the store and to the inode in memory.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "extent_map/extent.h"
#include "fs/core/allocation.h"
#include "fs/core/core.h"
#include "fs/core/inode.h"

namespace cofs {

// Extents changed by one batch, of operations that may change any number.
inline constexpr size_t kBatchExtentCountMax = 1024;
// No extent lies behind it.
inline constexpr FileOffset kLastFileOffset{kFileBytesMax};

struct MappingChange {
  // What this range maps is replaced, and dropped unless the replacement maps it to the
  // same blocks. begin == end: only the record changes.
  FileOffset begin = {}, end = {};
  std::span<const Extent> replacement = {};
  // Of each block from `begin` on; looked at for written extents of `replacement`.
  // Empty: nothing new was written.
  std::span<const uint32_t> crcs = {};
  // What this drops, where the replacement maps blocks of the range at other places of it.
  const std::vector<Extent>* dropped = nullptr;
  // Of the blocks of `replacement`: kept, as far as it was used, unless the batch was
  // not even tried.
  Allocation* allocation = nullptr;
  // As a write by an unprivileged caller does: clears set-user-ID, set-group-ID of what
  // its group may execute, and removes the file capabilities.
  bool kill_privileges = false;
  bool kill_capability = false;  // removes the file capabilities alone
  // Edits the record, after allocated_bytes has changed. May be empty.
  std::function<void(InodeRecord&)> edit = {};
  // After `edit`: edits the record, and adds to the batch what goes with it. May be empty.
  std::function<Status(InodeRecord&, Transaction&)> amend = {};
  // Adds to the batch, which then leaves the record to it. May be empty.
  std::function<void(Transaction&)> finish = {};
};

// Writes the batch. The caller has admitted it (Store::AdmitGrowth) if it grows, and
// holds the file range. On an error nothing has changed in memory.
Status ApplyMapping(Core& core, Inode& inode, const MappingChange& change)
    REQUIRES(inode.mutex);

// As ExtentCache::Find, and kCorrupt when an extent is outside of the device.
Result<ExtentCache::Found> FindExtents(const Core& core, Inode& inode, FileOffset begin,
                                       FileOffset end, size_t count_max,
                                       bool with_neighbours) REQUIRES_SHARED(inode.mutex);

// Where the last kBatchExtentCountMax extents of [begin, end) start; nullopt when there are
// not more than that. There are none behind `end`: a walk from further behind would go over
// all that has been deleted there.
Result<std::optional<FileOffset>> FindCut(const Core& core, Inode& inode, FileOffset begin,
                                          FileOffset end) REQUIRES_SHARED(inode.mutex);

// Adds the changes of extent records to `batch`.
void PutExtents(InodeId inode, const ExtentChange& change, Batch& batch);

// Bytes of `extents` inside [begin, end).
uint64_t MappedBytes(std::span<const Extent> extents, FileOffset begin, FileOffset end);

// A file maps so much more and less. A damaged record may count less than it maps, or
// more than there is: fsck tells, here it stays a number.
void CountAllocated(InodeRecord& record, uint64_t more_bytes, uint64_t less_bytes);

// See MappingChange::kill_privileges.
void KillPrivileges(InodeId inode, InodeRecord& record, Batch& batch);

// About what a batch at most holds that changes so many records of extents and writes
// checksums for so much data.
uint64_t BatchBytesMax(size_t extent_count, uint64_t data_bytes);

}  // namespace cofs
