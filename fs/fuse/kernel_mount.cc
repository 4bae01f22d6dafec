#include "fs/fuse/kernel_mount.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

namespace cofs {
namespace {

constexpr char kFuseDevice[] = "/dev/fuse";

std::string JoinOptions(const std::vector<std::string>& options) {
  std::string joined;
  for (const std::string& option : options) {
    if (!joined.empty()) joined += ',';
    joined += option;
  }
  return joined;
}

std::string EscapeCommas(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == ',' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

Result<Fd> OpenFuseDevice() {
  Fd device(::open(kFuseDevice, O_RDWR | O_CLOEXEC));
  if (device.valid()) return device;
  if (errno == ENOENT || errno == ENODEV || errno == ENXIO)
    return Error(ErrorCode::kNotSupported,
                 "/dev/fuse is not there: is the kernel module fuse loaded?");
  return ErrorOfErrno(errno, "opening /dev/fuse");
}

// ---- fusermount3: mounts for a user, and sends the descriptor over a socket ----

Result<int> RunFusermount(std::vector<std::string> arguments, int socket) {
  arguments.insert(arguments.begin(), "fusermount3");
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  std::vector<std::string> environment{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"};
  if (socket >= 0) environment.push_back(StrCat("_FUSE_COMMFD=", socket));
  std::vector<char*> envp;
  for (std::string& variable : environment) envp.push_back(variable.data());
  envp.push_back(nullptr);

  pid_t child = -1;
  int failed = ENOENT;
  for (const char* path : {"/usr/bin/fusermount3", "/bin/fusermount3"}) {
    failed = ::posix_spawn(&child, path, nullptr, nullptr, argv.data(), envp.data());
    if (failed == 0) break;
  }
  if (failed != 0) return ErrorOfErrno(failed, "running fusermount3");
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return ErrorOfErrno(errno, "waiting for fusermount3");
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

Result<Fd> ReceiveDescriptor(int socket) {
  char byte = 0;
  iovec part{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  const ssize_t received = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  if (received < 0) return ErrorOfErrno(errno, "receiving from fusermount3");
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (received == 0 || header == nullptr || header->cmsg_type != SCM_RIGHTS)
    return Error(ErrorCode::kSystem, "fusermount3 sent no descriptor");
  int fd = -1;
  std::memcpy(&fd, CMSG_DATA(header), sizeof(fd));
  return Fd(fd);
}

Result<Fd> MountByFusermount(const MountRequest& request) {
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
    return ErrorOfErrno(errno, "socketpair");
  Fd ours(pair[0]);
  Fd theirs(pair[1]);
  ::fcntl(theirs.get(), F_SETFD, 0);  // this one must survive the exec
  std::vector<std::string> options{StrCat("fsname=", EscapeCommas(request.source)),
                                   "subtype=cofs", "default_permissions"};
  if (request.allow_other) options.emplace_back("allow_other");
  if ((request.flags & MS_RDONLY) != 0) options.emplace_back("ro");
  if ((request.flags & MS_NOEXEC) != 0) options.emplace_back("noexec");
  if ((request.flags & MS_NOATIME) != 0) options.emplace_back("noatime");
  options.insert(options.end(), request.kernel_options.begin(), request.kernel_options.end());
  TRY_ASSIGN(const int code,
             RunFusermount({"-o", JoinOptions(options), "--", request.directory},
                           theirs.get()));
  theirs.Reset();
  if (code != 0)
    return Error(ErrorCode::kNotPermitted,
                 StrCat("fusermount3 did not mount at ", request.directory));
  return ReceiveDescriptor(ours.get());
}

std::string KernelSentence(int error_number, const MountRequest& request) {
  switch (error_number) {
    case EBUSY:
      return StrCat(request.source, " or ", request.directory,
                    " is in use, or already mounted");
    case ENODEV:
      return "this kernel has no FUSE file systems: is the module fuse loaded?";
    case EPERM:
      return "mounting is not permitted";
    default:
      return StrCat("mount(2) of ", request.source, " at ", request.directory);
  }
}

// mountinfo writes blanks and backslashes as \ooo.
std::string Unescape(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      out += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 +
                               (text[i + 3] - '0'));
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

}  // namespace

Result<Fd> MountFuse(const MountRequest& request) {
  if (::geteuid() != 0) return MountByFusermount(request);
  TRY_ASSIGN(Fd device, OpenFuseDevice());
  struct stat root;
  if (::stat(request.directory.c_str(), &root) != 0)
    return ErrorOfErrno(errno, request.directory);
  char root_mode[16];
  std::snprintf(root_mode, sizeof(root_mode), "%o", root.st_mode & S_IFMT);
  std::vector<std::string> options{
      StrCat("fd=", device.get()),       StrCat("rootmode=", root_mode),
      StrCat("user_id=", ::getuid()),    StrCat("group_id=", ::getgid()),
      "default_permissions",             "allow_other"};
  if (request.is_block_device) options.emplace_back("blksize=4096");
  options.insert(options.end(), request.kernel_options.begin(), request.kernel_options.end());
  const char* type = request.is_block_device ? "fuseblk.cofs" : "fuse.cofs";
  if (::mount(request.source.c_str(), request.directory.c_str(), type, request.flags,
              JoinOptions(options).c_str()) != 0) {
    const int error_number = errno;
    return ErrorOfErrno(error_number, KernelSentence(error_number, request));
  }
  return device;
}

Status UnmountFuse(const std::string& directory, bool lazy) {
  if (::geteuid() == 0) {
    if (::umount2(directory.c_str(), UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) != 0)
      return ErrorOfErrno(errno, StrCat("unmounting ", directory));
    return OkStatus();
  }
  std::vector<std::string> arguments{"-u", "-q"};
  if (lazy) arguments.emplace_back("-z");
  arguments.insert(arguments.end(), {"--", directory});
  TRY_ASSIGN(const int code, RunFusermount(arguments, -1));
  if (code != 0) return Error(ErrorCode::kBusy, StrCat("unmounting ", directory));
  return OkStatus();
}

std::vector<MountedFileSystem> ParseMountInfo(std::string_view text) {
  // 36 35 98:0 /root /directory options [tags] - type source super-options
  std::vector<MountedFileSystem> mounts;
  std::istringstream lines{std::string(text)};
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string id, parent, number, root, directory, options, word;
    words >> id >> parent >> number >> root >> directory >> options;
    while (words >> word && word != "-") {
    }
    MountedFileSystem mounted;
    std::string source;
    if (!(words >> mounted.type >> source)) continue;
    if (std::sscanf(number.c_str(), "%u:%u", &mounted.major, &mounted.minor) != 2) continue;
    mounted.root = Unescape(root);
    mounted.directory = Unescape(directory);
    mounted.source = Unescape(source);
    mounts.push_back(std::move(mounted));
  }
  return mounts;
}

std::optional<MountedFileSystem> FindMounted(unsigned major, unsigned minor) {
  std::ifstream file("/proc/self/mountinfo");
  std::stringstream text;
  text << file.rdbuf();
  for (MountedFileSystem& mounted : ParseMountInfo(text.str())) {
    if (mounted.major == major && mounted.minor == minor && mounted.root == "/" &&
        mounted.type == "fuseblk.cofs")
      return std::move(mounted);
  }
  return std::nullopt;
}

Status MountToo(const MountedFileSystem& mounted, const std::string& directory,
                unsigned long flags) {
  const auto failed = [&] {
    return ErrorOfErrno(errno,
                        StrCat("mounting ", mounted.source, " at ", directory, " too"));
  };
  // A bind mount would join the peers of the one that it shows: what is mounted below the
  // one would appear below the other. Other file systems' second mounts don't.
  const Fd tree(::open_tree(AT_FDCWD, mounted.directory.c_str(),
                            OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
  if (!tree.valid()) return failed();
  struct stat root;
  if (::fstat(tree.get(), &root) != 0) return failed();
  if (major(root.st_dev) != mounted.major || minor(root.st_dev) != mounted.minor)
    return Error(ErrorCode::kBusy, StrCat(mounted.source, " is mounted at ", mounted.directory,
                                          ", and something else over it"));
  mount_attr attributes{};
  attributes.propagation = MS_PRIVATE;
  if (::mount_setattr(tree.get(), "", AT_EMPTY_PATH, &attributes, sizeof(attributes)) != 0)
    return failed();
  if (::move_mount(tree.get(), "", AT_FDCWD, directory.c_str(), MOVE_MOUNT_F_EMPTY_PATH) != 0)
    return failed();
  if (flags == 0) return OkStatus();
  if (::mount(nullptr, directory.c_str(), nullptr, MS_REMOUNT | MS_BIND | flags, nullptr) != 0)
    return ErrorOfErrno(errno, StrCat("setting the mount flags of ", directory));
  return OkStatus();
}

Status Remount(const std::string& directory, unsigned long flags) {
  if (::mount(nullptr, directory.c_str(), nullptr, MS_REMOUNT | flags, nullptr) != 0)
    return ErrorOfErrno(errno, StrCat("remounting ", directory));
  return OkStatus();
}

}  // namespace cofs
