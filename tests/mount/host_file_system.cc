#include "tests/mount/host_file_system.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>

#include "tests/mount/file_io.h"
#include "tests/mount/subprocess.h"

namespace cofs {

std::unique_ptr<HostFileSystem> HostFileSystem::Make(const Options& options,
                                                     std::string* why_not) {
  if (const auto reason = WhyNoMounts(/*needs_loop_device=*/true)) {
    *why_not = *reason;
    return nullptr;
  }
  std::unique_ptr<HostFileSystem> host(new HostFileSystem);
  const std::string image = host->directory_.path() + "/host";
  const std::string path = host->directory_.path() + "/mounted";
  MakeDirectory(path);
  {
    const Fd file = Open(image, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (ftruncate(file.get(), static_cast<off_t>(options.size_bytes)) != 0)
      throw std::system_error(errno, std::generic_category(), image);
  }
  std::vector<std::string> command = {"mkfs." + options.type};
  command.insert(command.end(), options.mkfs_arguments.begin(),
                 options.mkfs_arguments.end());
  command.push_back(image);
  const ProgramResult made = RunProgram(command);
  if (made.exit_code != 0) {
    *why_not = command[0] + ": " + (made.err.empty() ? "not there" : made.err);
    return nullptr;
  }
  host->loop_ = LoopDevice(image);
  if (mount(host->loop_.path().c_str(), path.c_str(), options.type.c_str(), 0, "") != 0) {
    *why_not = "mount " + options.type + ": " + strerror(errno);
    return nullptr;
  }
  host->path_ = path;
  return host;
}

HostFileSystem::~HostFileSystem() {
  if (path_.empty()) return;
  // A descriptor that is just being closed may keep it busy.
  for (int attempt = 0; attempt < 100; ++attempt) {
    if (umount2(path_.c_str(), 0) == 0) return;
    if (errno != EBUSY) break;
    usleep(20'000);
  }
  ADD_FAILURE() << "umount " << path_ << ": " << strerror(errno);
  umount2(path_.c_str(), MNT_DETACH);
}

uint64_t HostFileSystem::used_bytes() const {
  const Fd root = Open(path_, O_RDONLY | O_DIRECTORY);
  struct statvfs usage;
  if (syncfs(root.get()) != 0 || fstatvfs(root.get(), &usage) != 0)
    throw std::system_error(errno, std::generic_category(), path_);
  return uint64_t{usage.f_blocks - usage.f_bfree} * usage.f_frsize;
}

}  // namespace cofs
