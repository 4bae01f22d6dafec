#include "fs/fuse/copy_arms.h"

namespace cofs {

std::vector<InodeId> CopyArms::Age() {
  std::vector<InodeId> dropped;
  const auto now = clock_();
  for (auto& [key, arm] : arms_) {
    if (arm.is_late || now < arm.expires_at) continue;
    arm.is_late = true;
    if (arm.snapshot) dropped.push_back(*arm.snapshot);
    arm.snapshot.reset();
  }
  return dropped;
}

void CopyArms::DropAll(const std::vector<InodeId>& snapshots) const {
  for (const InodeId snapshot : snapshots) drop_snapshot_(snapshot);
}

Status CopyArms::Put(pid_t thread, InodeId destination, CopyArm arm) {
  std::vector<InodeId> dropped;
  {
    MutexLock lock(mutex_);
    dropped = Age();
    const auto key = std::make_pair(destination, thread);
    const auto old = arms_.find(key);
    if (old == arms_.end() && arms_.size() >= kCountMax) {
      // Room is made by those whose thread has long gone, most likely.
      std::erase_if(arms_, [](const auto& entry) { return entry.second.is_late; });
    }
    if (old == arms_.end() && arms_.size() >= kCountMax) {
      lock.Unlock();
      DropAll(dropped);
      return Error(ErrorCode::kBusy, "too many copies are armed");
    }
    if (old != arms_.end() && old->second.snapshot)
      dropped.push_back(*old->second.snapshot);
    arm.expires_at = clock_() + kLifetime;
    arms_.insert_or_assign(key, std::move(arm));
  }
  DropAll(dropped);
  return OkStatus();
}

std::optional<CopyArm> CopyArms::Take(pid_t thread, InodeId destination) {
  std::optional<CopyArm> taken;
  std::vector<InodeId> dropped;
  {
    MutexLock lock(mutex_);
    if (arms_.empty()) return std::nullopt;
    dropped = Age();
    const auto found = arms_.find({destination, thread});
    if (found != arms_.end()) {
      taken = std::move(found->second);
      arms_.erase(found);
    }
  }
  DropAll(dropped);
  return taken;
}

void CopyArms::Disarm(pid_t thread, InodeId destination) {
  if (const std::optional<CopyArm> arm = Take(thread, destination)) DropSnapshot(*arm);
}

std::vector<InodeId> CopyArms::Closed(InodeId destination) {
  std::vector<InodeId> snapshots;
  MutexLock lock(mutex_);
  auto it = arms_.lower_bound({destination, 0});
  while (it != arms_.end() && it->first.first == destination) {
    if (it->second.snapshot) snapshots.push_back(*it->second.snapshot);
    it = arms_.erase(it);
  }
  return snapshots;
}

}  // namespace cofs
