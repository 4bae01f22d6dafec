// KernelMount: the kernel's side of a mount: /dev/fuse, mount(2), fusermount3 for users
// without the right to mount, and the way back.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/file_descriptor.h"
#include "base/result.h"

namespace cofs {

struct MountRequest {
  std::string source;     // what /proc/mounts shows: absolute
  std::string directory;  // absolute, without symbolic links
  bool is_block_device = false;  // mounted as fuseblk: sync and umount reach the daemon
  bool allow_other = false;
  unsigned long flags = 0;  // of mount(2)
  std::vector<std::string> kernel_options;
};

// Mounts, and returns the connection: serve it at once. Errors are sentences.
Result<Fd> MountFuse(const MountRequest& request);
// Unmounts. kBusy when it is in use, unless `lazy`: then it is detached, and ends when
// its last user does.
Status UnmountFuse(const std::string& directory, bool lazy);

// One line of /proc/self/mountinfo.
struct MountedFileSystem {
  unsigned major = 0, minor = 0;
  std::string root;       // the part of the file system that is mounted
  std::string directory;
  std::string type;
  std::string source;
};
std::vector<MountedFileSystem> ParseMountInfo(std::string_view text);
// Where this block device is mounted as cofs in this namespace, if it is.
std::optional<MountedFileSystem> FindMounted(unsigned major, unsigned minor);
// Mounts it at `directory`, too.
Status MountToo(const MountedFileSystem& mounted, const std::string& directory,
                unsigned long flags);
// Changes the flags (ro, nosuid...) of what is mounted at `directory`.
Status Remount(const std::string& directory, unsigned long flags);

}  // namespace cofs
