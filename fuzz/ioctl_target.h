// The ioctl(2) calls of a mount, with a real volume in memory behind them: a request goes
// through libfuse, the session and the operations as from the kernel.
#pragma once

#include <span>
#include <string>
#include <vector>

namespace cofs {

// An input is a sequence of calls (at most 16): a byte of inode and rights, a byte of
// command, two of length, the argument. The volume goes on from input to input; it is
// made anew, and the old one checked, every few hundred.
void RunIoctls(std::span<const char> input);
std::vector<std::string> SeedIoctls();

}  // namespace cofs
