#include "cli/stat_command.h"

#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "cli/text_table.h"
#include "cli/volume_client.h"

namespace cofs {
namespace {

using Json = nlohmann::ordered_json;

// A daemon of another version may lack a fact: it is left out, or 0.
uint64_t Number(const Json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_number() ? found->get<uint64_t>() : 0;
}
std::string Text(const Json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? Printable(found->get<std::string>())
                                                     : "";
}
bool Flag(const Json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_boolean() && found->get<bool>();
}
const Json& Part(const Json& object, const char* name) {
  static const Json kEmpty = Json::object();
  const auto found = object.find(name);
  return found != object.end() && found->is_object() ? *found : kEmpty;
}

std::string State(const Json& stats) {
  if (!Flag(stats, "read_only")) return "read-write";
  const std::string reason = Text(stats, "read_only_reason");
  return reason.empty() ? "read-only" : "READ-ONLY after an error: " + reason;
}

std::string OptionsLine(const Json& options) {
  std::string line = Flag(options, "read_only") ? "ro" : "rw";
  const auto add = [&line](const std::string& option) { line += "," + option; };
  if (Flag(options, "sync")) add("sync");
  if (Flag(options, "discard")) add("discard");
  add(Text(options, "atime"));
  add(Flag(options, "writeback_cache") ? "writeback_cache" : "nowriteback_cache");
  add("copy=" + Text(options, "copy"));
  add("cache=" + std::to_string(Number(options, "cache_bytes") >> 20) + "M");
  add("commit=" + std::to_string(Number(options, "commit_interval_s")));
  add("threads=" + std::to_string(Number(options, "threads")));
  return line;
}

std::string CountAndBytes(const Json& object, const char* count, const char* bytes) {
  return FormatCount(Number(object, count)) + ", " + FormatBytes(Number(object, bytes));
}

void VolumeFacts(const Json& stats, int64_t now_s, FactSheet& sheet) {
  const Json& volume = Part(stats, "volume");
  sheet.Section("Volume");
  sheet.Fact("device", Text(volume, "device"));
  sheet.Fact("mounted at", Text(volume, "mounted_at"));
  const uint64_t since = Number(stats, "mounted_at_s");
  const auto now = static_cast<uint64_t>(now_s);
  sheet.Fact("mounted for", FormatDuration(now > since ? now - since : 0));
  sheet.Fact("state", State(stats));
  sheet.Fact("uuid", Text(volume, "uuid"));
  sheet.Fact("label", Text(volume, "label"));
  sheet.Fact("format version", std::to_string(Number(volume, "format_version")));
  sheet.Fact("device I/O", Text(volume, "io"));
  sheet.Fact("options", OptionsLine(Part(stats, "options")));
}

void SpaceFacts(const Json& stats, FactSheet& sheet) {
  const Json& space = Part(stats, "space");
  const uint64_t whole = Number(space, "volume_bytes");
  const uint64_t free = Number(space, "free_bytes");
  const uint64_t pending = Number(space, "pending_bytes");
  sheet.Section("Space");
  sheet.Fact("size", FormatBytes(whole));
  sheet.Fact("free", FormatBytes(free) + " (" + FormatShare(free, whole) + ")");
  sheet.Fact("free after the next commit", FormatBytes(pending));
  sheet.Fact("kept for overwrites", FormatBytes(Number(space, "reserve_bytes")));
  sheet.Fact("largest free run", FormatBytes(Number(space, "largest_run_bytes")));
  sheet.Fact("free runs", FormatCount(Number(space, "run_count")));
  const Json& inodes = Part(stats, "inodes");
  sheet.Section("Inodes");
  sheet.Fact("used", FormatCount(Number(inodes, "used")));
  sheet.Fact("in memory", FormatCount(Number(inodes, "cached")));
  sheet.Fact("known to the kernel", FormatCount(Number(inodes, "looked_up")));
  const Json& store = Part(stats, "store");
  sheet.Section("Metadata store");
  sheet.Fact("pool", FormatBytes(Number(store, "pool_bytes")) + ", " +
                         FormatBytes(Number(store, "pool_free_bytes")) + " of it free");
  sheet.Fact("kept for compactions", FormatBytes(Number(store, "pool_reserve_bytes")));
  sheet.Fact("journal", FormatBytes(Number(store, "journal_bytes")));
  sheet.Fact("table files", FormatCount(Number(store, "table_files")));
  sheet.Fact("commits", FormatCount(Number(store, "commits")));
}

void ActivityFacts(const Json& stats, FactSheet& sheet) {
  const Json& io = Part(stats, "io");
  sheet.Section("Since the mount");
  sheet.Fact("reads", CountAndBytes(io, "reads", "read_bytes"));
  sheet.Fact("writes", CountAndBytes(io, "writes", "written_bytes"));
  sheet.Fact("created, removed", FormatCount(Number(io, "created")) + ", " +
                                     FormatCount(Number(io, "removed")));
  sheet.Fact("checksum errors", FormatCount(Number(io, "checksum_errors")));
  sheet.Fact("I/O errors", FormatCount(Number(io, "io_errors")));
  const Json& copy = Part(stats, "copy");
  sheet.Section("Copies");
  sheet.Fact("copies", CountAndBytes(copy, "copies", "copied_bytes"));
  sheet.Fact("clones", CountAndBytes(copy, "clones", "cloned_bytes"));
  sheet.Fact("fallbacks", FormatCount(Number(copy, "fallbacks")));
  if (const auto ways = copy.find("ways"); ways != copy.end() && ways->is_array()) {
    for (const Json& way : *ways) {
      if (!way.is_object() || Number(way, "commands") == 0) continue;
      sheet.Fact("by " + Text(way, "way"),
                 FormatBytes(Number(way, "bytes")) + " in " +
                     FormatCount(Number(way, "commands")) + " commands");
    }
  }
}

void FuseFacts(const Json& stats, FactSheet& sheet) {
  const Json& fuse = Part(stats, "fuse");
  sheet.Section("FUSE");
  sheet.Fact("cofs", Text(stats, "version"));
  sheet.Fact("daemon", "process " + std::to_string(Number(stats, "pid")));
  sheet.Fact("libfuse", Text(fuse, "libfuse"));
  sheet.Fact("kernel protocol", Text(fuse, "kernel_protocol"));
  sheet.Fact("largest request", FormatBytes(Number(fuse, "write_bytes_max")));
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
  ActivityFacts(stats, sheet);
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
    return parsed.dump(2) + "\n";
  }();
  if (!text.ok()) {
    LogError(text.error().ToString());
    return 2;
  }
  std::fputs(text->c_str(), stdout);
  return 0;
}

}  // namespace cofs
