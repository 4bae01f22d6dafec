#include "device/loop_lock.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/check.h"
#include "device/block_node.h"

namespace cofs {
namespace {

constexpr size_t kLoopLevelsMax = 8;

// Whether an open file is the one that the kernel has below a loop device.
bool IsBackingOf(int loop_fd, int file_fd) {
  loop_info64 info = {};
  struct stat st = {};
  return ::ioctl(loop_fd, LOOP_GET_STATUS64, &info) == 0 && ::fstat(file_fd, &st) == 0 &&
         info.lo_inode == st.st_ino && info.lo_device == st.st_dev;
}

}  // namespace

Result<LoopLock> LoopLock::Take(int fd, LockKind kind, std::chrono::milliseconds wait,
                                const std::string& path) {
  LoopLock locks;
  DeviceRange range;
  if (::ioctl(fd, BLKGETSIZE64, &range.length_bytes) != 0 || range.length_bytes == 0)
    return locks;
  while (locks.levels_.size() < kLoopLevelsMax) {
    struct stat st = {};
    if (::fstat(fd, &st) != 0 || !S_ISBLK(st.st_mode)) break;
    const BlockNode node = ReadBlockNode("/sys", {major(st.st_rdev), minor(st.st_rdev)});
    if (node.backing_file.empty()) break;
    Level level;
    level.file = Fd(::open(node.backing_file.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK));
    LockKind level_kind = kind;
    if (!level.file.valid()) {
      // Only a writer may lock it alone; sharing it still shows.
      level.file = Fd(::open(node.backing_file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
      level_kind = LockKind::kShared;
    }
    if (!level.file.valid() || !IsBackingOf(fd, level.file.get())) break;
    range.offset += node.backing_offset_bytes;
    auto lock = VolumeLock::TakeRange(level.file.get(), level_kind, range, wait,
                                      StrCat(node.backing_file, ", below ", path, ","));
    if (lock.Is(ErrorCode::kBusy)) return lock.error();
    if (!lock.ok()) break;  // a file system without locks
    level.lock = std::move(*lock);
    fd = level.file.get();
    locks.levels_.push_back(std::move(level));
  }
  return locks;
}

}  // namespace cofs
