// OpenWriters: which files are open for writing. Such a file may have dirty pages in
// the kernel that the volume has not heard of, so its attributes are cached for a
// shorter time, and a search for data or holes makes the kernel write back first.
//
// Thread-safety: all functions.
#pragma once

#include <array>
#include <cstdint>
#include <unordered_map>

#include "base/mutex.h"
#include "base/types.h"

namespace cofs {

class OpenWriters {
 public:
  void Opened(InodeId inode) {
    Shard& shard = ShardOf(inode);
    MutexLock lock(shard.mutex);
    ++shard.counts[inode];
  }
  // `on_last` is called when nobody has the file open for writing any more, and before
  // anybody has again.
  template <typename OnLast>
  void Released(InodeId inode, OnLast&& on_last) {
    Shard& shard = ShardOf(inode);
    MutexLock lock(shard.mutex);
    const auto found = shard.counts.find(inode);
    if (found == shard.counts.end() || --found->second != 0) return;
    shard.counts.erase(found);
    on_last();
  }
  bool IsOpen(InodeId inode) const {
    const Shard& shard = ShardOf(inode);
    MutexLock lock(shard.mutex);
    return shard.counts.contains(inode);
  }

 private:
  struct Shard {
    mutable Mutex mutex;
    std::unordered_map<InodeId, uint32_t> counts GUARDED_BY(mutex);
  };
  Shard& ShardOf(InodeId inode) { return shards_[inode.value() % shards_.size()]; }
  const Shard& ShardOf(InodeId inode) const {
    return shards_[inode.value() % shards_.size()];
  }

  std::array<Shard, 16> shards_;
};

}  // namespace cofs
