// What the caller of a request may do, beyond what the kernel has checked.
#pragma once

#include "fs/fuse/fuse_api.h"

namespace cofs {

// Root in a container without the right to administer is not root here. The thread can
// be gone or out of sight: then its user decides.
bool MayAdminister(const fuse_ctx& caller);

}  // namespace cofs
