// The way of NVMe's Copy command, to one or more namespaces below a block device.
//
// Commands pass the block layer and the page cache by: everything on the device must
// be direct I/O. They need CAP_SYS_ADMIN (before Linux 6.2 always, later by the
// controller's command effects).
#pragma once

#include <memory>

#include "copy_engine/stacked_copy_way.h"

namespace cofs {

enum class NvmeTransport : uint8_t {
  kUring,  // io_uring passthrough on the generic character device, many in flight
  kIoctl,  // an ioctl on the block device, one after another
};

// For StackedCopyWay::Open(). All leaves must be namespaces that can copy; the limits
// are the smallest of each.
Result<std::unique_ptr<CommandRunner>> OpenNvmeRunner(const DeviceStack& stack,
                                                      NvmeTransport transport);

}  // namespace cofs
