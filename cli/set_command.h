// cofs set: changes options of a live mount.
#pragma once

#include <string>
#include <vector>

namespace cofs {

// `settings`: "copy=device" and the like. Exit codes as RunStat().
int RunSet(const std::string& path, const std::vector<std::string>& settings);

}  // namespace cofs
