#include "fs/fuse/caller_rights.h"

#include <charconv>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>

#include "base/check.h"

namespace cofs {
namespace {

constexpr uint64_t kSysAdmin = uint64_t{1} << 21;  // CAP_SYS_ADMIN

std::optional<uint64_t> EffectiveCapabilities(pid_t pid) {
  std::ifstream status(StrCat("/proc/", pid, "/status"));
  for (std::string line; std::getline(status, line);) {
    constexpr std::string_view kName = "CapEff:\t";
    if (!line.starts_with(kName)) continue;
    uint64_t capabilities = 0;
    const char* begin = line.data() + kName.size();
    const auto [end, code] =
        std::from_chars(begin, line.data() + line.size(), capabilities, 16);
    if (code == std::errc()) return capabilities;
  }
  return std::nullopt;
}

// Users of a namespace as this daemon's namespace sees them: all of them, one by one, for
// the same namespace. (To compare the namespaces themselves takes CAP_SYS_PTRACE.)
std::string UserMap(const std::string& process) {
  std::ifstream map(StrCat("/proc/", process, "/uid_map"));
  std::stringstream text;
  text << map.rdbuf();
  return std::move(text).str();
}

}  // namespace

bool MayAdminister(const fuse_ctx& caller) {
  if (caller.uid != 0) return false;
  if (caller.pid <= 0) return true;
  const auto capabilities = EffectiveCapabilities(caller.pid);
  if (!capabilities) return true;
  return (*capabilities & kSysAdmin) != 0 &&
         UserMap(std::to_string(caller.pid)) == UserMap("self");
}

}  // namespace cofs
