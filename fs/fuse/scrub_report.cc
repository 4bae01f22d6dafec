#include "fs/fuse/scrub_report.h"

#include <nlohmann/json.hpp>

namespace cofs {

std::string_view NameOf(ScrubState state) {
  switch (state) {
    case ScrubState::kNone:
      return "none";
    case ScrubState::kRunning:
      return "running";
    case ScrubState::kStopped:
      return "stopped";
    case ScrubState::kFinished:
      return "finished";
    case ScrubState::kFailed:
      return "failed";
  }
  return "?";
}

std::string ScrubText(const ScrubReport& report) {
  using Json = nlohmann::ordered_json;
  Json out;
  out["state"] = NameOf(report.state);
  out["in_metadata"] = report.in_metadata;
  out["rate_limit"] = report.bytes_per_second;
  out["done_bytes"] = report.done_bytes;
  out["total_bytes"] = report.total_bytes;
  out["run_bytes"] = report.run_bytes;
  out["run_seconds"] = report.run_seconds;
  out["started_s"] = report.started_s;
  out["ended_s"] = report.ended_s;
  out["error"] = report.error;
  out["damage_count"] = report.damage_count;
  Json list = Json::array();
  for (const ScrubDamage& damage : report.damage) {
    Json place;
    place["inode"] = damage.inode.value();
    place["paths"] = damage.paths;
    place["file_offset"] = damage.file_offset.value();
    place["device_offset"] = damage.device_offset.value();
    place["length"] = damage.length_bytes;
    place["reason"] = damage.reason;
    list.push_back(std::move(place));
  }
  out["damage"] = std::move(list);
  // A name that is not UTF-8 must not cost the whole report.
  return out.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace cofs
