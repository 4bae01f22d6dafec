#include "fs/fuse/caller_rights.h"

#include <charconv>
#include <fstream>
#include <string>

#include "base/check.h"

namespace cofs {

bool MayAdminister(const fuse_ctx& caller) {
  constexpr uint64_t kSysAdmin = uint64_t{1} << 21;  // CAP_SYS_ADMIN
  std::ifstream status(StrCat("/proc/", caller.pid, "/status"));
  for (std::string line; caller.pid > 0 && std::getline(status, line);) {
    constexpr std::string_view kName = "CapEff:\t";
    if (!line.starts_with(kName)) continue;
    uint64_t capabilities = 0;
    const char* begin = line.data() + kName.size();
    const auto [end, code] =
        std::from_chars(begin, line.data() + line.size(), capabilities, 16);
    if (code == std::errc()) return (capabilities & kSysAdmin) != 0;
  }
  return caller.uid == 0;
}

}  // namespace cofs
