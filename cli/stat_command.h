// cofs stat: what a mounted volume is and does.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace cofs {

// The JSON text of COFS_IOC_STATS as a page for people. kCorrupt when it is not such a
// text. `now_s` is the time that "mounted for" is counted to.
Result<std::string> RenderStats(std::string_view json_text, int64_t now_s);

// The program: exit codes 0, 1 (usage, from the parser), 2 (failed).
int RunStat(const std::string& path, bool json);

}  // namespace cofs
