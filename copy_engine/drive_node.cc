#include "copy_engine/drive_node.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cerrno>

namespace cofs {

Result<Fd> OpenDriveNode(const StackLeaf& leaf) {
  std::string path = "/dev/" + leaf.name;
  // sysfs writes a slash of the name as an exclamation mark.
  std::replace(path.begin(), path.end(), '!', '/');
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.valid()) return ErrorOfErrno(errno, "open " + path);
  struct stat info;
  if (::fstat(fd.get(), &info) != 0) return ErrorOfErrno(errno, "stat " + path);
  if (!S_ISBLK(info.st_mode) ||
      info.st_rdev != makedev(leaf.number.major, leaf.number.minor))
    return Error(ErrorCode::kNotSupported,
                 StrCat(path, " is not the device ", ToString(leaf.number)));
  return fd;
}

}  // namespace cofs
