#include "cli/map_command.h"

#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "cli/text_table.h"
#include "cli/volume_client.h"

namespace cofs {
namespace {

std::string FlagsText(uint32_t flags) {
  std::string text;
  if ((flags & COFS_EXTENT_UNWRITTEN) != 0) text = "unwritten";
  if ((flags & COFS_EXTENT_SHARED) != 0) text += text.empty() ? "shared" : ",shared";
  return text;
}

Result<std::string> MapText(const VolumeClient& client) {
  TextTable table({{"file offset", true}, {"device offset", true}, {"length", true}, {"flags"}});
  uint64_t count = 0, mapped_bytes = 0;
  TRY(client.Map([&](const cofs_map_extent& extent) {
    table.Row({FormatCount(extent.file_offset), FormatCount(extent.device_offset),
               FormatCount(extent.length), FlagsText(extent.flags)});
    ++count;
    mapped_bytes += extent.length;
    return true;
  }));
  std::string text = table.empty() ? "" : table.Render();
  text += FormatCount(count) + (count == 1 ? " extent, " : " extents, ") +
          FormatBytes(mapped_bytes) + "\n";
  return text;
}

Result<std::string> MapJson(const VolumeClient& client) {
  nlohmann::ordered_json extents = nlohmann::ordered_json::array();
  TRY(client.Map([&](const cofs_map_extent& extent) {
    nlohmann::ordered_json out;
    out["file_offset"] = extent.file_offset;
    out["device_offset"] = extent.device_offset;
    out["length"] = extent.length;
    out["unwritten"] = (extent.flags & COFS_EXTENT_UNWRITTEN) != 0;
    out["shared"] = (extent.flags & COFS_EXTENT_SHARED) != 0;
    extents.push_back(std::move(out));
    return true;
  }));
  nlohmann::ordered_json all;
  all["extents"] = std::move(extents);
  return all.dump(2) + "\n";
}

}  // namespace

int RunMap(const std::string& path, bool json) {
  const auto text = [&]() -> Result<std::string> {
    TRY_ASSIGN(const VolumeClient client, VolumeClient::Open(path));
    return json ? MapJson(client) : MapText(client);
  }();
  if (!text.ok()) {
    LogError(text.error().ToString());
    return 2;
  }
  std::fputs(text->c_str(), stdout);
  return 0;
}

}  // namespace cofs
