// cofs trim: discards the free space of a mounted volume.
#pragma once

#include <cstdint>
#include <string>

namespace cofs {

int RunTrim(const std::string& path, uint64_t minimum_bytes);

}  // namespace cofs
