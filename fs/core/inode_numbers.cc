#include "fs/core/inode_numbers.h"

#include "base/check.h"
#include "extent_map/records.h"

namespace cofs {

Result<InodeId> InodeNumbers::ReadCounter(const Store& store) {
  TRY_ASSIGN(const std::optional<std::string> value, store.Get(InodeCounterKey()));
  if (!value) return Error(ErrorCode::kCorrupt, "the inode counter is missing");
  return DecodeInodeCounter(*value);
}

Status InodeNumbers::Load() {
  TRY_ASSIGN(const InodeId next, ReadCounter(store_));
  MutexLock lock(mutex_);
  next_ = durable_end_ = leased_end_ = next.value();
  return OkStatus();
}

Status InodeNumbers::TakeFirstLease() {
  MutexLock lock(mutex_);
  Status taken = TakeLease();
  // A volume without numbers mounts like one without space; only creating is refused.
  if (taken.Is(ErrorCode::kNoSpace)) return OkStatus();
  return taken;
}

Status InodeNumbers::TakeLease() {
  if (leased_end_ > static_cast<uint64_t>(INT64_MAX) - lease_count_)
    return Error(ErrorCode::kNoSpace, "inode numbers");
  const uint64_t end = leased_end_ + lease_count_;
  Transaction transaction;
  transaction.batch().Put(InodeCounterKey(), EncodeInodeCounter(InodeId{end}));
  TRY(committer_.Apply(std::move(transaction)));
  leased_end_ = end;
  leased_count_ = committer_.applied_count();
  return OkStatus();
}

Result<InodeId> InodeNumbers::Take() {
  MutexLock lock(mutex_);
  for (;;) {
    if (durable_end_ != leased_end_ && committer_.committed_count() >= leased_count_)
      durable_end_ = leased_end_;
    // At half a lease, the next; two seconds of the fastest creating are left then.
    if (durable_end_ == leased_end_ && durable_end_ - next_ <= lease_count_ / 2) {
      TRY(TakeLease());
      committer_.CommitSoon();
    }
    if (next_ < durable_end_) return InodeId{next_++};
    lock.Unlock();
    Status committed = committer_.Commit();
    lock.Lock();
    if (!committed.ok()) return std::move(committed).error();
  }
}

}  // namespace cofs
