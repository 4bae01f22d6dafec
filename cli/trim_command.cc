#include "cli/trim_command.h"

#include <cstdio>

#include "base/log.h"
#include "cli/text_table.h"
#include "cli/volume_client.h"

namespace cofs {

int RunTrim(const std::string& path, uint64_t minimum_bytes) {
  const auto discarded = [&]() -> Result<uint64_t> {
    TRY_ASSIGN(const VolumeClient client, VolumeClient::Open(path));
    return client.Trim(0, UINT64_MAX, minimum_bytes);
  }();
  if (!discarded.ok()) {
    LogError(discarded.error().ToString());
    return 2;
  }
  std::printf("%s discarded\n", FormatBytes(*discarded).c_str());
  return 0;
}

}  // namespace cofs
