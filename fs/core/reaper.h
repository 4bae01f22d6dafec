// Reaper: frees inodes that have lost their last link, once nobody uses them.
//
// Invariants:
//  1. An inode without links has an orphan record, written in the batch that took its
//     last link (or made it, for temporary files). After a crash or an unmount the
//     records say what is still to be freed.
//  2. An inode is freed only while it has no look-ups and no InodeRef besides the
//     table's and the reaper's; it is marked `reaped` under its lock first, and
//     whoever gets hold of it later finds the mark (kStale).
//  3. The orphan record goes in the batch with the inode's last record.
//  4. Freeing asks for no space: it works on a full volume.
//
// Thread-safety: all functions. Add, Remove, Forgotten and IsTemporary may be called
// with inode locks held; under the lock inside only InodeTable's are taken.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"
#include "fs/core/census.h"
#include "fs/core/core.h"
#include "fs/core/file_data.h"
#include "fs/core/inode.h"

namespace cofs {

enum class OrphanKind : uint8_t {
  kUnlinked,   // can't get a link any more
  kTemporary,  // made without a link, may get one
};

class Reaper {
 public:
  Reaper(Core& core, FileData& data, Census& census)
      : core_(core), data_(data), census_(census) {}
  ~Reaper() { Stop(); }

  // Mount: takes up what the orphan records say.
  Status LoadOrphans() EXCLUDES(mutex_);
  void Start();
  // Ends between two batches; what is left stays an orphan.
  void Stop() EXCLUDES(mutex_);

  // The batch that made it an orphan has been applied, its lock is held.
  void Add(InodeId id, OrphanKind kind) EXCLUDES(mutex_);
  // It has got a link.
  void Remove(InodeId id) EXCLUDES(mutex_);
  // Its last look-up is gone.
  void Forgotten(InodeId id) EXCLUDES(mutex_);
  bool IsTemporary(InodeId id) const EXCLUDES(mutex_);

  // Waits until every orphan without look-ups has been freed. The error that stopped
  // the reaper: kReadOnly of a read-only volume.
  Status Drain() EXCLUDES(mutex_);
  // As Drain(), but gives up after `timeout`.
  void DrainFor(std::chrono::milliseconds timeout) EXCLUDES(mutex_);
  size_t orphan_count() const { return orphan_count_.load(std::memory_order_relaxed); }

 private:
  struct SmallBatch;
  enum class Step : uint8_t { kDone, kInUse };

  void Loop();
  // What of `ids` must be tried again.
  std::vector<InodeId> ReapAll(const std::vector<InodeId>& ids) EXCLUDES(mutex_);
  // Marks it as reaped when it may be freed: `claimed`.
  Step Claim(InodeId id, InodeRef& claimed) EXCLUDES(mutex_);
  // Adds a small one to the batch; false: it is not small.
  Result<bool> Collect(InodeId id, SmallBatch& batch);
  void FreeOne(const InodeRef& inode, SmallBatch& batch);
  Status FreeBig(const InodeRef& inode);
  Status Flush(SmallBatch& batch);
  // One after another when they can't be freed together.
  void FlushOrSplit(SmallBatch& batch);
  // The inode is gone.
  void Drop(InodeId id) EXCLUDES(mutex_);
  // It stays as it is.
  void Fail(InodeId id, const Error& error);
  bool stopping() const EXCLUDES(mutex_);

  Core& core_;
  FileData& data_;
  Census& census_;
  std::atomic<size_t> orphan_count_{0};

  mutable Mutex mutex_;
  CondVar wake_;  // the thread
  CondVar drained_;
  std::unordered_map<InodeId, OrphanKind> orphans_ GUARDED_BY(mutex_);
  // Orphans to look at, perhaps several times.
  std::deque<InodeId> queue_ GUARDED_BY(mutex_);
  bool working_ GUARDED_BY(mutex_) = false;
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace cofs
