// The JSON text of COFS_IOC_SCRUB_REPORT: what `cofs scrub` shows.
#pragma once

#include <string>
#include <string_view>

#include "fs/core/scrub_types.h"

namespace cofs {

std::string ScrubText(const ScrubReport& report);
// "none", "running", "stopped", "finished", "failed"
std::string_view NameOf(ScrubState state);

}  // namespace cofs
