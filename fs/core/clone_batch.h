// CloneBatch: one batch that makes a range of one file map the blocks of another's.
// Clones and dedupe are made of these.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "extent_map/extent.h"
#include "fs/core/core.h"
#include "fs/core/inode.h"
#include "fs/core/inode_locks.h"

namespace cofs {

// The data_locks of a source and a destination range, block-aligned, taken in the order
// of the inodes' numbers. Nothing of the two ranges changes while they are held.
class RangePairHold {
 public:
  struct Range {
    Inode& inode;
    FileOffset begin, end;
  };
  RangePairHold(const Range& source, const Range& destination);

 private:
  RangeLock::Hold first_, second_;
};

// Belongs to one thread, which holds the data_locks of what it shares. Holds both inodes'
// mutexes while it lives. The batch has been admitted (CloneBatchBytesMax()).
class CloneBatch {
 public:
  struct Request {
    FileOffset from, end;  // of the source, block-aligned
    FileOffset to;         // of the destination
    // The destination's size becomes at least this, or how far the batch came.
    uint64_t size_bytes = 0;
    bool kill_privileges = false;
    bool keep_times = false;
  };
  CloneBatch(Core& core, Inode& source, Inode& destination)
      : core_(core), source_(source), destination_(destination),
        locks_({&source, &destination}) {}

  // Shares the range, or a front part of it; answers how far in the source. What is
  // unwritten becomes a hole.
  Result<FileOffset> Share(const Request& request) NO_THREAD_SAFETY_ANALYSIS;
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

// What the batch that begins at `from` and `to` at most takes, for Store::AdmitGrowth().
Result<uint64_t> CloneBatchBytesMax(const Core& core, Inode& source, FileOffset from,
                                    FileOffset end, Inode& destination, FileOffset to);

}  // namespace cofs
