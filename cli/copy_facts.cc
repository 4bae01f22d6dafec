#include "cli/copy_facts.h"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <numeric>
#include <vector>

namespace cofs {
namespace {

std::string Microseconds(uint64_t us) {
  char text[32];
  if (us < 1000)
    std::snprintf(text, sizeof(text), "%llu us", static_cast<unsigned long long>(us));
  else if (us < 1'000'000)
    std::snprintf(text, sizeof(text), "%.3g ms", static_cast<double>(us) / 1e3);
  else
    std::snprintf(text, sizeof(text), "%.3g s", static_cast<double>(us) / 1e6);
  return text;
}

void Join(std::string& line, const std::string& part) {
  if (part.empty()) return;
  if (!line.empty()) line += ", ";
  line += part;
}

std::string CostWords(const StatsJson& way) {
  const double rate = StatsReal(way, "bytes_per_us");
  if (rate <= 0) return "";
  const double setup_us = StatsReal(way, "setup_us");
  // The larger copy took no longer than the small one: no rate that could be told.
  constexpr double kBytesPerUsShown = 1e5;
  if (rate >= kBytesPerUsShown)
    return Microseconds(static_cast<uint64_t>(setup_us)) + ", whatever the size";
  return Microseconds(static_cast<uint64_t>(setup_us)) + " and " +
         FormatBytes(static_cast<uint64_t>(rate * 1e6)) + "/s";
}

std::string SizeWords(const StatsJson& way) {
  if (StatsFlag(way, "never_worth_it")) return "slower than memory at every size";
  const uint64_t bytes = StatsNumber(way, "request_bytes_min");
  return bytes == 0 ? "" : "for " + FormatBytes(bytes) + " and more";
}

bool IsBuffered(const StatsJson& way) { return StatsText(way, "way") == "buffered"; }

}  // namespace

std::string LimitWords(const StatsJson& limits) {
  std::string line;
  const uint64_t segment = StatsNumber(limits, "segment_bytes_max");
  const uint64_t command = StatsNumber(limits, "command_bytes_max");
  const uint64_t sources = StatsNumber(limits, "segments_max");
  if (segment != 0 && segment != command) Join(line, FormatBytes(segment) + " a source");
  if (command != 0) Join(line, FormatBytes(command) + " a command");
  if (sources != 0)
    Join(line, FormatCount(sources) +
                   (sources == 1 ? " source a command" : " sources a command"));
  const uint64_t alignment = StatsNumber(limits, "alignment_bytes");
  if (alignment > 4096) Join(line, "aligned to " + FormatBytes(alignment));
  return line;
}

std::string LatencyWords(const StatsJson& latency) {
  std::vector<uint64_t> counts(64);
  if (!latency.is_array()) return "";
  for (const StatsJson& bucket : latency) {
    const uint64_t us_below = StatsNumber(bucket, "us_below");
    if (us_below > 0)
      counts[static_cast<size_t>(std::bit_width(us_below)) - 1] +=
          StatsNumber(bucket, "count");
  }
  return LatencyWords(counts);
}

std::string LatencyWords(const std::vector<uint64_t>& counts) {
  const uint64_t total = std::accumulate(counts.begin(), counts.end(), uint64_t{0});
  if (total == 0) return "";
  const auto within = [&](double share) {
    uint64_t sum = 0;
    for (size_t i = 0; i < counts.size(); ++i) {
      sum += counts[i];
      if (static_cast<double>(sum) >= share * static_cast<double>(total))
        return Microseconds(uint64_t{1} << std::min<size_t>(i, 63));
    }
    return Microseconds(UINT64_MAX);
  };
  return "half within " + within(0.5) + ", 99 % within " + within(0.99) + ", all within " +
         within(1);
}

void WayFacts(const StatsJson& copy, FactSheet& sheet) {
  for (const StatsJson& way : StatsList(copy, "ways")) {
    const std::string state = StatsText(way, "state");
    if (state.empty() || IsBuffered(way)) continue;
    std::string line = state;
    Join(line, StatsText(way, "description"));
    if (state == "absent" || state == "failed") {
      line += ": " + StatsText(way, "reason");
    } else {
      Join(line, LimitWords(StatsPart(way, "limits")));
      Join(line, SizeWords(way));
    }
    sheet.Fact(StatsText(way, "way"), line);
    sheet.Fact("  cost", CostWords(way));
    if (state != "absent" && state != "failed")
      sheet.Fact("  last failure", StatsText(way, "last_failure"));
  }
  for (const StatsJson& way : StatsList(copy, "ways"))
    if (IsBuffered(way)) {
      sheet.Fact("buffered", "always there");
      sheet.Fact("  cost", CostWords(way));
    }
}

void CopyFacts(const StatsJson& stats, FactSheet& sheet) {
  const StatsJson& copy = StatsPart(stats, "copy");
  const auto count_and_bytes = [&copy](const char* count, const char* bytes) {
    return FormatCount(StatsNumber(copy, count)) + ", " +
           FormatBytes(StatsNumber(copy, bytes));
  };
  sheet.Section("Copies");
  sheet.Fact("copies", count_and_bytes("copies", "copied_bytes"));
  sheet.Fact("clones", count_and_bytes("clones", "cloned_bytes"));
  sheet.Fact("deduped", FormatBytes(StatsNumber(copy, "deduped_bytes")));
  sheet.Fact("unshared", FormatBytes(StatsNumber(copy, "unshared_bytes")));
  for (const StatsJson& way : StatsList(copy, "ways")) {
    const uint64_t commands = StatsNumber(way, "commands");
    if (commands == 0) continue;
    sheet.Fact("by " + StatsText(way, "way"), FormatBytes(StatsNumber(way, "bytes")) +
                                                  " in " + FormatCount(commands) +
                                                  (commands == 1 ? " command" : " commands"));
    const auto latency = way.find("latency");
    if (latency != way.end()) sheet.Fact("  latency", LatencyWords(*latency));
  }
  if (const uint64_t bytes = StatsNumber(copy, "memory_bytes"); bytes > 0)
    sheet.Fact("parts of blocks", FormatBytes(bytes) + " through memory");
  if (const uint64_t bytes = StatsNumber(copy, "verified_bytes"); bytes > 0)
    sheet.Fact("read back", FormatBytes(bytes) + ", " +
                                FormatCount(StatsNumber(copy, "verify_failures")) +
                                " failures");
  sheet.Fact("fallbacks", FormatCount(StatsNumber(copy, "fallbacks")));
  for (const StatsJson& reason : StatsList(copy, "fallback_reasons"))
    sheet.Fact("  " + StatsText(reason, "reason"),
               FormatCount(StatsNumber(reason, "count")) + ", " +
                   FormatBytes(StatsNumber(reason, "bytes")) +
                   (StatsText(reason, "last").empty() ? ""
                                                      : ": " + StatsText(reason, "last")));
  sheet.Section("Ways of copying");
  WayFacts(copy, sheet);
}

}  // namespace cofs
