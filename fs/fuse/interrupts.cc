#include "fs/fuse/interrupts.h"

#include <algorithm>

namespace cofs {

Interrupts::Registration::Registration(Interrupts& interrupts, Request& request)
    : interrupts_(interrupts), unique_(request.unique) {
  MutexLock lock(interrupts_.mutex_);
  interrupts_.long_requests_.emplace(unique_, &request);
  const auto& early = interrupts_.early_;
  if (std::find(early.begin(), early.end(), unique_) != early.end())
    request.interrupted.store(true, std::memory_order_relaxed);
}

Interrupts::Registration::~Registration() {
  MutexLock lock(interrupts_.mutex_);
  interrupts_.long_requests_.erase(unique_);
}

void Interrupts::Interrupt(uint64_t unique) {
  MutexLock lock(mutex_);
  if (const auto found = long_requests_.find(unique); found != long_requests_.end()) {
    found->second->interrupted.store(true, std::memory_order_relaxed);
    return;
  }
  early_[early_next_] = unique;
  early_next_ = (early_next_ + 1) % early_.size();
}

}  // namespace cofs
