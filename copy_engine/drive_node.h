// The device node of a drive that a stack ends in.
#pragma once

#include "base/file_descriptor.h"
#include "base/result.h"
#include "copy_engine/device_stack.h"

namespace cofs {

// Opens it read-only, which is enough for commands, and makes sure that the node is
// that drive. Does not wait for a drive without a medium.
Result<Fd> OpenDriveNode(const StackLeaf& leaf);

}  // namespace cofs
