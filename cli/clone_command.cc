#include "cli/clone_command.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <csignal>

#include "base/file_descriptor.h"
#include "base/log.h"
#include "base/result.h"
#include "fs/fuse/cofs_ioctl.h"

namespace cofs {
namespace {

constexpr size_t kCopyBytesMax = size_t{1} << 62;

// What the signal handler removes. Written while the signals are blocked.
char doomed_path[PATH_MAX];

void RemoveAndEnd(int signal_number) {
  if (doomed_path[0] != '\0') ::unlink(doomed_path);
  ::signal(signal_number, SIG_DFL);
  ::raise(signal_number);  // when the handler has returned
}

// A name that is taken back unless it is kept, also when a signal ends the program. One
// at a time.
class CloneName {
 public:
  CloneName() = default;
  ~CloneName() {
    if (doomed_path[0] != '\0') ::unlink(doomed_path);
    doomed_path[0] = '\0';
  }
  CloneName(const CloneName&) = delete;
  CloneName& operator=(const CloneName&) = delete;

  // kExists when the name is there already.
  Result<Fd> Make(const std::string& path, mode_t mode) {
    if (path.size() >= sizeof(doomed_path)) return Error(ErrorCode::kNameTooLong, path);
    sigset_t ending, before;
    ::sigemptyset(&ending);
    for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT}) {
      ::sigaddset(&ending, number);
      struct sigaction old;
      // Who runs us with nohup means it.
      if (::sigaction(number, nullptr, &old) == 0 && old.sa_handler != SIG_IGN)
        ::signal(number, &RemoveAndEnd);
    }
    ::sigprocmask(SIG_BLOCK, &ending, &before);
    Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode));
    const int error_number = errno;
    if (fd.valid()) path.copy(doomed_path, path.size());
    ::sigprocmask(SIG_SETMASK, &before, nullptr);
    if (!fd.valid()) return ErrorOfErrno(error_number, path);
    return fd;
  }
  void Keep() { doomed_path[0] = '\0'; }
};

std::string BaseName(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path.substr(path.rfind('/') + 1);
}

std::string DirectoryName(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

Error CloneFailed(int error_number, const std::string& source,
                  const std::string& destination) {
  const std::string what = source + " to " + destination;
  if (error_number == EREMOTEIO)
    return Error(ErrorCode::kNotSupported,
                 what + ": the volume is mounted with clone=device, and its device does "
                        "not copy this");
  return ErrorOfErrno(error_number, what);
}

// All of `source` into the empty file `destination`.
Status CloneData(int source, int destination, uint64_t size_bytes,
                 const std::string& source_path, const std::string& destination_path) {
  cofs_ioc_copy_arm arm{};
  arm.length = size_bytes;
  arm.how = COFS_ARM_CLONE;
  // For an empty file it only says whether this is cofs.
  if (::ioctl(destination, COFS_IOC_COPY_ARM, &arm) != 0) {
    if (errno == ENOTTY || errno == ENOSYS || errno == EOPNOTSUPP)
      return Error(ErrorCode::kNotCofs, destination_path);
    return CloneFailed(errno, source_path, destination_path);
  }
  for (uint64_t done = 0; done < size_bytes;) {
    auto from = static_cast<off64_t>(done), to = from;
    const size_t length = std::min<uint64_t>(size_bytes - done, kCopyBytesMax);
    const ssize_t count = ::copy_file_range(source, &from, destination, &to, length, 0);
    if (count < 0) return CloneFailed(errno, source_path, destination_path);
    if (count == 0)
      return Error(ErrorCode::kRetry, source_path + " became shorter while it was cloned");
    done += static_cast<uint64_t>(count);
  }
  return OkStatus();
}

Status Clone(const std::string& source, std::string destination,
             const CloneCommandOptions& options) {
  // A FIFO must not make us wait.
  const Fd source_fd(::open(source.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!source_fd.valid()) return ErrorOfErrno(errno, source);
  struct stat source_stat, destination_stat;
  if (::fstat(source_fd.get(), &source_stat) != 0) return ErrorOfErrno(errno, source);
  if (S_ISDIR(source_stat.st_mode)) return Error(ErrorCode::kIsDirectory, source);
  if (!S_ISREG(source_stat.st_mode))
    return Error(ErrorCode::kInvalidArgument, source + " is no regular file");
  if (::stat(destination.c_str(), &destination_stat) == 0 &&
      S_ISDIR(destination_stat.st_mode))
    destination += "/" + BaseName(source);
  if (::lstat(destination.c_str(), &destination_stat) == 0) {
    if (!options.replace) return Error(ErrorCode::kExists, destination);
    if (S_ISDIR(destination_stat.st_mode)) return Error(ErrorCode::kIsDirectory, destination);
    if (destination_stat.st_dev == source_stat.st_dev &&
        destination_stat.st_ino == source_stat.st_ino)
      return Error(ErrorCode::kInvalidArgument, destination + " is the source");
  }

  const std::string path =
      options.replace
          ? StrCat(DirectoryName(destination), "/.cofs-clone-", ::getpid())
          : destination;
  CloneName made;
  TRY_ASSIGN(const Fd fd, made.Make(path, options.replace ? 0600 : source_stat.st_mode & 0777));
  if (::fstat(fd.get(), &destination_stat) != 0) return ErrorOfErrno(errno, destination);
  if (destination_stat.st_dev != source_stat.st_dev)
    return Error(ErrorCode::kCrossDevice, source + " to " + destination);
  TRY(CloneData(source_fd.get(), fd.get(), static_cast<uint64_t>(source_stat.st_size),
                source, destination));
  if (options.replace) {
    const mode_t mask = ::umask(0);
    ::umask(mask);
    if (::fchmod(fd.get(), source_stat.st_mode & 0777 & ~mask) != 0 ||
        ::rename(path.c_str(), destination.c_str()) != 0)
      return ErrorOfErrno(errno, destination);
  }
  made.Keep();
  return OkStatus();
}

}  // namespace

int RunClone(const std::string& source, const std::string& destination,
             const CloneCommandOptions& options) {
  const Status cloned = Clone(source, destination, options);
  if (cloned.ok()) return 0;
  LogError(Printable(cloned.error().ToString()));
  return 2;
}

}  // namespace cofs
