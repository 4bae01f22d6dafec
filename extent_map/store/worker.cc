#include "extent_map/store/worker.h"

#include <utility>

namespace cofs::store {

Worker::Worker(std::function<void()> work)
    : work_(std::move(work)), thread_([this] { Loop(); }) {}

void Worker::Kick() {
  MutexLock lock(mutex_);
  is_kicked_ = true;
  changed_.NotifyAll();
}

void Worker::RunAndWait() {
  MutexLock lock(mutex_);
  const uint64_t mine = started_ + 1;
  is_kicked_ = true;
  changed_.NotifyAll();
  while (!is_stopped_ && completed_ < mine) changed_.Wait(mutex_);
}

void Worker::Stop() {
  {
    MutexLock lock(mutex_);
    is_stopped_ = true;
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

void Worker::Loop() {
  MutexLock lock(mutex_);
  for (;;) {
    while (!is_kicked_ && !is_stopped_) changed_.Wait(mutex_);
    if (is_stopped_) return;
    is_kicked_ = false;
    ++started_;
    lock.Unlock();
    work_();
    lock.Lock();
    completed_ = started_;
    changed_.NotifyAll();
  }
}

}  // namespace cofs::store
