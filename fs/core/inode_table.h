// InodeTable: inodes in memory by number, and how often the kernel has looked each up.
//
// Thread-safety: all functions; sharded by inode number, the shards' locks are leaves.
// Memory: at most `inode_count_max` inodes that nobody uses, and some 50 bytes for each
// that the kernel knows; at most `extent_count_max` of their extents, and a few for each.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/result.h"
#include "fs/core/inode.h"

namespace cofs {

// There is no such inode any more.
inline Error StaleInode(InodeId id) {
  return Error(ErrorCode::kStale, StrCat("inode ", id));
}

class InodeTable {
 public:
  InodeTable(const Store& store, size_t inode_count_max, uint64_t extent_count_max);
  ~InodeTable();

  // From memory or the store. kStale when there is no such inode; kCorrupt.
  Result<InodeRef> Get(InodeId id);
  // Puts a new inode, whose batch has been or is being written under its lock.
  InodeRef Insert(InodeId id, InodeRecord record);
  // The inode is gone from the store.
  void Erase(InodeId id);

  // The kernel's references (FUSE's nlookup).
  void AddLookup(InodeId id, uint64_t count = 1);
  // True when the count has reached zero.
  bool Forget(InodeId id, uint64_t count);
  bool IsLookedUp(InodeId id) const;
  // Unmount: all counts become zero.
  void ForgetAll();

  size_t inode_count() const;
  uint64_t lookup_count() const;  // inodes with a count above zero

 private:
  struct Shard;
  Shard& ShardOf(InodeId id) const;
  const Store& store_;
  const size_t shard_inode_count_max_;
  const std::shared_ptr<ExtentBudget> extent_budget_;
  std::vector<std::unique_ptr<Shard>> shards_;
};

}  // namespace cofs
