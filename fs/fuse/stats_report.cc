#include "fs/fuse/stats_report.h"

#include <unistd.h>

#include <nlohmann/json.hpp>

#include "copy_engine/copy_ways_json.h"
#include "fs/fuse/scrub_report.h"

namespace cofs {
namespace {

using Json = nlohmann::ordered_json;

const char* NameOf(AtimePolicy policy) {
  switch (policy) {
    case AtimePolicy::kRelative:
      return "relatime";
    case AtimePolicy::kNone:
      return "noatime";
    case AtimePolicy::kStrict:
      return "strictatime";
  }
  return "?";
}

Json VolumeJson(const StatsSource& source) {
  const Superblock& superblock = source.volume->superblock();
  Json out;
  out["device"] = source.device;
  out["mounted_at"] = source.directory;
  out["uuid"] = superblock.uuid.ToString();
  out["label"] = superblock.label;
  out["format_version"] = superblock.format_version;
  out["bytes"] = superblock.volume_bytes;
  out["io"] = source.io;
  return out;
}

Json OptionsJson(const StatsSource& source) {
  const VolumeOptions& volume = source.volume->options();
  Json out;
  out["read_only"] = volume.read_only;
  out["sync"] = volume.sync;
  out["discard"] = volume.discard;
  out["atime"] = NameOf(volume.atime);
  out["copy"] = cofs::NameOf(volume.copy.get());
  out["clone"] = cofs::NameOf(volume.clone.get());
  out["verify_copy"] = cofs::NameOf(volume.verify_copy.get());
  out["cache_bytes"] = volume.cache_bytes;
  out["commit_interval_s"] = volume.commit_interval_ms / 1000;
  out["mmp"] = volume.mmp;
  out["stall_report_s"] = volume.stall_report_ms / 1000;
  out["writeback_cache"] = source.options->writeback_cache;
  out["threads"] = source.session->thread_count();
  return out;
}

Json SpaceJson(const SpaceUsage& space) {
  Json out;
  out["volume_bytes"] = space.volume_bytes;
  out["free_bytes"] = space.free_bytes;
  out["pending_bytes"] = space.pending_bytes;
  out["reserve_bytes"] = space.reserve_bytes;
  out["largest_run_bytes"] = space.largest_run_bytes;
  out["run_count"] = space.run_count;
  return out;
}

Json StoreJson(const StoreUsage& store) {
  Json out;
  out["pool_bytes"] = store.pool_bytes;
  out["pool_free_bytes"] = store.pool_free_bytes;
  out["pool_reserve_bytes"] = store.pool_reserve_bytes;
  out["journal_bytes"] = store.journal_bytes;
  out["table_files"] = store.table_file_count;
  out["commits"] = store.commit_count;
  return out;
}

Json StallsJson(const StallTotals& stalls) {
  Json out;
  out["now"] = stalls.stalled_now;
  out["oldest"] = stalls.oldest;
  out["oldest_ms"] = stalls.oldest_ms;
  out["count"] = stalls.stalled_count;
  out["longest_ms"] = stalls.longest_ms;
  return out;
}

Json ScrubJson(const ScrubReport& scrub) {
  Json out;
  out["state"] = cofs::NameOf(scrub.state);
  out["done_bytes"] = scrub.done_bytes;
  out["total_bytes"] = scrub.total_bytes;
  out["damage_count"] = scrub.damage_count;
  out["ended_s"] = scrub.ended_s;
  return out;
}

Json IoJson(const CoreCounters& counters) {
  Json out;
  out["reads"] = counters.read_count.load();
  out["read_bytes"] = counters.read_bytes.load();
  out["writes"] = counters.write_count.load();
  out["written_bytes"] = counters.written_bytes.load();
  out["created"] = counters.created_count.load();
  out["removed"] = counters.removed_count.load();
  out["checksum_errors"] = counters.checksum_errors.load();
  out["io_errors"] = counters.io_errors.load();
  return out;
}

Json FallbacksJson(const CoreCounters& counters, FallbackCounts fallbacks) {
  fallbacks[static_cast<size_t>(FallbackReason::kUnaligned)].count =
      counters.unaligned_copy_count.load();
  fallbacks[static_cast<size_t>(FallbackReason::kBadSource)].count =
      counters.bad_source_count.load();
  Json out = Json::array();
  for (size_t i = 0; i < kFallbackReasonCount; ++i) {
    if (fallbacks[i].count == 0) continue;
    Json reason;
    reason["reason"] = cofs::NameOf(static_cast<FallbackReason>(i));
    reason["count"] = fallbacks[i].count;
    reason["bytes"] = fallbacks[i].bytes;
    reason["last"] = fallbacks[i].last_words;
    out.push_back(std::move(reason));
  }
  return out;
}

Json CopiesJson(const CoreCounters& counters, const VolumeUsage& usage) {
  const CopyTotals& totals = usage.copies;
  Json out;
  out["copies"] = counters.copy_count.load();
  out["copied_bytes"] = counters.copied_bytes.load();
  out["memory_bytes"] = counters.copied_by_memory_bytes.load();
  out["clones"] = counters.clone_count.load();
  out["cloned_bytes"] = counters.cloned_bytes.load();
  out["deduped_bytes"] = counters.deduped_bytes.load();
  out["unshared_bytes"] = counters.unshared_bytes.load();
  out["fallbacks"] = totals.fallback_count;
  out["verified_bytes"] = totals.verified_bytes;
  out["verify_failures"] = totals.verify_failed_count;
  Json ways = Json::array();
  for (size_t i = 0; i < kCopyWayCount; ++i) {
    Json way;
    way["way"] = cofs::NameOf(static_cast<CopyWayId>(i));
    way["bytes"] = totals.bytes_by_way[i];
    way["commands"] = totals.commands_by_way[i];
    way["latency"] = LatencyJson(totals.latency_by_way[i]);
    for (const CopyWayState& state : usage.copy_ways)
      if (state.id == static_cast<CopyWayId>(i)) AddWayJson(state, way);
    ways.push_back(std::move(way));
  }
  out["ways"] = std::move(ways);
  out["fallback_reasons"] = FallbacksJson(counters, totals.fallbacks);
  return out;
}

Json FuseJson(const StatsSource& source) {
  const FuseSession& session = *source.session;
  Json out;
  out["sandbox"] = source.sandbox;
  out["libfuse"] = fuse_pkgversion();
  out["kernel_protocol"] = StrCat("7.", session.features().protocol_minor);
  out["write_bytes_max"] = session.features().write_bytes_max;
  out["descriptors_cloned"] = session.has_cloned_descriptors();
  out["features"] = NamesOf(session.features());
  Json requests = Json::object();
  const OpcodeCounts counts = session.counts();
  for (size_t i = 0; i < counts.size(); ++i)
    if (counts[i] != 0 && !NameOfOpcode(i).empty())
      requests[std::string(NameOfOpcode(i))] = counts[i];
  out["requests"] = std::move(requests);
  return out;
}

}  // namespace

std::string StatsText(const StatsSource& source) {
  const VolumeUsage usage = source.volume->usage();
  Json out;
  out["version"] = COFS_VERSION;
  out["pid"] = ::getpid();
  out["mounted_at_s"] = source.mounted_at_s;
  out["read_only"] = usage.read_only;
  out["read_only_reason"] = usage.read_only_reason;
  out["volume"] = VolumeJson(source);
  out["options"] = OptionsJson(source);
  out["space"] = SpaceJson(usage.space);
  Json inodes;
  inodes["used"] = usage.inodes_used;
  inodes["cached"] = usage.inodes_cached;
  inodes["looked_up"] = usage.inodes_looked_up;
  out["inodes"] = std::move(inodes);
  out["store"] = StoreJson(usage.store);
  out["io"] = IoJson(source.volume->counters());
  out["scrub"] = ScrubJson(source.volume->scrub());
  out["stalls"] = StallsJson(usage.stalls);
  out["copy"] = CopiesJson(source.volume->counters(), usage);
  out["fuse"] = FuseJson(source);
  // A name or label that is not UTF-8 must not cost the whole report.
  return out.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace cofs
