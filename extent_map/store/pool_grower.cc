#include "extent_map/store/pool_grower.h"

#include <algorithm>

#include "base/log.h"

namespace cofs::store {

void PoolGrower::Start(PoolSpaceSource* source) {
  MutexLock lock(mutex_);
  CHECK(worker_ == nullptr, "the pool grows already");
  source_ = source;
  worker_ = std::make_unique<Worker>([this] { Attempt(); });
  worker_->Kick();
}

Worker* PoolGrower::worker() {
  MutexLock lock(mutex_);
  return worker_.get();
}

void PoolGrower::Stop() {
  if (Worker* running = worker(); running != nullptr) running->Stop();
}

void PoolGrower::Kick() {
  if (Worker* running = worker(); running != nullptr) running->Kick();
}

bool PoolGrower::GrowAndWait() {
  Worker* running = worker();
  if (running == nullptr) return false;
  const uint64_t before = table_.pool_bytes();
  running->RunAndWait();
  return table_.pool_bytes() > before;
}

void PoolGrower::Attempt() {
  if (const uint64_t shortage = need_.shortage(); shortage > 0)
    Grow(shortage);
  else if (const uint64_t surplus = need_.surplus(); surplus > 0)
    Shrink(surplus);
}

void PoolGrower::Shrink(uint64_t surplus_bytes) {
  if (!source_->PrepareReturn().ok()) return;
  const auto given = table_.GiveBack(surplus_bytes);
  if (!given.ok()) return;  // the store has failed, and says so
  for (const DeviceRange& range : *given) source_->ReturnFromPool(range);
}

void PoolGrower::Grow(uint64_t shortage) {
  const uint64_t chunk = table_.chunk_bytes();
  const uint64_t step = std::max({shortage, step_bytes_, table_.pool_bytes() / 8});
  const auto range = source_->TakeForPool(RoundUp(step, chunk), chunk);
  if (!range.ok()) {
    if (!range.Is(ErrorCode::kNoSpace))
      LogWarning("the store's pool can't grow: " + range.error().ToString());
    return;
  }
  const Status added = table_.AddPoolRange(range.value());
  if (added.ok()) return;
  LogWarning("the store's pool has not grown: " + added.error().ToString());
  source_->ReturnFromPool(range.value());
}

}  // namespace cofs::store
