// cofs map: where a file lies on the device (the FIEMAP that FUSE can't pass on).
#pragma once

#include <string>

namespace cofs {

int RunMap(const std::string& path, bool json);

}  // namespace cofs
