#include "base/check.h"

#include <cstdio>
#include <cstdlib>

#include "base/log.h"

namespace cofs {

void CheckFailed(const char* file, int line, const char* condition,
                 const std::string& message) {
  LogError(StrCat("impossible state at ", file, ":", line, ": ", condition,
                  message.empty() ? "" : ": ", message));
  std::abort();
}

}  // namespace cofs
