// Mounted cofs volumes, by what they were mounted from.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace cofs {

// Where the device or image at `path` is mounted as a cofs volume; nullopt when it is not.
std::optional<std::string> FindMountOf(const std::string& path);
// A field of /proc/self/mounts with its escapes (\040) resolved.
std::string UnescapeMountField(std::string_view field);

}  // namespace cofs
