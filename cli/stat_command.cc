#include "cli/stat_command.h"

#include <cstdio>
#include <ctime>

#include "base/log.h"
#include "cli/copy_facts.h"
#include "cli/stats_json.h"
#include "cli/text_table.h"
#include "cli/volume_client.h"

namespace cofs {
namespace {

using Json = StatsJson;

std::string State(const Json& stats) {
  if (!StatsFlag(stats, "read_only")) return "read-write";
  const std::string reason = StatsText(stats, "read_only_reason");
  return reason.empty() ? "read-only" : "READ-ONLY after an error: " + reason;
}

std::string OptionsLine(const Json& options) {
  std::string line = StatsFlag(options, "read_only") ? "ro" : "rw";
  const auto add = [&line](const std::string& option) { line += "," + option; };
  if (StatsFlag(options, "sync")) add("sync");
  if (StatsFlag(options, "discard")) add("discard");
  add(StatsText(options, "atime"));
  add(StatsFlag(options, "writeback_cache") ? "writeback_cache" : "nowriteback_cache");
  for (const char* name : {"copy", "clone", "verify_copy"})
    if (const std::string value = StatsText(options, name); !value.empty())
      add(std::string(name) + "=" + value);
  add("cache=" + std::to_string(StatsNumber(options, "cache_bytes") >> 20) + "M");
  add("commit=" + std::to_string(StatsNumber(options, "commit_interval_s")));
  if (options.contains("mmp")) add(StatsFlag(options, "mmp") ? "mmp" : "nommp");
  add("threads=" + std::to_string(StatsNumber(options, "threads")));
  return line;
}

std::string CountAndBytes(const Json& object, const char* count, const char* bytes) {
  return FormatCount(StatsNumber(object, count)) + ", " + FormatBytes(StatsNumber(object, bytes));
}

void VolumeFacts(const Json& stats, int64_t now_s, FactSheet& sheet) {
  const Json& volume = StatsPart(stats, "volume");
  sheet.Section("Volume");
  sheet.Fact("device", StatsText(volume, "device"));
  sheet.Fact("mounted at", StatsText(volume, "mounted_at"));
  const uint64_t since = StatsNumber(stats, "mounted_at_s");
  const auto now = static_cast<uint64_t>(now_s);
  sheet.Fact("mounted for", FormatDuration(now > since ? now - since : 0));
  sheet.Fact("state", State(stats));
  sheet.Fact("uuid", StatsText(volume, "uuid"));
  sheet.Fact("label", StatsText(volume, "label"));
  sheet.Fact("format version", std::to_string(StatsNumber(volume, "format_version")));
  sheet.Fact("device I/O", StatsText(volume, "io"));
  sheet.Fact("options", OptionsLine(StatsPart(stats, "options")));
}

void SpaceFacts(const Json& stats, FactSheet& sheet) {
  const Json& space = StatsPart(stats, "space");
  const uint64_t whole = StatsNumber(space, "volume_bytes");
  const uint64_t free = StatsNumber(space, "free_bytes");
  const uint64_t pending = StatsNumber(space, "pending_bytes");
  sheet.Section("Space");
  sheet.Fact("size", FormatBytes(whole));
  sheet.Fact("free", FormatBytes(free) + " (" + FormatShare(free, whole) + ")");
  sheet.Fact("free after the next commit", FormatBytes(pending));
  sheet.Fact("kept for overwrites", FormatBytes(StatsNumber(space, "reserve_bytes")));
  sheet.Fact("largest free run", FormatBytes(StatsNumber(space, "largest_run_bytes")));
  sheet.Fact("free runs", FormatCount(StatsNumber(space, "run_count")));
  const Json& inodes = StatsPart(stats, "inodes");
  sheet.Section("Inodes");
  sheet.Fact("used", FormatCount(StatsNumber(inodes, "used")));
  sheet.Fact("in memory", FormatCount(StatsNumber(inodes, "cached")));
  sheet.Fact("known to the kernel", FormatCount(StatsNumber(inodes, "looked_up")));
  const Json& store = StatsPart(stats, "store");
  sheet.Section("Metadata store");
  sheet.Fact("pool", FormatBytes(StatsNumber(store, "pool_bytes")) + ", " +
                         FormatBytes(StatsNumber(store, "pool_free_bytes")) + " of it free");
  sheet.Fact("kept for compactions", FormatBytes(StatsNumber(store, "pool_reserve_bytes")));
  sheet.Fact("journal", FormatBytes(StatsNumber(store, "journal_bytes")));
  sheet.Fact("table files", FormatCount(StatsNumber(store, "table_files")));
  sheet.Fact("commits", FormatCount(StatsNumber(store, "commits")));
}

// "finished 3 d ago, 2 damaged places"; nothing when there never was one.
std::string LastScrub(const Json& scrub, int64_t now_s) {
  const std::string state = StatsText(scrub, "state");
  if (state.empty() || state == "none") return "";
  std::string line = state;
  const uint64_t ended = StatsNumber(scrub, "ended_s");
  const auto now = static_cast<uint64_t>(now_s);
  if (state == "running")
    line += ", " + FormatShare(StatsNumber(scrub, "done_bytes"),
                               StatsNumber(scrub, "total_bytes"));
  else if (now >= ended)
    line += " " + FormatDuration(now - ended) + " ago";
  const uint64_t damage_count = StatsNumber(scrub, "damage_count");
  return line + (damage_count == 0 ? ", no damage"
                                   : ", " + FormatCount(damage_count) + " DAMAGED PLACES");
}

void ActivityFacts(const Json& stats, int64_t now_s, FactSheet& sheet) {
  const Json& io = StatsPart(stats, "io");
  sheet.Section("Since the mount");
  sheet.Fact("reads", CountAndBytes(io, "reads", "read_bytes"));
  sheet.Fact("writes", CountAndBytes(io, "writes", "written_bytes"));
  sheet.Fact("created, removed", FormatCount(StatsNumber(io, "created")) + ", " +
                                     FormatCount(StatsNumber(io, "removed")));
  sheet.Fact("checksum errors", FormatCount(StatsNumber(io, "checksum_errors")));
  sheet.Fact("I/O errors", FormatCount(StatsNumber(io, "io_errors")));
  sheet.Fact("last scrub", LastScrub(StatsPart(stats, "scrub"), now_s));
  const Json& stalls = StatsPart(stats, "stalls");
  if (const uint64_t now = StatsNumber(stalls, "now"); now > 0)
    sheet.Fact("STALLED I/O", FormatCount(now) + ", the oldest a " +
                                  StatsText(stalls, "oldest") + ", for " +
                                  FormatDuration(StatsNumber(stalls, "oldest_ms") / 1000));
  if (const uint64_t count = StatsNumber(stalls, "count"); count > 0)
    sheet.Fact("I/O stalled so far", FormatCount(count) + ", the longest for " +
                                         FormatDuration(
                                             StatsNumber(stalls, "longest_ms") / 1000));
}

void FuseFacts(const Json& stats, FactSheet& sheet) {
  const Json& fuse = StatsPart(stats, "fuse");
  sheet.Section("FUSE");
  sheet.Fact("cofs", StatsText(stats, "version"));
  sheet.Fact("daemon", "process " + std::to_string(StatsNumber(stats, "pid")));
  sheet.Fact("sandbox", StatsText(fuse, "sandbox"));
  sheet.Fact("libfuse", StatsText(fuse, "libfuse"));
  sheet.Fact("kernel protocol", StatsText(fuse, "kernel_protocol"));
  sheet.Fact("largest request", FormatBytes(StatsNumber(fuse, "write_bytes_max")));
  std::string line;
  if (const auto features = fuse.find("features");
      features != fuse.end() && features->is_array()) {
    for (const Json& feature : *features) {
      if (!feature.is_string()) continue;
      const std::string name = Printable(feature.get<std::string>());
      // Lines of one screen; the name column stays empty in the later ones.
      if (!line.empty() && line.size() + name.size() > 50) {
        sheet.Fact("features", line);
        line.clear();
      }
      line += (line.empty() ? "" : " ") + name;
    }
  }
  sheet.Fact("features", line);
}

}  // namespace

Result<std::string> RenderStats(std::string_view json_text, int64_t now_s) {
  const Json stats = Json::parse(json_text, nullptr, false);
  if (!stats.is_object())
    return Error(ErrorCode::kCorrupt, "the daemon's statistics are no JSON object");
  FactSheet sheet;
  VolumeFacts(stats, now_s, sheet);
  SpaceFacts(stats, sheet);
  ActivityFacts(stats, now_s, sheet);
  CopyFacts(stats, sheet);
  FuseFacts(stats, sheet);
  return sheet.Render();
}

int RunStat(const std::string& path, bool json) {
  const auto text = [&]() -> Result<std::string> {
    TRY_ASSIGN(const VolumeClient client, VolumeClient::Open(path));
    TRY_ASSIGN(std::string raw, client.StatsText());
    if (!json) return RenderStats(raw, ::time(nullptr));
    const Json parsed = Json::parse(raw, nullptr, false);
    if (parsed.is_discarded())
      return Error(ErrorCode::kCorrupt, "the daemon's statistics are no JSON");
    return parsed.dump(2, ' ', /*ensure_ascii=*/true) + "\n";
  }();
  if (!text.ok()) {
    LogError(text.error().ToString());
    return 2;
  }
  std::fputs(text->c_str(), stdout);
  return 0;
}

}  // namespace cofs
