// LoopLock: the volume lock (volume_lock.h) on what lies below a loop device, so that the
// device meets an image that is used by itself, and other loop devices over the same part
// of it, whichever is opened first.
//
// Best effort: a file that was removed, or lies where this process can't see it, can't be
// locked; nobody else finds it either.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "base/file_descriptor.h"
#include "base/result.h"
#include "device/volume_lock.h"

namespace cofs {

class LoopLock {
 public:
  // Locks the device's part of the file below `fd`, of the one below that when it is a
  // loop device itself, and so on; nothing when `fd` is no loop device, or a partition of
  // one. kBusy.
  static Result<LoopLock> Take(int fd, LockKind kind, std::chrono::milliseconds wait,
                               const std::string& path);

 private:
  struct Level {
    Fd file;
    VolumeLock lock;  // on the file, and so released before it
  };
  std::vector<Level> levels_;
};

}  // namespace cofs
