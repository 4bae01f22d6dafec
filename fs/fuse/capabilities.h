// Capabilities of the calling thread, and of those that it makes from then on.
#pragma once

#include <cstdint>

#include "base/result.h"

namespace cofs {

// CAP_... of <linux/capability.h> as a bit.
constexpr uint64_t CapabilityBit(int capability) { return uint64_t{1} << capability; }

// Of those that it has it keeps these, for good: neither execve(2) nor anything else
// brings others back.
Status KeepCapabilities(uint64_t kept);
// What it has (effective).
uint64_t EffectiveCapabilities();
// "sys_admin,sys_rawio"; "none".
std::string NamesOfCapabilities(uint64_t capabilities);

}  // namespace cofs
