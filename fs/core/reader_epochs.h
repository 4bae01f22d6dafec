// ReaderEpochs: tells when everybody who read at some time has left, without a lock on
// the readers' side.
//
// Readers count themselves in one of two sets of counters, that of the current epoch's
// parity. The epoch may advance once the other set is zero, so that at most two epochs
// have readers at any time (the scheme of SRCU: P. McKenney, "Sleepable RCU", 2006).
// What is retired in epoch e is unused once the epoch is at least e + 2: everybody who
// entered in e or before has left.
//
// Thread-safety: Enter and Leave from any thread; TryAdvance by one thread at a time.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

namespace cofs {

class ReaderEpochs {
 public:
  // Answers the counter to give to Leave().
  std::atomic<uint64_t>* Enter();
  static void Leave(std::atomic<uint64_t>* counter) {
    counter->fetch_sub(1, std::memory_order_seq_cst);
  }

  uint64_t current() const { return epoch_.load(std::memory_order_seq_cst); }
  // Advances by up to two epochs.
  void TryAdvance();
  // Whether everybody has left who entered up to `epoch`.
  bool HasPassed(uint64_t epoch) const { return current() >= epoch + 2; }

 private:
  static constexpr size_t kShardCount = 16;
  struct alignas(64) Counter {
    std::atomic<uint64_t> count{0};
  };

  bool IsEmpty(uint64_t epoch) const;

  alignas(64) std::atomic<uint64_t> epoch_{2};
  std::array<std::array<Counter, kShardCount>, 2> counters_;
};

}  // namespace cofs
