// SpaceScratch: free blocks of the volume, lent to the copy engine for trial copies.
#pragma once

#include "copy_engine/copy_engine.h"
#include "extent_map/superblock.h"
#include "fs/core/space.h"

namespace cofs {

// Thread-safe. Both outlive it.
class SpaceScratch final : public CopyScratch {
 public:
  SpaceScratch(Space& space, const SuperblockSlots& slots) : space_(space), slots_(slots) {}
  Result<DeviceRange> Borrow(uint64_t bytes_max) override;
  void Return(DeviceRange range) override { space_.ReturnScratch(range); }

 private:
  Space& space_;
  const SuperblockSlots& slots_;
};

}  // namespace cofs
