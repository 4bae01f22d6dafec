#include "fs/core/scrub_pace.h"

#include <algorithm>

namespace cofs {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

// What it may be behind its limit and catch up with.
constexpr milliseconds kCreditMax{100};
constexpr milliseconds kRestMax{100};
constexpr int kRestPerWork = 3;

}  // namespace

ScrubPace::ScrubPace(const CoreCounters& counters, uint64_t bytes_per_second)
    : counters_(counters),
      bytes_per_second_(bytes_per_second),
      request_count_(RequestCount()),
      piece_begin_(Clock::now()),
      due_(piece_begin_) {}

uint64_t ScrubPace::RequestCount() const {
  uint64_t count = 0;
  for (const auto* counter :
       {&counters_.read_count, &counters_.write_count, &counters_.copy_count,
        &counters_.created_count, &counters_.removed_count})
    count += counter->load(std::memory_order_relaxed);
  return count;
}

bool ScrubPace::Spend(uint64_t bytes) {
  Clock::time_point now = Clock::now();
  const uint64_t request_count = RequestCount();
  others_are_active_ = request_count != request_count_;
  request_count_ = request_count;
  Clock::time_point until = now;
  if (bytes_per_second_ > 0) {
    const double seconds =
        static_cast<double>(bytes) / static_cast<double>(bytes_per_second_);
    due_ = std::max(due_, now - kCreditMax) +
           nanoseconds(static_cast<int64_t>(seconds * 1e9));
    until = std::max(until, due_);
  }
  if (others_are_active_)
    until = std::max(until, now + std::clamp<nanoseconds>(kRestPerWork * (now - piece_begin_),
                                                          milliseconds(1), kRestMax));
  MutexLock lock(mutex_);
  // Waits are in milliseconds: what is shorter is waited for together with later ones.
  while (!is_stopped_ && until - now >= milliseconds(1)) {
    wake_.WaitFor(mutex_, std::chrono::ceil<milliseconds>(until - now));
    now = Clock::now();
  }
  piece_begin_ = now;
  return !is_stopped_;
}

void ScrubPace::Stop() {
  MutexLock lock(mutex_);
  is_stopped_ = true;
  wake_.NotifyAll();
}

bool ScrubPace::is_stopped() const {
  MutexLock lock(mutex_);
  return is_stopped_;
}

}  // namespace cofs
