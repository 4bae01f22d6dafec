// PoolGrower: the thread that grows the pool ahead of need.
//
// Thread-safe. It takes from the volume's free space only when the store is at work,
// never during its recovery, and what it takes is durable in the journal before it is
// used.
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
  // `shortage_bytes`: how much more the pool had better have now; 0: enough.
  PoolGrower(FileTable& table, uint64_t step_bytes,
             std::function<uint64_t()> shortage_bytes)
      : table_(table),
        step_bytes_(step_bytes),
        shortage_bytes_(std::move(shortage_bytes)) {}

  // Once.
  void Start(PoolSpaceSource* source) EXCLUDES(mutex_);
  // No call of the source is made from now on.
  void Stop() EXCLUDES(mutex_);
  void Kick() EXCLUDES(mutex_);
  // Waits for an attempt that begins after the call. Whether the pool has grown.
  bool GrowAndWait() EXCLUDES(mutex_);

 private:
  void Attempt();
  Worker* worker() EXCLUDES(mutex_);

  FileTable& table_;
  const uint64_t step_bytes_;
  const std::function<uint64_t()> shortage_bytes_;
  PoolSpaceSource* source_ = nullptr;  // set before the thread starts
  Mutex mutex_;
  std::unique_ptr<Worker> worker_ GUARDED_BY(mutex_);
};

}  // namespace cofs::store
