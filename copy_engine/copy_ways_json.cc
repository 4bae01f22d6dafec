#include "copy_engine/copy_ways_json.h"

#include <nlohmann/json.hpp>

namespace cofs {
namespace {

using Json = nlohmann::ordered_json;

Json LimitsJson(const CopyLimits& limits) {
  Json out;
  out["alignment_bytes"] = limits.alignment_bytes;
  if (limits.segment_bytes_max != UINT64_MAX)
    out["segment_bytes_max"] = limits.segment_bytes_max;
  if (limits.command_bytes_max != UINT64_MAX)
    out["command_bytes_max"] = limits.command_bytes_max;
  out["segments_max"] = limits.segments_max;
  return out;
}

const char* StateOf(const CopyWayState& way) {
  if (!way.is_there) return way.failure_count > 0 ? "failed" : "absent";
  if (way.is_set_aside) return "set aside";
  return way.is_proved ? "proved" : "not proved";
}

}  // namespace

Json LatencyJson(const LatencyHistogram& histogram) {
  Json out = Json::array();
  for (size_t i = 0; i < LatencyHistogram::kBucketCount; ++i) {
    if (histogram.counts[i] == 0) continue;
    Json bucket;
    bucket["us_below"] = uint64_t{1} << i;
    bucket["count"] = histogram.counts[i];
    out.push_back(std::move(bucket));
  }
  return out;
}

void AddWayJson(const CopyWayState& state, Json& way) {
  way["state"] = StateOf(state);
  way["description"] = state.is_there ? state.description : "";
  if (!state.is_there) way["reason"] = state.description;
  way["failures"] = state.failure_count;
  if (state.is_there && !state.last_failure.empty())
    way["last_failure"] = state.last_failure;
  if (state.is_there && state.id != CopyWayId::kBuffered) {
    way["limits"] = LimitsJson(state.limits);
    way["never_worth_it"] = state.request_bytes_min == UINT64_MAX;
    if (state.request_bytes_min != UINT64_MAX)
      way["request_bytes_min"] = state.request_bytes_min;
  }
  if (state.cost) {
    way["setup_us"] = state.cost->setup_us;
    way["bytes_per_us"] = state.cost->bytes_per_us;
  }
}

}  // namespace cofs
