// FailureLatch: whether the store has failed for good, and with what.
//
// The first error wins; from then on nothing is written any more. Thread-safe.
#pragma once

#include <atomic>
#include <functional>
#include <optional>

#include "base/mutex.h"
#include "base/result.h"

namespace cofs::store {

class FailureLatch {
 public:
  // `listener` hears of the failure once, from the thread that met it, without a lock
  // held; of an earlier one at once.
  void Arm(std::function<void(const Error&)> listener) EXCLUDES(mutex_);
  void Fail(const Error& error) EXCLUDES(mutex_);
  // As by a crash: nothing is written from now on, and nobody is told.
  void Abandon() EXCLUDES(mutex_);

  bool failed() const { return failed_.load(std::memory_order_acquire); }
  // The first error once failed, as it was.
  std::optional<Error> error() const EXCLUDES(mutex_);
  // kIo with the first error once failed.
  Status Check() const EXCLUDES(mutex_);
  // Passes `status` on; an error fails the store.
  Status Watch(Status status) EXCLUDES(mutex_) {
    if (!status.ok()) Fail(status.error());
    return status;
  }

 private:
  std::atomic<bool> failed_{false};
  mutable Mutex mutex_;
  std::optional<Error> error_ GUARDED_BY(mutex_);
  std::function<void(const Error&)> listener_ GUARDED_BY(mutex_);
};

}  // namespace cofs::store
