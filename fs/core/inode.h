// Inode: the in-memory state of one inode. All of it is also in the store (or in a
// batch being written under the inode's lock), so an Inode that nobody refers to can
// be dropped at any time.
//
// Lock order, outermost first:
//   1. data_lock ranges of files, in order of inode number
//   2. Inode::mutex, in order of inode number
//   3. ranges of shared device blocks (SharedBlocks), in order of offset
//   4. leaves: InodeTable's shards, Space, Allocator, RangeLock's own mutex
// Device I/O may happen under 1 and 3, never under 4; under 2 only for a partial
// block. An inode's mutex is held exclusively from reading its state through
// Committer::Apply() of the batch that changes it, so that batches reach the store in
// the order of the states that they describe. FUSE replies go out with no lock held.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "base/mutex.h"
#include "base/types.h"
#include "extent_map/records.h"
#include "fs/core/extent_cache.h"
#include "fs/core/placement.h"
#include "fs/core/range_lock.h"

namespace cofs {

struct Inode {
  explicit Inode(InodeId inode_id) : id(inode_id) {}
  Inode(InodeId inode_id, InodeRecord inode_record,
        std::shared_ptr<ExtentBudget> budget = nullptr)
      : id(inode_id), record(std::move(inode_record)), extents(std::move(budget)) {}

  const InodeId id;

  // Ranges of the file whose contents or mapping are being changed. Writers hold it
  // from reading the old mapping through the batch; readers don't take it.
  RangeLock data_lock;

  SharedMutex mutex;
  InodeRecord record GUARDED_BY(mutex);
  // Directories: counts changes of entries, so that what was found before the lock was
  // dropped is known to be so still.
  uint64_t entries_version GUARDED_BY(mutex) = 0;
  // The reaper has begun to free it; nothing else may use it from now on. Never set
  // while somebody besides InodeTable and the reaper holds an InodeRef.
  bool reaped GUARDED_BY(mutex) = false;
  // Part of the file's extents. Has a lock of its own, so that readers that hold
  // `mutex` shared can fill it.
  ExtentCache extents;
  // Where its next blocks should go. Has a lock of its own, a leaf.
  Placement placement;

  bool is_directory() const REQUIRES_SHARED(mutex) {
    return (record.mode & 0170000) == 0040000;
  }
  bool is_regular() const REQUIRES_SHARED(mutex) { return (record.mode & 0170000) == 0100000; }
};

using InodeRef = std::shared_ptr<Inode>;

}  // namespace cofs
