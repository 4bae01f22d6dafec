// What a copy of a file keeps besides its contents.
#pragma once

#include <sys/stat.h>

#include <string>

#include "base/result.h"

namespace cofs {

struct PreserveOptions {
  bool mode = false;    // else as a new file: the source's bits without the umask
  bool owner = false;   // as far as the caller may
  bool times = false;   // access and modification
  bool xattrs = false;  // with POSIX ACLs; those the destination does not take are left out
};

// From `source_fd`, whose stat is `from`, to `destination_fd`; both open.
Status CopyAttributes(int source_fd, const struct stat& from, int destination_fd,
                      const PreserveOptions& preserve);
// Of a link or special file by its path; never follows it.
Status CopyAttributesByPath(const struct stat& from, const std::string& destination,
                            const PreserveOptions& preserve);

}  // namespace cofs
