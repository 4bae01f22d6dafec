// mount.cofs: the mount helper and the daemon behind a mount.
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "base/file_descriptor.h"
#include "base/log.h"
#include "fs/fuse/daemon.h"
#include "fs/fuse/kernel_mount.h"
#include "fs/fuse/mount_options.h"
#include "fs/fuse/mounted_volume.h"

namespace cofs {
namespace {

constexpr char kProgram[] = "mount.cofs";

int Fail(int exit_code, const std::string& message) {
  std::fprintf(stderr, "%s: %s\n", kProgram, Printable(message).c_str());
  return exit_code;
}

Result<std::string> RealPath(const std::string& path) {
  std::unique_ptr<char, decltype(&::free)> resolved(::realpath(path.c_str(), nullptr),
                                                    &::free);
  if (resolved == nullptr) return ErrorOfErrno(errno, path);
  return std::string(resolved.get());
}

Result<MountPlace> FindPlace(const MountOptions& options) {
  MountPlace place;
  struct stat stat;
  if (::stat(options.directory.c_str(), &stat) != 0)
    return Error(CodeOfErrno(errno), StrCat("mount point ", options.directory));
  if (!S_ISDIR(stat.st_mode))
    return Error(ErrorCode::kNotDirectory, StrCat("mount point ", options.directory));
  TRY_ASSIGN(place.directory, RealPath(options.directory));
  if (options.remount) {
    place.source = options.source;
    return place;
  }
  if (::stat(options.source.c_str(), &stat) != 0)
    return Error(CodeOfErrno(errno), options.source);
  place.is_block_device = S_ISBLK(stat.st_mode);
  if (!place.is_block_device && !S_ISREG(stat.st_mode))
    return Error(ErrorCode::kInvalidArgument,
                 StrCat(options.source, " is neither a block device nor an image file"));
  // Scripts compare the exact path of a device with /proc/mounts.
  if (place.is_block_device && options.source.starts_with('/')) {
    place.source = options.source;
  } else {
    TRY_ASSIGN(place.source, RealPath(options.source));
  }
  return place;
}

// Other block devices' file systems can be mounted twice; here the second mount shows
// the first one. Nothing when it is not mounted yet.
std::optional<Status> MountAgain(const MountOptions& options, const MountPlace& place) {
  struct stat stat;
  if (!place.is_block_device || ::stat(place.source.c_str(), &stat) != 0) return std::nullopt;
  const auto mounted = FindMounted(major(stat.st_rdev), minor(stat.st_rdev));
  if (!mounted.has_value()) return std::nullopt;
  if (mounted->directory == place.directory)
    return Error(ErrorCode::kBusy,
                 StrCat(place.source, " is already mounted on ", place.directory));
  return MountToo(*mounted, place.directory, options.kernel_flags);
}

// A drive with a write-protect switch, blockdev --setro; an image on a read-only mount. A
// block device of this kind can be opened for writing, and fails every write.
bool IsWriteProtected(const MountPlace& place) {
  if (!place.is_block_device) return ::access(place.source.c_str(), W_OK) != 0 && errno == EROFS;
  const Fd device(::open(place.source.c_str(), O_RDONLY | O_CLOEXEC));
  int is_read_only = 0;
  return device.valid() && ::ioctl(device.get(), BLKROGET, &is_read_only) == 0 &&
         is_read_only != 0;
}

Status OpenLogFile(const std::string& path) {
  auto file = std::make_shared<std::ofstream>(path, std::ios::app);
  if (!file->is_open()) return ErrorOfErrno(errno, path);
  SetLogSink([file](LogLevel level, std::string_view message) {
    static constexpr const char* kLevels[] = {"debug", "info", "warning", "error"};
    const time_t now = ::time(nullptr);
    tm parts{};
    ::localtime_r(&now, &parts);
    char when[32];
    std::strftime(when, sizeof(when), "%F %T", &parts);
    *file << when << ' ' << kLevels[static_cast<int>(level)] << ": " << message << std::endl;
  });
  return OkStatus();
}

int Serve(const MountOptions& options, const MountPlace& place, const ReportOutcome& report) {
  PrepareProcess();
  const LogLevel level = options.verbose ? LogLevel::kDebug : LogLevel::kInfo;
  // Until it is live the log goes to the terminal, which wants to hear of trouble only.
  if (!options.verbose) SetLogLevel(LogLevel::kWarning);
  if (!options.log_file.empty()) {
    if (const Status status = OpenLogFile(options.log_file); !status.ok()) {
      report({kExitSystem, status.error().ToString()});
      return kExitSystem;
    }
    SetLogLevel(level);
  }
  MountedVolume mount(options, place);
  if (const Status status = mount.Start(); !status.ok()) {
    report({kExitMountFailure, status.error().ToString()});
    return kExitMountFailure;
  }
  if (!options.foreground && options.log_file.empty()) LogToSyslog();
  SetLogLevel(level);
  report({});
  return mount.ServeToEnd().ok() ? kExitOk : kExitSystem;
}

int ServeInFront(const MountOptions& options, const MountPlace& place) {
  return Serve(options, place, [](const MountOutcome& outcome) {
    if (outcome.exit_code != kExitOk) Fail(outcome.exit_code, outcome.message);
  });
}

int Main(const std::vector<std::string>& arguments) {
  SetLogProgram(kProgram);
  Result<MountOptions> parsed = ParseMountArguments(arguments);
  if (!parsed.ok()) {
    Fail(kExitUsage, parsed.error().context());
    std::fprintf(stderr, "Try '%s -h'.\n", kProgram);
    return kExitUsage;
  }
  MountOptions& options = *parsed;
  if (options.action == MountOptions::Action::kShowHelp) {
    std::fputs(kMountUsage, stdout);
    return kExitOk;
  }
  if (options.action == MountOptions::Action::kShowVersion) {
    std::printf("%s %s (libfuse %s)\n", kProgram, COFS_VERSION, fuse_pkgversion());
    return kExitOk;
  }
  for (const std::string& warning : options.warnings) Fail(kExitOk, warning);

  const Result<MountPlace> place = FindPlace(options);
  if (!place.ok()) return Fail(kExitMountFailure, place.error().ToString());
  if (options.remount) {
    const Status status = Remount(place->directory, options.kernel_flags);
    return status.ok() ? kExitOk : Fail(kExitMountFailure, status.error().ToString());
  }
  if (const std::optional<Status> again = MountAgain(options, *place); again.has_value())
    return again->ok() ? kExitOk : Fail(kExitMountFailure, again->error().ToString());
  // As mount(8) does with the kernel's own file systems, though -o rw was given: it always
  // is.
  if ((!options.volume.read_only || options.norecovery) && IsWriteProtected(*place)) {
    Fail(kExitOk, StrCat("WARNING: ", place->source, " is write-protected, mounted read-only"));
    MakeReadOnly(options);
  }
  if (!options.log_file.empty() && !options.log_file.starts_with('/')) {
    const Result<std::string> here = RealPath(".");
    if (here.ok()) options.log_file = StrCat(*here, "/", options.log_file);
  }
  if (options.foreground) return ServeInFront(options, *place);
  const MountOutcome outcome = Daemonise(
      [&](const ReportOutcome& report) { return Serve(options, *place, report); });
  if (outcome.exit_code != kExitOk) return Fail(outcome.exit_code, outcome.message);
  return kExitOk;
}

}  // namespace
}  // namespace cofs

int main(int argc, char** argv) {
  return cofs::Main(std::vector<std::string>(argv + 1, argv + argc));
}
