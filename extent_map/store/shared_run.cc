#include "extent_map/store/shared_run.h"

namespace cofs::store {

Status SharedRun::Run() {
  MutexLock lock(mutex_);
  const uint64_t mine = started_ + 1;
  while (!error_ && completed_ < mine) {
    if (started_ > completed_) {
      changed_.Wait(mutex_);
      continue;
    }
    ++started_;
    lock.Unlock();
    const Status status = action_();
    lock.Lock();
    completed_ = started_;
    if (!status.ok()) error_ = status.error();
    changed_.NotifyAll();
  }
  if (error_) return *error_;
  return OkStatus();
}

}  // namespace cofs::store
