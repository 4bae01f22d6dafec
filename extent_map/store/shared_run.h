// SharedRun: lets concurrent callers of one costly action share its runs, as in a group
// commit.
//
// Each caller is served by a run that began after its call, so it waits at most for the
// run in progress and the next one. The first error is final: every later call has it.
// Thread-safe. The action runs in the thread of one of the callers, without a lock.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "base/mutex.h"
#include "base/result.h"

namespace cofs::store {

class SharedRun {
 public:
  explicit SharedRun(std::function<Status()> action) : action_(std::move(action)) {}
  Status Run() EXCLUDES(mutex_);

 private:
  const std::function<Status()> action_;
  Mutex mutex_;
  CondVar changed_;
  uint64_t started_ GUARDED_BY(mutex_) = 0;
  uint64_t completed_ GUARDED_BY(mutex_) = 0;
  std::optional<Error> error_ GUARDED_BY(mutex_);
};

}  // namespace cofs::store
