#include "device/volume_lock.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <thread>
#include <utility>

namespace cofs {
namespace {

int Try(int fd, short type, DeviceRange range) {
  struct flock lock = {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = static_cast<off_t>(range.offset.value());
  lock.l_len = static_cast<off_t>(range.length_bytes);  // from 0, length 0: all of it
  int result;
  do {
    result = ::fcntl(fd, F_OFD_SETLK, &lock);
  } while (result != 0 && errno == EINTR);
  return result == 0 ? 0 : errno;
}

}  // namespace

Result<VolumeLock> VolumeLock::TakeRange(int fd, LockKind kind, DeviceRange range,
                                         std::chrono::milliseconds wait,
                                         const std::string& path) {
  const short type = kind == LockKind::kExclusive ? F_WRLCK : F_RDLCK;
  const auto deadline = std::chrono::steady_clock::now() + wait;
  auto pause = std::chrono::milliseconds(2);
  while (true) {
    const int error_number = Try(fd, type, range);
    if (error_number == 0) return VolumeLock(fd);
    if (error_number != EAGAIN && error_number != EACCES)
      return ErrorOfErrno(error_number, "lock " + path);
    const auto now = std::chrono::steady_clock::now();
    if (now >= deadline) {
      return Error(ErrorCode::kBusy, path +
                                         " is used by another program (a mounted cofs, "
                                         "mkfs.cofs, fsck.cofs or a virtual machine)");
    }
    std::this_thread::sleep_for(
        std::min<std::chrono::nanoseconds>(pause, deadline - now));
    pause = std::min(pause * 2, std::chrono::milliseconds(50));
  }
}

VolumeLock::VolumeLock(VolumeLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

VolumeLock& VolumeLock::operator=(VolumeLock&& other) noexcept {
  if (this != &other) {
    Release();
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

void VolumeLock::Release() {
  const int fd = std::exchange(fd_, -1);
  if (fd >= 0) Try(fd, F_UNLCK, {});
}

}  // namespace cofs
