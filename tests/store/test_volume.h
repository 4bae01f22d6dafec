// A volume in memory with nothing but a store in it, for tests.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "device/block_device.h"
#include "extent_map/store/store.h"
#include "extent_map/superblock.h"

namespace cofs {

inline Superblock TestSuperblock(uint64_t volume_bytes) {
  Superblock superblock;
  superblock.uuid.bytes.fill(7);
  superblock.volume_bytes = volume_bytes;
  return superblock;
}

// mkfs: the pool behind the superblocks.
inline Status FormatTestVolume(BlockDevice& device, const Batch& initial = Batch()) {
  const uint64_t volume_bytes = device.geometry().size_bytes;
  Superblock superblock = TestSuperblock(volume_bytes);
  const DeviceRange pool{kReservedEnd, Store::InitialPoolBytes(volume_bytes)};
  TRY(Store::Format(device, pool, initial, superblock));
  return SuperblockSlots::Format(device, superblock);
}

struct OpenVolume {
  std::unique_ptr<SuperblockSlots> slots;
  std::unique_ptr<Store> store;
};

inline Result<OpenVolume> OpenTestVolume(BlockDevice& device, StoreOptions options = {}) {
  OpenVolume volume;
  TRY_ASSIGN(volume.slots, SuperblockSlots::Load(device));
  TRY_ASSIGN(volume.store, Store::Open(device, *volume.slots, std::move(options)));
  return volume;
}

// Hands out space from `begin` on, up to the end of the device, and then what came back.
class TestSpace : public PoolSpaceSource {
 public:
  TestSpace(DeviceOffset begin, DeviceOffset end) : next_(begin), end_(end) {}
  Result<DeviceRange> TakeForPool(uint64_t wanted, uint64_t minimum) override {
    MutexLock lock(mutex_);
    const uint64_t length = std::min(wanted, end_ - next_);
    if (length < minimum && !returned_.empty()) {
      DeviceRange range = returned_.back();
      returned_.pop_back();
      if (range.length_bytes > wanted) {
        returned_.push_back({range.offset + wanted, range.length_bytes - wanted});
        range.length_bytes = wanted;
      }
      return range;
    }
    if (length < minimum) return Error(ErrorCode::kNoSpace, "test volume");
    const DeviceRange range{next_, length};
    next_ += length;
    return range;
  }
  void ReturnFromPool(DeviceRange range) override {
    MutexLock lock(mutex_);
    if (range.end() == next_)
      next_ = range.offset;
    else
      returned_.push_back(range);
  }
  Status PrepareReturn() override { return OkStatus(); }
  uint64_t FreeBytes() const {
    MutexLock lock(mutex_);
    uint64_t bytes = end_ - next_;
    for (const DeviceRange& range : returned_) bytes += range.length_bytes;
    return bytes;
  }

 private:
  mutable Mutex mutex_;
  DeviceOffset next_ GUARDED_BY(mutex_);
  std::vector<DeviceRange> returned_ GUARDED_BY(mutex_);
  const DeviceOffset end_;
};

}  // namespace cofs
