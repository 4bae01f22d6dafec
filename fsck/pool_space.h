// PoolSpace: gives the pool of the store free blocks of the volume, while records are
// written. Thread-safe.
#pragma once

#include <vector>

#include "base/mutex.h"
#include "extent_map/allocator.h"
#include "extent_map/store/store.h"

namespace cofs {

class PoolSpace : public PoolSpaceSource {
 public:
  // nullptr: nothing can be taken.
  void Use(Allocator* free_space) EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    free_space_ = free_space;
  }
  Result<DeviceRange> TakeForPool(uint64_t wanted_bytes, uint64_t minimum_bytes) override
      EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    for (uint64_t bytes = wanted_bytes; free_space_ != nullptr && bytes >= minimum_bytes;
         bytes = RoundDown(bytes / 2, minimum_bytes)) {
      AllocateOptions options;
      options.length_bytes = bytes;
      options.run_count_max = 1;
      const auto runs = free_space_->Allocate(options);
      if (!runs.ok()) continue;
      taken_.push_back(runs->front());
      return runs->front();
    }
    return Error(ErrorCode::kNoSpace, "the pool");
  }
  // What the check counts as the pool's stays that.
  Status PrepareReturn() override {
    return Error(ErrorCode::kNotSupported, "giving back while the volume is checked");
  }
  void ReturnFromPool(DeviceRange range) override EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    std::erase(taken_, range);
    if (free_space_ != nullptr)
      free_space_->Release(range).IgnoreError("the next check counts anew");
  }
  // Takes out what the store has been given, and may not have made known yet.
  void ExcludeTaken(Allocator& free_space) EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    for (const DeviceRange& range : taken_)
      free_space.Take(range).IgnoreError("the store has made it known");
  }

 private:
  Mutex mutex_;
  Allocator* free_space_ GUARDED_BY(mutex_) = nullptr;
  std::vector<DeviceRange> taken_ GUARDED_BY(mutex_);
};

}  // namespace cofs
