// OpenWriters: which files are open for writing. Such a file may have dirty pages in
// the kernel that the volume has not heard of, so its attributes are cached for a
// shorter time, and a search for data or holes makes the kernel write back first.
// It may also have pages that could not be written back for want of space: whoever goes
// on writing is told.
//
// Thread-safety: all functions.
#pragma once

#include <array>
#include <cstdint>
#include <unordered_map>
#include <utility>

#include "base/mutex.h"
#include "base/types.h"

namespace cofs {

class OpenWriters {
 public:
  void Opened(InodeId inode) {
    Shard& shard = ShardOf(inode);
    MutexLock lock(shard.mutex);
    ++shard.files[inode].writer_count;
  }
  // `on_last` is called when nobody has the file open for writing any more, and before
  // anybody has again.
  template <typename OnLast>
  void Released(InodeId inode, OnLast&& on_last) {
    Shard& shard = ShardOf(inode);
    MutexLock lock(shard.mutex);
    const auto found = shard.files.find(inode);
    if (found == shard.files.end() || --found->second.writer_count != 0) return;
    shard.files.erase(found);
    on_last();
  }
  bool IsOpen(InodeId inode) const {
    const Shard& shard = ShardOf(inode);
    MutexLock lock(shard.mutex);
    return shard.files.contains(inode);
  }
  // Pages of the file found no space. False: nobody is left to be told.
  bool NoteNoSpace(InodeId inode) {
    Shard& shard = ShardOf(inode);
    MutexLock lock(shard.mutex);
    const auto found = shard.files.find(inode);
    if (found == shard.files.end()) return false;
    found->second.found_no_space = true;
    return true;
  }
  // Whether that has been noted; it is told once.
  bool TakeNoSpace(InodeId inode) {
    Shard& shard = ShardOf(inode);
    MutexLock lock(shard.mutex);
    const auto found = shard.files.find(inode);
    return found != shard.files.end() && std::exchange(found->second.found_no_space, false);
  }

 private:
  struct File {
    uint32_t writer_count = 0;
    bool found_no_space = false;
  };
  struct Shard {
    mutable Mutex mutex;
    std::unordered_map<InodeId, File> files GUARDED_BY(mutex);
  };
  Shard& ShardOf(InodeId inode) { return shards_[inode.value() % shards_.size()]; }
  const Shard& ShardOf(InodeId inode) const {
    return shards_[inode.value() % shards_.size()];
  }

  std::array<Shard, 16> shards_;
};

}  // namespace cofs
