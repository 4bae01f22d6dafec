// VolumeLock: keeps cofs programs off each other's volume. A writer (rw mount, mkfs,
// fsck that repairs) excludes everybody, readers (ro mount, fsck -n) share.
//
// It is an open-file-description lock of the whole file (fcntl(2), F_OFD_SETLK) on the
// device node or the image itself: it goes away with the process, and any path that
// leads to the same node or image (symbolic link, hard link) meets it. It is not
// flock(2), because udev takes that one on block devices and would wait for as long as
// a volume is mounted; and programs that lock images, such as virtual machines, use
// this kind too. A claim of the kernel (O_EXCL, a fuseblk mount) does not disturb it.
//
// A loop device takes the same lock on its part of the file below it, so that it and the
// image meet, whichever is opened first.
//
// What it can't see: a second device node with the same number in another directory,
// device-mapper over an image or a device, and the same network image on another host when
// that file system keeps locks local. The heartbeat of a volume does
// (extent_map/mount_protection.h).
#pragma once

#include <chrono>
#include <string>

#include "base/result.h"
#include "base/types.h"

namespace cofs {

enum class LockKind { kShared, kExclusive };

class VolumeLock {
 public:
  // Locks the open file `fd`, which outlives the lock; kExclusive needs it to be open
  // for writing. Waits up to `wait` for others to let go, then kBusy.
  static Result<VolumeLock> Take(int fd, LockKind kind, std::chrono::milliseconds wait,
                                 const std::string& path) {
    return TakeRange(fd, kind, {}, wait, path);
  }
  // A part of the file; length 0: to its end, however long it gets.
  static Result<VolumeLock> TakeRange(int fd, LockKind kind, DeviceRange range,
                                      std::chrono::milliseconds wait,
                                      const std::string& path);
  VolumeLock() = default;
  ~VolumeLock() { Release(); }
  VolumeLock(VolumeLock&& other) noexcept;
  VolumeLock& operator=(VolumeLock&& other) noexcept;
  // At once, also while the kernel still holds the file open for other reasons.
  void Release();

 private:
  explicit VolumeLock(int fd) : fd_(fd) {}
  int fd_ = -1;
};

}  // namespace cofs
