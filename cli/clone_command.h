// cofs clone: a file that shares the blocks of another.
#pragma once

#include <string>

namespace cofs {

struct CloneCommandOptions {
  bool replace = false;  // a destination that exists is replaced, in one step
};

// The exit code. `destination` is a new name, or a directory that gets one. Nothing is
// left of a clone that failed.
int RunClone(const std::string& source, const std::string& destination,
             const CloneCommandOptions& options);

}  // namespace cofs
