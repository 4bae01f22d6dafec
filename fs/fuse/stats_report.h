// The JSON text of COFS_IOC_STATS: what `cofs stat` shows.
#pragma once

#include <string>

#include "fs/core/volume.h"
#include "fs/fuse/fuse_session.h"
#include "fs/fuse/mount_options.h"

namespace cofs {

struct StatsSource {
  const Volume* volume = nullptr;
  const FuseSession* session = nullptr;
  const MountOptions* options = nullptr;
  std::string device;     // as mounted
  std::string directory;  // where it was mounted first
  std::string io;         // "direct", or why it is not
  std::string sandbox;    // what the daemon has given up
  int64_t mounted_at_s = 0;
};

std::string StatsText(const StatsSource& source);

}  // namespace cofs
