#include "fs/core/reaper.h"

#include <algorithm>
#include <chrono>
#include <string>

#include "base/check.h"
#include "base/log.h"
#include "fs/core/inode_table.h"
#include "fs/core/shared_blocks.h"

namespace cofs {
namespace {

// An inode of at most so many records is freed with others in one batch.
constexpr size_t kSmallRecordCountMax = 64;
// A batch of small ones is written when it holds so many records.
constexpr size_t kBatchRecordCountMax = 2048;
constexpr size_t kRoundInodeCountMax = 256;
// Until an inode that is in use is looked at again.
constexpr std::chrono::milliseconds kInUsePause{5};
// How long a full volume waits for a removed file's last look-up to end.
constexpr std::chrono::milliseconds kForgetPatience{50};

// The table and the reaper.
constexpr long kOwnReferences = 2;

}  // namespace

struct Reaper::SmallBatch {
  Transaction transaction;
  std::vector<InodeId> inodes;
  std::vector<Extent> extents;
  size_t record_count = 0;
};

Status Reaper::LoadOrphans() {
  const KeyRange all = AllOrphans();
  const auto cursor = core_.store->NewCursor(all.first, all.last);
  MutexLock lock(mutex_);
  for (cursor->Seek(all.first); cursor->valid(); cursor->Next()) {
    TRY_ASSIGN(const ParsedKey key, ParseKey(cursor->key()));
    // Nobody can link to it any more: its look-ups ended with the last mount.
    orphans_.emplace(key.inode, OrphanKind::kUnlinked);
    queue_.push_back(key.inode);
  }
  orphan_count_.store(orphans_.size(), std::memory_order_relaxed);
  return cursor->status();
}

void Reaper::Start() {
  CHECK(!thread_.joinable());
  thread_ = std::thread([this] { Loop(); });
}

void Reaper::Stop() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    wake_.NotifyAll();
    drained_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

void Reaper::Add(InodeId id, OrphanKind kind) {
  const bool is_looked_up = core_.inodes->IsLookedUp(id);
  MutexLock lock(mutex_);
  orphans_.emplace(id, kind);
  orphan_count_.store(orphans_.size(), std::memory_order_relaxed);
  // When the last look-up goes between the question and here, Forgotten() comes too
  // late to see the orphan: so ask again.
  if (is_looked_up && core_.inodes->IsLookedUp(id)) return;
  queue_.push_back(id);
  wake_.NotifyOne();
}

void Reaper::Remove(InodeId id) {
  MutexLock lock(mutex_);
  orphans_.erase(id);
  orphan_count_.store(orphans_.size(), std::memory_order_relaxed);
}

void Reaper::Forgotten(InodeId id) {
  if (orphan_count() == 0) return;
  MutexLock lock(mutex_);
  if (!orphans_.contains(id)) return;
  queue_.push_back(id);
  wake_.NotifyOne();
  drained_.NotifyAll();
}

bool Reaper::IsTemporary(InodeId id) const {
  MutexLock lock(mutex_);
  const auto found = orphans_.find(id);
  return found != orphans_.end() && found->second == OrphanKind::kTemporary;
}

Status Reaper::Drain() {
  MutexLock lock(mutex_);
  for (;;) {
    if (core_.committer->read_only()) return Error(ErrorCode::kReadOnly, "removed files");
    if (queue_.empty() && !working_) return OkStatus();
    if (stopping_) return Error(ErrorCode::kInterrupted, "removed files");
    drained_.Wait(mutex_);
  }
}

void Reaper::DrainFor(std::chrono::milliseconds timeout) {
  using Clock = std::chrono::steady_clock;
  const auto left_until = [](Clock::time_point deadline) {
    return std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
  };
  const auto deadline = Clock::now() + timeout;
  MutexLock lock(mutex_);
  // The kernel tells of the last look-up's end behind requests that it sends later.
  const auto patience = std::min(deadline, Clock::now() + kForgetPatience);
  while (!stopping_ && !core_.committer->read_only() && !orphans_.empty() &&
         queue_.empty() && !working_) {
    const auto left = left_until(patience);
    if (left.count() <= 0) break;
    drained_.WaitFor(mutex_, left);
  }
  while (!stopping_ && !core_.committer->read_only() && (!queue_.empty() || working_)) {
    const auto left = left_until(deadline);
    if (left.count() <= 0) return;
    drained_.WaitFor(mutex_, left);
  }
}

void Reaper::Loop() {
  MutexLock lock(mutex_);
  while (!stopping_) {
    if (core_.committer->read_only()) queue_.clear();
    if (queue_.empty()) {
      drained_.NotifyAll();
      wake_.Wait(mutex_);
      continue;
    }
    const size_t count = std::min(queue_.size(), kRoundInodeCountMax);
    const auto end = queue_.begin() + static_cast<std::ptrdiff_t>(count);
    const std::vector<InodeId> round(queue_.begin(), end);
    queue_.erase(queue_.begin(), end);
    working_ = true;
    lock.Unlock();
    const std::vector<InodeId> again = ReapAll(round);
    lock.Lock();
    queue_.insert(queue_.end(), again.begin(), again.end());
    working_ = false;
    // When nothing but inodes in use is left, leave their users some time.
    if (!stopping_ && !again.empty() && queue_.size() == again.size())
      wake_.WaitFor(mutex_, kInUsePause);
  }
}

bool Reaper::stopping() const {
  MutexLock lock(mutex_);
  return stopping_;
}

std::vector<InodeId> Reaper::ReapAll(const std::vector<InodeId>& ids) {
  std::vector<InodeId> again;
  SmallBatch batch;
  for (InodeId id : ids) {
    InodeRef inode;
    if (stopping() || Claim(id, inode) == Step::kInUse) {
      again.push_back(id);
    } else if (inode != nullptr) {
      FreeOne(inode, batch);
    }
  }
  FlushOrSplit(batch);
  return again;
}

Reaper::Step Reaper::Claim(InodeId id, InodeRef& claimed) {
  {
    MutexLock lock(mutex_);
    if (!orphans_.contains(id)) return Step::kDone;
  }
  if (core_.inodes->IsLookedUp(id)) return Step::kDone;  // Forgotten() brings it back
  Result<InodeRef> found = core_.inodes->Get(id);
  if (!found.ok()) {
    Fail(id, found.error());
    return Step::kDone;
  }
  ExclusiveLock lock((*found)->mutex);
  if ((*found)->reaped) return Step::kDone;  // tried before, and failed
  if ((*found)->record.link_count != 0) {
    // A temporary file that has just got its link, or damage. Remove() or a check of
    // the volume settles it.
    MutexLock orphans_lock(mutex_);
    if (orphans_.contains(id))
      LogWarning(StrCat("inode ", id, " has links and an orphan record; left alone"));
    return Step::kDone;
  }
  if (core_.inodes->IsLookedUp(id)) return Step::kDone;
  if (found->use_count() > kOwnReferences) return Step::kInUse;
  (*found)->reaped = true;
  claimed = std::move(*found);
  return Step::kDone;
}

void Reaper::FreeOne(const InodeRef& inode, SmallBatch& batch) {
  const InodeId id = inode->id;
  const Result<bool> is_small = Collect(id, batch);
  if (!is_small.ok()) return Fail(id, is_small.error());
  if (*is_small) {
    if (batch.record_count >= kBatchRecordCountMax) FlushOrSplit(batch);
    return;
  }
  const Status freed = FreeBig(inode);
  if (!freed.ok()) return Fail(id, freed.error());
  Drop(id);
}

Result<bool> Reaper::Collect(InodeId id, SmallBatch& batch) {
  const KeyRange all = AllOfInode(id);
  const auto cursor = core_.store->NewCursor(all.first, all.last);
  std::vector<std::string> keys;
  std::vector<Extent> extents;
  for (cursor->Seek(all.first); cursor->valid(); cursor->Next()) {
    if (keys.size() == kSmallRecordCountMax) return false;
    TRY_ASSIGN(const ParsedKey key, ParseKey(cursor->key()));
    if (key.kind == RecordKind::kDentry)
      return Error(ErrorCode::kCorrupt, "a removed directory with an entry");
    if (key.kind == RecordKind::kExtent) {
      TRY_ASSIGN(const Extent extent,
                 DecodeExtent(FileOffset{key.position}, cursor->value()));
      extents.push_back(extent);
    }
    keys.emplace_back(cursor->key());
  }
  TRY(cursor->status());
  keys.push_back(OrphanKey(id));
  for (const std::string& key : keys) batch.transaction.batch().Delete(key);
  batch.record_count += keys.size();
  batch.extents.insert(batch.extents.end(), extents.begin(), extents.end());
  batch.inodes.push_back(id);
  return true;
}

Status Reaper::Flush(SmallBatch& batch) {
  if (batch.inodes.empty()) return OkStatus();
  TRY_ASSIGN(const SharedBlocks::Locks locks,
             core_.shared_blocks->Drop(batch.extents, batch.transaction));
  return core_.committer->Apply(std::move(batch.transaction));
}

void Reaper::FlushOrSplit(SmallBatch& batch) {
  const Status together = Flush(batch);
  for (InodeId id : batch.inodes) {
    Status freed = together;
    if (!together.ok() && batch.inodes.size() > 1 && !core_.committer->read_only()) {
      SmallBatch alone;
      const Result<bool> collected = Collect(id, alone);
      freed = collected.ok() ? Flush(alone) : Status(collected.error());
    }
    if (freed.ok()) {
      Drop(id);
    } else {
      Fail(id, freed.error());
    }
  }
  batch = SmallBatch();
}

Status Reaper::FreeBig(const InodeRef& inode) {
  std::vector<std::string> keys{InodeKey(inode->id), OrphanKey(inode->id)};
  const KeyRange xattrs = XattrKeys(inode->id);
  const auto cursor = core_.store->NewCursor(xattrs.first, xattrs.last);
  for (cursor->Seek(xattrs.first); cursor->valid(); cursor->Next())
    keys.emplace_back(cursor->key());
  TRY(cursor->status());
  return data_.FreeAll(inode, [&](Transaction& transaction) {
    for (const std::string& key : keys) transaction.batch().Delete(key);
  });
}

void Reaper::Drop(InodeId id) {
  core_.inodes->Erase(id);
  census_.RemoveInode();
  Remove(id);
}

void Reaper::Fail(InodeId id, const Error& error) {
  // A read-only volume keeps its orphans for the next mount. What is damaged stays, as
  // an orphan, for a check of the volume.
  if (!core_.committer->read_only())
    LogError(StrCat("removed inode ", id, " can't be freed: ", error.ToString()));
}

}  // namespace cofs
