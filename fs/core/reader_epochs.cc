#include "fs/core/reader_epochs.h"

namespace cofs {
namespace {

size_t ShardOfThread() {
  static std::atomic<size_t> next{0};
  thread_local const size_t shard = next.fetch_add(1, std::memory_order_relaxed);
  return shard;
}

}  // namespace

std::atomic<uint64_t>* ReaderEpochs::Enter() {
  const size_t shard = ShardOfThread() % kShardCount;
  for (;;) {
    const uint64_t epoch = current();
    std::atomic<uint64_t>& count = counters_[epoch % 2][shard].count;
    count.fetch_add(1, std::memory_order_seq_cst);
    // All of these are in one order: either the reader sees that the epoch has moved
    // and counts again, or the next TryAdvance sees the reader.
    if (current() == epoch) return &count;
    Leave(&count);
  }
}

bool ReaderEpochs::IsEmpty(uint64_t epoch) const {
  for (const Counter& counter : counters_[epoch % 2])
    if (counter.count.load(std::memory_order_seq_cst) != 0) return false;
  return true;
}

void ReaderEpochs::TryAdvance() {
  for (int step = 0; step < 2; ++step) {
    const uint64_t epoch = current();
    if (!IsEmpty(epoch + 1)) return;
    epoch_.store(epoch + 1, std::memory_order_seq_cst);
  }
}

}  // namespace cofs
