#include "base/file_descriptor.h"

#include <unistd.h>

namespace cofs {

void Fd::Reset() {
  const int fd = std::exchange(fd_, -1);
  if (fd >= 0) ::close(fd);
}

}  // namespace cofs
