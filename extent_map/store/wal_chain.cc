#include "extent_map/store/wal_chain.h"

namespace cofs::store {

void WalChain::Add(std::shared_ptr<GroupWriter> wal) {
  MutexLock lock(mutex_);
  wals_.push_back(std::move(wal));
}

void WalChain::Remove(uint64_t file_id) {
  std::shared_ptr<GroupWriter> removed;  // let go of after the lock
  MutexLock lock(mutex_);
  for (auto wal = wals_.begin(); wal != wals_.end(); ++wal) {
    if ((*wal)->file().id != file_id) continue;
    removed = std::move(*wal);
    wals_.erase(wal);
    break;
  }
  lock.Unlock();
}

uint64_t WalChain::newest_bytes() const {
  MutexLock lock(mutex_);
  return wals_.empty() ? 0 : wals_.back()->written_bytes();
}

Status WalChain::Sync() {
  TRY(latch_.Check());
  return sync_.Run();
}

Status WalChain::SyncOnce() {
  std::vector<std::shared_ptr<GroupWriter>> wals;
  {
    MutexLock lock(mutex_);
    wals = wals_;
  }
  // Newest first: an older WAL gets no more records once a newer one has any, so what is
  // sealed of it is then all that comes before what was sealed of the newer one.
  bool has_any = false;
  for (auto wal = wals.rbegin(); wal != wals.rend(); ++wal) has_any |= (*wal)->Seal();
  if (!has_any) return OkStatus();
  TRY(latch_.Watch(device_.Flush()));
  for (const auto& wal : wals) TRY(latch_.Watch(wal->WriteSealed()));
  sync_count_.fetch_add(1, std::memory_order_relaxed);
  return OkStatus();
}

}  // namespace cofs::store
