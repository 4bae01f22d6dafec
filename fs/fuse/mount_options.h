// MountOptions: the command line of mount.cofs.
//
//   mount.cofs [-sfnvVh] [-o OPTIONS] [-t TYPE] DEVICE|IMAGE DIRECTORY
//
// as mount(8) calls its helpers. Pure functions: nothing is opened here.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "fs/core/volume_options.h"

namespace cofs {

struct MountOptions {
  enum class Action { kMount, kShowHelp, kShowVersion };
  Action action = Action::kMount;

  std::string source;     // as given
  std::string directory;  // as given
  bool norecovery = false;  // given: as ro
  bool foreground = false;
  bool verbose = false;
  bool sloppy = false;  // options that are not known are left out, with a warning

  VolumeOptions volume;
  bool writeback_cache = true;
  // Multi-mount protection; not said: of block devices.
  std::optional<bool> mmp;
  bool sandbox = true;  // privileges that are not needed are given up
  unsigned thread_count = 0;  // 0: by the number of processors
  std::string log_file;       // empty: syslog

  bool remount = false;
  bool allow_other = false;  // asked for; root has it anyway
  // Flags of mount(2): MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_NOATIME...
  unsigned long kernel_flags = 0;
  // Options that the kernel takes as they are: "max_read=65536", "context=..."
  std::vector<std::string> kernel_options;
  std::vector<std::string> warnings;  // to be shown, of sloppy mode
};

// kInvalidArgument, with a sentence that names the option.
Result<MountOptions> ParseMountArguments(const std::vector<std::string>& arguments);
// As -o ro.
void MakeReadOnly(MountOptions& options);
// One -o list, into `options`. Commas inside double quotes and behind a backslash don't
// separate.
Status ParseOptionList(std::string_view list, MountOptions& options);
// The same for those that may change while mounted: copy, clone, verify_copy.
Status ParseLiveOptions(std::string_view list, MountOptions& options);
// "64M", "1G", "65536": bytes, in powers of 1024.
Result<uint64_t> ParseSize(std::string_view text);

extern const char kMountUsage[];

}  // namespace cofs
