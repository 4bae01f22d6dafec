// The way of SCSI EXTENDED COPY, to one or more logical units below a block device.
//
// One command after another: SG_IO waits for each. Commands pass the page cache by:
// everything on the device must be direct I/O. They need CAP_SYS_RAWIO.
#pragma once

#include <memory>

#include "copy_engine/stacked_copy_way.h"

namespace cofs {

// For StackedCopyWay::Open(). All leaves must be units of a target that has
// third-party copy; the limits are the smallest of each.
Result<std::unique_ptr<CommandRunner>> OpenScsiRunner(const DeviceStack& stack);

}  // namespace cofs
