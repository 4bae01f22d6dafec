// How ways of copying stand, as JSON: the same in the statistics of a mount and in what
// `cofs probe` prints. Names are stable.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "copy_engine/copy_engine.h"

namespace cofs {

// Adds state, description or reason, failures, limits, cost and the smallest copy that is
// worth it to `out`.
void AddWayJson(const CopyWayState& way, nlohmann::ordered_json& out);
// [{"us_below": 2^i, "count": n}], the shortest first, empty buckets left out.
nlohmann::ordered_json LatencyJson(const LatencyHistogram& histogram);

}  // namespace cofs
