#include "cli/file_attributes.h"

#include <fcntl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string_view>
#include <vector>

#include "base/log.h"

namespace cofs {
namespace {

constexpr size_t kXattrValueBytesMax = 65536;  // the kernel's

std::array<timespec, 2> TimesOf(const struct stat& from) {
  return {from.st_atim, from.st_mtim};
}

// An attribute that another file system, or an unprivileged caller, can't have.
bool MayBeLeftOut(int error_number, std::string_view name) {
  if (error_number == EOPNOTSUPP) return true;
  return (error_number == EPERM || error_number == EACCES) && !name.starts_with("user.");
}

Result<std::vector<char>> NamesOf(int fd) {
  for (;;) {
    const ssize_t bytes = ::flistxattr(fd, nullptr, 0);
    if (bytes < 0 && errno == EOPNOTSUPP) return std::vector<char>();
    if (bytes < 0) return ErrorOfErrno(errno, "list of extended attributes");
    std::vector<char> names(static_cast<size_t>(bytes));
    const ssize_t got = ::flistxattr(fd, names.data(), names.size());
    if (got < 0 && errno == ERANGE) continue;  // it has just grown
    if (got < 0) return ErrorOfErrno(errno, "list of extended attributes");
    names.resize(static_cast<size_t>(got));
    return names;
  }
}

Status CopyXattr(int from, int to, const char* name) {
  std::vector<char> value(kXattrValueBytesMax);
  const ssize_t bytes = ::fgetxattr(from, name, value.data(), value.size());
  if (bytes < 0 && errno == ENODATA) return OkStatus();
  if (bytes < 0) {
    if (MayBeLeftOut(errno, name)) return OkStatus();
    return ErrorOfErrno(errno, "extended attribute " + Printable(name));
  }
  if (::fsetxattr(to, name, value.data(), static_cast<size_t>(bytes), 0) != 0 &&
      !MayBeLeftOut(errno, name))
    return ErrorOfErrno(errno, "extended attribute " + Printable(name));
  return OkStatus();
}

Status CopyXattrs(int from, int to) {
  TRY_ASSIGN(const std::vector<char> names, NamesOf(from));
  for (size_t at = 0; at < names.size();) {
    const std::string name(names.data() + at);  // each ends with a zero
    at += name.size() + 1;
    TRY(CopyXattr(from, to, name.c_str()));
  }
  return OkStatus();
}

}  // namespace

Status CopyAttributes(int source_fd, const struct stat& from, int destination_fd,
                      const PreserveOptions& preserve) {
  bool owner_kept = false;
  if (preserve.owner) {
    owner_kept = ::fchown(destination_fd, from.st_uid, from.st_gid) == 0;
    if (!owner_kept && errno != EPERM) return ErrorOfErrno(errno, "owner");
  }
  if (preserve.xattrs) TRY(CopyXattrs(source_fd, destination_fd));
  if (preserve.mode) {
    mode_t mode = from.st_mode & 07777;
    // Set-ID bits would be somebody else's.
    if (preserve.owner && !owner_kept) mode &= 01777;
    if (::fchmod(destination_fd, mode) != 0) return ErrorOfErrno(errno, "mode");
  }
  if (preserve.times && ::futimens(destination_fd, TimesOf(from).data()) != 0)
    return ErrorOfErrno(errno, "times");
  return OkStatus();
}

Status CopyAttributesByPath(const struct stat& from, const std::string& destination,
                            const PreserveOptions& preserve) {
  const char* path = destination.c_str();
  if (preserve.owner && ::lchown(path, from.st_uid, from.st_gid) != 0 && errno != EPERM)
    return ErrorOfErrno(errno, "owner");
  if (preserve.mode && !S_ISLNK(from.st_mode) && ::chmod(path, from.st_mode & 01777) != 0)
    return ErrorOfErrno(errno, "mode");
  if (preserve.times &&
      ::utimensat(AT_FDCWD, path, TimesOf(from).data(), AT_SYMLINK_NOFOLLOW) != 0)
    return ErrorOfErrno(errno, "times");
  return OkStatus();
}

}  // namespace cofs
