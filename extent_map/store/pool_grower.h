// PoolGrower: the thread that grows the pool ahead of need, and shrinks it when most of it
// is free.
//
// Thread-safe. It takes from the volume's free space only when the store is at work,
// never during its recovery, and what it takes is durable in the journal before it is
// used. What it gives back is durably the pool's no more before the volume has it.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>

#include "base/mutex.h"
#include "extent_map/store/file_table.h"
#include "extent_map/store/store.h"
#include "extent_map/store/worker.h"

namespace cofs::store {

class PoolGrower {
 public:
  // In bytes. `shortage`: how much more the pool had better have now; 0: enough. `surplus`:
  // how much it may give back; 0: it is as small as it should be.
  struct Need {
    std::function<uint64_t()> shortage, surplus;
  };
  PoolGrower(FileTable& table, uint64_t step_bytes, Need need)
      : table_(table), step_bytes_(step_bytes), need_(std::move(need)) {}

  // Once.
  void Start(PoolSpaceSource* source) EXCLUDES(mutex_);
  // No call of the source is made from now on.
  void Stop() EXCLUDES(mutex_);
  void Kick() EXCLUDES(mutex_);
  // Waits for an attempt that begins after the call. Whether the pool has grown.
  bool GrowAndWait() EXCLUDES(mutex_);

 private:
  void Attempt();
  void Grow(uint64_t shortage_bytes);
  void Shrink(uint64_t surplus_bytes);
  Worker* worker() EXCLUDES(mutex_);

  FileTable& table_;
  const uint64_t step_bytes_;
  const Need need_;
  PoolSpaceSource* source_ = nullptr;  // set before the thread starts
  Mutex mutex_;
  std::unique_ptr<Worker> worker_ GUARDED_BY(mutex_);
};

}  // namespace cofs::store
