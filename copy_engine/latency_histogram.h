// LatencyHistogram: how long commands took, in powers of two of microseconds.
//
// Not thread-safe: each copy fills its own, which is then merged under a lock.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace cofs {

struct LatencyHistogram {
  // Bucket 0: below 1 us. Bucket i: from 2^(i-1) us on, below 2^i us. The last has no end.
  static constexpr size_t kBucketCount = 28;
  std::array<uint64_t, kBucketCount> counts{};

  void Add(std::chrono::steady_clock::duration latency) {
    const auto us = std::chrono::duration_cast<std::chrono::microseconds>(latency).count();
    const auto bits =
        static_cast<size_t>(std::bit_width(static_cast<uint64_t>(std::max<int64_t>(us, 0))));
    ++counts[std::min(bits, kBucketCount - 1)];
  }
  void Merge(const LatencyHistogram& other) {
    for (size_t i = 0; i < kBucketCount; ++i) counts[i] += other.counts[i];
  }
  uint64_t total_count() const {
    uint64_t total = 0;
    for (const uint64_t count : counts) total += count;
    return total;
  }
};

// Adds the time from its making to its end, unless `histogram` is null.
class LatencyTimer {
 public:
  explicit LatencyTimer(LatencyHistogram* histogram)
      : histogram_(histogram), begin_(std::chrono::steady_clock::now()) {}
  ~LatencyTimer() {
    if (histogram_ != nullptr) histogram_->Add(std::chrono::steady_clock::now() - begin_);
  }
  LatencyTimer(const LatencyTimer&) = delete;
  LatencyTimer& operator=(const LatencyTimer&) = delete;

 private:
  LatencyHistogram* const histogram_;
  const std::chrono::steady_clock::time_point begin_;
};

}  // namespace cofs
