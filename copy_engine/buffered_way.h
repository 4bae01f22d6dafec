// BufferedWay: copies through memory, reads and writes overlapping at depth. Always
// there; the yardstick of the other ways.
//
// Memory: one Run() uses at most Options::in_flight_bytes_max, in chunks that are read,
// checked and written one by one; a few such arenas are kept for the next Run().
// Thread-safety: as CopyWay.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/mutex.h"
#include "copy_engine/copy_way.h"

namespace cofs {

class BufferedWay final : public CopyWay {
 public:
  // `device` outlives this.
  BufferedWay(BlockDevice& device, const CopyEngine::Options& options);
  ~BufferedWay() override;

  CopyWayId id() const override { return CopyWayId::kBuffered; }
  const CopyLimits& limits() const override { return limits_; }
  // One command is one chunk. Every error is kCopyFailed: no way comes after this one.
  // The chunks in flight are finished on an interrupt, those before the failed one on
  // an error.
  CopyOutcome Run(const CopyTask& task) override;

 private:
  // What one Run() works with.
  struct Arena {
    AlignedBuffer memory;  // slot_count_ chunks; outlives the queue
    std::unique_ptr<IoQueue> queue;
    bool is_registered = false;
  };
  class Pipeline;

  std::unique_ptr<Arena> TakeArena() EXCLUDES(mutex_);
  void ReturnArena(std::unique_ptr<Arena> arena) EXCLUDES(mutex_);

  BlockDevice& device_;
  uint64_t chunk_bytes_;
  size_t slot_count_;
  CopyLimits limits_;

  Mutex mutex_;
  std::vector<std::unique_ptr<Arena>> idle_arenas_ GUARDED_BY(mutex_);
};

}  // namespace cofs
