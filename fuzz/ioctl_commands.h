// The ioctl(2) numbers that a mount answers, for what throws arguments at them. Without
// shutting down, after which there would be nothing left to try. New ones go to the end:
// inputs of the corpus name them by their place.
#pragma once

#include <linux/fs.h>
#include <sys/ioctl.h>

#include <cstdint>

#include "fs/fuse/cofs_ioctl.h"

namespace cofs {

inline constexpr uint32_t kIoctlCommands[] = {
    COFS_IOC_STATS,    COFS_IOC_MAP,        COFS_IOC_COPY_ARM, COFS_IOC_COPY_REPORT,
    COFS_IOC_TICKET,   COFS_IOC_DEDUPE,     COFS_IOC_UNSHARE,  COFS_IOC_SET,
    COFS_IOC_VERSION,  COFS_IOC_WRITE_BACK, FITRIM,            FS_IOC_GETFLAGS,
    FS_IOC_SETFLAGS,   FS_IOC_FSGETXATTR,   FS_IOC_FSSETXATTR, COFS_IOC_SCRUB,
    COFS_IOC_SCRUB_REPORT, COFS_IOC_SHIFT};

}  // namespace cofs
