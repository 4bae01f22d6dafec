// What the process behind a request may do beyond what the kernel has checked.
#pragma once

#include "fs/fuse/fuse_api.h"

namespace cofs {

// Root with the right to administer the system (CAP_SYS_ADMIN), in the user namespace of
// this daemon: a user who is root in a namespace of his own has all capabilities there,
// and root of a container may have lost this one. A caller whose /proc entry can't be
// seen from here (it is in no pid namespace below the daemon's, or has ended) is judged
// by its user.
bool MayAdminister(const fuse_ctx& caller);

// Whether `group` is the caller's or one of its supplementary groups. A caller whose /proc
// entry can't be seen has its own one only.
bool IsInGroup(const fuse_ctx& caller, gid_t group);

}  // namespace cofs
