// The process of a mount: daemonising, its settings, its life from opening the volume
// to its clean unmount.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>

#include "base/file_descriptor.h"
#include "fs/fuse/mount_options.h"

namespace cofs {

// Exit codes of mount(8) and its helpers.
inline constexpr int kExitOk = 0;
inline constexpr int kExitUsage = 1;
inline constexpr int kExitSystem = 2;
inline constexpr int kExitMountFailure = 32;

// How a mount is doing, for the one who started it.
struct MountOutcome {
  int exit_code = kExitOk;
  std::string message;  // of a failure, one line
};

// Runs `serve` in a new process, which has no terminal and whose standard streams are
// /dev/null, and returns what it reports: the caller exits with it. `serve` is run
// before anything else in that process (no thread of the parent survives a fork), gets
// a function to report with, once, and its return value is the process's exit code.
using ReportOutcome = std::function<void(const MountOutcome&)>;
MountOutcome Daemonise(const std::function<int(ReportOutcome)>& serve);

// What a daemon in the way of the machine's memory must have set, as far as it is
// permitted; refusals are logged at debug level.
void PrepareProcess();
// After mount `device` is live: read-ahead and the share of dirty memory that it may have.
void TuneMount(dev_t device);

}  // namespace cofs
