#include "fs/core/copy_scratch.h"

#include "copy_engine/copy_probe.h"

namespace cofs {

Result<DeviceRange> SpaceScratch::Borrow(uint64_t bytes_max) {
  // The image lies in free space, and must stay whole as long as the volume is called
  // clean.
  const Superblock superblock = slots_.current();
  const DeviceRange image = superblock.clean ? superblock.allocator_image : DeviceRange{};
  return space_.BorrowScratch(kProbeScratchBytesMin, bytes_max, image);
}

}  // namespace cofs
