#include "cli/set_command.h"

#include <algorithm>

#include "base/log.h"
#include "cli/volume_client.h"

namespace cofs {
namespace {

constexpr const char* kKnown =
    "copy=auto|share|device|buffered, clone=share|device, verify_copy=off|sample|all";

Result<std::string> Joined(const std::vector<std::string>& settings) {
  std::string text;
  for (const std::string& setting : settings) {
    if (setting.find('=') == std::string::npos)
      return Error(ErrorCode::kInvalidArgument,
                   "'" + Printable(setting) + "' is not NAME=VALUE");
    if (!text.empty()) text += ',';
    text += setting;
  }
  return text;
}

}  // namespace

int RunSet(const std::string& path, const std::vector<std::string>& settings) {
  const Result<std::string> text = Joined(settings);
  if (!text.ok()) {
    LogError(text.error().context());
    return 1;
  }
  const Status changed = [&]() -> Status {
    TRY_ASSIGN(const VolumeClient client, VolumeClient::Open(path));
    return client.Set(*text);
  }();
  if (changed.ok()) return 0;
  if (changed.Is(ErrorCode::kInvalidArgument)) {
    LogError("the volume does not know '" + Printable(*text) + "'; there are " + kKnown);
    return 1;
  }
  LogError(changed.error().ToString());
  return 2;
}

}  // namespace cofs
