#include "extent_map/store/failure_latch.h"

#include <utility>

#include "base/log.h"

namespace cofs::store {

void FailureLatch::Arm(std::function<void(const Error&)> listener) {
  std::optional<Error> earlier;
  {
    MutexLock lock(mutex_);
    earlier = error_;
    if (!earlier) listener_ = std::move(listener);
  }
  if (earlier) listener(*earlier);
}

void FailureLatch::Fail(const Error& error) {
  std::function<void(const Error&)> listener;
  {
    MutexLock lock(mutex_);
    if (error_) return;
    error_ = error;
    listener = std::exchange(listener_, nullptr);
    failed_.store(true, std::memory_order_release);
  }
  LogError("the store has failed: " + error.ToString());
  if (listener) listener(error);
}

void FailureLatch::Abandon() {
  MutexLock lock(mutex_);
  if (!error_) error_ = Error(ErrorCode::kShutdown, "dropped without a close");
  listener_ = nullptr;
  failed_.store(true, std::memory_order_release);
}

std::optional<Error> FailureLatch::error() const {
  MutexLock lock(mutex_);
  return error_;
}

Status FailureLatch::Check() const {
  if (!failed()) return OkStatus();
  MutexLock lock(mutex_);
  return Error(ErrorCode::kIo, "the store has failed: " + error_->ToString());
}

}  // namespace cofs::store
