// ScrubPace: how fast a scrub may go on. A limit in bytes per second, and way for those
// who use the volume: while requests of others come in, it rests three times as long as
// its last piece took.
//
// Thread-safety: Stop() from any thread; the rest by the thread that scrubs.
#pragma once

#include <chrono>
#include <cstdint>

#include "base/mutex.h"
#include "fs/core/core.h"

namespace cofs {

class ScrubPace {
 public:
  // `bytes_per_second` 0: no limit. `counters` tell of others' requests.
  ScrubPace(const CoreCounters& counters, uint64_t bytes_per_second);

  // After a piece of `bytes`: waits until the next one may begin. False: stop now.
  bool Spend(uint64_t bytes) EXCLUDES(mutex_);
  // Others have used the volume during the last piece: take small ones.
  bool others_are_active() const { return others_are_active_; }
  void Stop() EXCLUDES(mutex_);
  bool is_stopped() const EXCLUDES(mutex_);

 private:
  using Clock = std::chrono::steady_clock;
  uint64_t RequestCount() const;

  const CoreCounters& counters_;
  const uint64_t bytes_per_second_;
  uint64_t request_count_;
  bool others_are_active_ = false;
  Clock::time_point piece_begin_;
  Clock::time_point due_;  // when what was spent is paid for

  mutable Mutex mutex_;
  CondVar wake_;
  bool is_stopped_ GUARDED_BY(mutex_) = false;
};

}  // namespace cofs
