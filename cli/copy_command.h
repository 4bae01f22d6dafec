// cofs cp: copies files and trees, by the device where it can.
#pragma once

#include <string>
#include <vector>

#include "cli/tree_copier.h"

namespace cofs {

struct CopyCommandOptions {
  std::vector<std::string> sources;
  std::string destination;
  bool destination_is_file = false;  // -T: never into a directory
  ProgressMode progress = ProgressMode::kAuto;
  TreeCopyOptions tree;
};

// Exit codes: 0; 1 wrong command line; 2 something could not be copied; 128 + signal
// after an interrupt.
int RunCopy(const CopyCommandOptions& options);

}  // namespace cofs
