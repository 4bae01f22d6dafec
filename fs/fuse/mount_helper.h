// MountHelper: a small process that does what takes the privileges which the daemon gives
// up: it mounts, and it unmounts.
//
// It is forked while there is one thread, knows one mount, and can be asked for three
// things: to mount it, to write back what the kernel has cached of it, to unmount it. It
// ends when the daemon does, however that ends.
// For root it keeps the right to mount and to reach the mount point; a user's helper may
// still run fusermount3, which the daemon, that can gain no privileges, could not.
//
// Belongs to one thread.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>

#include "base/file_descriptor.h"
#include "base/result.h"
#include "fs/fuse/kernel_mount.h"

namespace cofs {

class MountHelper {
 public:
  // Forks: call it before any thread is made.
  static Result<std::unique_ptr<MountHelper>> Start(const MountRequest& request);
  // Waits for its end.
  ~MountHelper();
  MountHelper(const MountHelper&) = delete;
  MountHelper& operator=(const MountHelper&) = delete;

  // As MountFuse(): the connection.
  Result<Fd> Mount();
  // The number of what has been mounted: the others look that it is still there.
  dev_t device() const { return device_; }
  // kNotFound: what is mounted there is something else, or nothing. The daemon must be
  // serving.
  Status WriteBack();
  // As UnmountFuse(). kNotFound as WriteBack().
  Status Unmount(bool lazy);

 private:
  MountHelper(Fd socket, pid_t pid) : socket_(std::move(socket)), pid_(pid) {}
  struct Answer;
  Result<Answer> Ask(char command);

  Fd socket_;
  pid_t pid_;
  dev_t device_ = 0;
};

}  // namespace cofs
