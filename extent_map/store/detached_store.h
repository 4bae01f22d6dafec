// A store that no superblock points to yet: fsck rebuilds a damaged one beside it.
#pragma once

#include <memory>

#include "base/result.h"
#include "extent_map/store/store.h"
#include "extent_map/superblock.h"

namespace cofs {

// An empty store in `pool`, open for writing. Nothing else on the device changes. Where
// its journal is, is kept in `superblock`, which outlives the store; after Close() a
// superblock with these fields makes it the volume's store.
Result<std::unique_ptr<Store>> CreateDetachedStore(BlockDevice& device, DeviceRange pool,
                                                   Superblock& superblock);

}  // namespace cofs
