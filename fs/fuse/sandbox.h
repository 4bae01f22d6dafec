// What a daemon can't do any more once it has its volume and its device open: use
// capabilities that it does not need, gain any, be traced or dumped, make system calls
// that it has no use for. docs/ARCHITECTURE.md, "What the daemon may do", has the
// reasons.
//
// It binds the calling thread and all that it makes: called before any other is made.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "base/result.h"

namespace cofs {

// Capabilities that ways of copying need on this device, and what they are for:
// CAP_SYS_ADMIN for NVMe commands and the tables of device-mapper, CAP_SYS_RAWIO for SCSI
// commands. None for image files, loop devices and RAM disks. `device`: the number of the
// block device; unset for an image.
uint64_t CapabilitiesFor(std::optional<dev_t> device);

// Gives up all but `capabilities`, and the rest of the above. What this kernel does not
// have, and what a sanitizer needs, is left out. An error leaves the process with less
// than it had, and able to work.
Status EnterSandbox(uint64_t capabilities);

// Installs the filter of system calls alone: refused ones answer ENOSYS, those that
// nothing but an attacker would make end the process.
Status FilterSystemCalls();

// "capabilities none, no new privileges, system calls filtered", as /proc/self/status
// has it.
std::string DescribeSandbox();

}  // namespace cofs
