// Worker: a thread that does one thing whenever it is kicked.
//
// Thread-safe. Kicks during a run lead to one more run.
#pragma once

#include <cstdint>
#include <functional>
#include <thread>

#include "base/mutex.h"

namespace cofs::store {

class Worker {
 public:
  explicit Worker(std::function<void()> work);
  ~Worker() { Stop(); }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  void Kick() EXCLUDES(mutex_);
  // Returns when a run that began after the call has ended; at once when stopped.
  void RunAndWait() EXCLUDES(mutex_);
  // After the run in progress, if any. No run follows.
  void Stop() EXCLUDES(mutex_);

 private:
  void Loop() EXCLUDES(mutex_);

  const std::function<void()> work_;
  Mutex mutex_;
  CondVar changed_;
  bool is_kicked_ GUARDED_BY(mutex_) = false;
  bool is_stopped_ GUARDED_BY(mutex_) = false;
  uint64_t started_ GUARDED_BY(mutex_) = 0;
  uint64_t completed_ GUARDED_BY(mutex_) = 0;
  std::thread thread_;
};

}  // namespace cofs::store
