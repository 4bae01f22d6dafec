#include "fs/core/core.h"

#include <time.h>

namespace cofs {

Timestamp Now() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME_COARSE, &now);
  return {.seconds = now.tv_sec, .nanoseconds = static_cast<uint32_t>(now.tv_nsec)};
}

}  // namespace cofs
