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

// The rest of the line of /proc/PID/status that begins with `name`.
std::optional<std::string> StatusLine(pid_t pid, std::string_view name) {
  std::ifstream status(StrCat("/proc/", pid, "/status"));
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(name)) return line.substr(name.size());
  return std::nullopt;
}

std::optional<uint64_t> EffectiveCapabilities(pid_t pid) {
  const std::optional<std::string> line = StatusLine(pid, "CapEff:\t");
  if (!line) return std::nullopt;
  uint64_t capabilities = 0;
  const auto [end, code] =
      std::from_chars(line->data(), line->data() + line->size(), capabilities, 16);
  if (code != std::errc()) return std::nullopt;
  return capabilities;
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

bool IsInGroup(const fuse_ctx& caller, gid_t group) {
  if (caller.gid == group) return true;
  if (caller.pid <= 0) return false;
  std::istringstream groups(StatusLine(caller.pid, "Groups:").value_or(""));
  for (gid_t each = 0; groups >> each;)
    if (each == group) return true;
  return false;
}

}  // namespace cofs
