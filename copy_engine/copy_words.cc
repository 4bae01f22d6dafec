// CopyEngine's reports: sums, and words for people.
#include <cstdio>

#include "base/error.h"
#include "base/log.h"
#include "copy_engine/copy_engine.h"

namespace cofs {
namespace {

std::string Size(uint64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  size_t unit = 0;
  while (bytes >= 1024 && bytes % 1024 == 0 && unit + 1 < std::size(kUnits)) {
    bytes /= 1024;
    ++unit;
  }
  return StrCat(bytes, " ", kUnits[unit]);
}

std::string CostWords(const CopyCost& cost) {
  char text[96];
  // The larger copy took no longer than the small one: no rate that could be told.
  constexpr double kBytesPerUsShown = 1e5;
  if (cost.bytes_per_us >= kBytesPerUsShown) {
    std::snprintf(text, sizeof(text), "%.0f us, whatever the size", cost.setup_us);
    return text;
  }
  std::snprintf(text, sizeof(text), "%.0f us and %.0f MB/s", cost.setup_us,
                cost.bytes_per_us);
  return text;
}

}  // namespace

std::string_view NameOf(CopyWayId way) {
  switch (way) {
    case CopyWayId::kNvmeCopy:
      return "nvme-copy";
    case CopyWayId::kScsiXcopy:
      return "scsi-xcopy";
    case CopyWayId::kHostFile:
      return "host-file";
    case CopyWayId::kDevice:
      return "device";
    case CopyWayId::kBuffered:
      return "buffered";
  }
  return "unknown";
}

std::string_view NameOf(FallbackReason reason) {
  switch (reason) {
    case FallbackReason::kNoWay:
      return "no-way";
    case FallbackReason::kTooSmall:
      return "too-small";
    case FallbackReason::kSetAside:
      return "set-aside";
    case FallbackReason::kNotApplicable:
      return "not-applicable";
    case FallbackReason::kCommandFailed:
      return "command-failed";
    case FallbackReason::kVerifyFailed:
      return "verify-failed";
    case FallbackReason::kChangedBelow:
      return "changed-below";
    case FallbackReason::kUnaligned:
      return "unaligned";
    case FallbackReason::kBadSource:
      return "bad-source";
  }
  return "unknown";
}

std::string DescribeLimits(const CopyLimits& limits) {
  std::string words;
  if (limits.segment_bytes_max != UINT64_MAX &&
      limits.segment_bytes_max != limits.command_bytes_max)
    words = StrCat(Size(limits.segment_bytes_max), " a source");
  if (limits.command_bytes_max != UINT64_MAX) {
    if (!words.empty()) words += ", ";
    words += StrCat(Size(limits.command_bytes_max), " a command");
  }
  if (!words.empty()) words += ", ";
  words += StrCat(limits.segments_max,
                  limits.segments_max == 1 ? " source a command" : " sources a command");
  if (limits.alignment_bytes > kBlockBytes)
    words += StrCat(", aligned to ", Size(limits.alignment_bytes));
  return words;
}

void CopyReport::Add(const CopyReport& other) {
  completed_bytes += other.completed_bytes;
  for (size_t i = 0; i < kCopyWayCount; ++i) {
    bytes_by_way[i] += other.bytes_by_way[i];
    commands_by_way[i] += other.commands_by_way[i];
    latency_by_way[i].Merge(other.latency_by_way[i]);
  }
  command_count += other.command_count;
  fallback_count += other.fallback_count;
  if (!other.fallback_reason.empty()) fallback_reason = other.fallback_reason;
  for (size_t i = 0; i < kFallbackReasonCount; ++i) {
    fallbacks[i].count += other.fallbacks[i].count;
    fallbacks[i].bytes += other.fallbacks[i].bytes;
    if (!other.fallbacks[i].last_words.empty())
      fallbacks[i].last_words = other.fallbacks[i].last_words;
  }
  verified_bytes += other.verified_bytes;
}

std::vector<std::string> CopyEngine::DescribeWays(CopyVerify verify) const {
  std::vector<std::string> lines;
  for (const CopyWayState& way : ways(verify)) {
    if (way.is_for_good) continue;
    std::string line = StrCat("copies by ", NameOf(way.id), ": ");
    if (!way.is_there) {
      line += StrCat(way.failure_count > 0 ? "failed their trial: " : "none: ",
                     way.description);
    } else {
      line += way.description;
      if (way.id != CopyWayId::kBuffered)
        line += StrCat(way.is_proved ? "; proved by a trial copy" : "; not proved", "; ",
                       DescribeLimits(way.limits));
      if (way.cost) line += "; " + CostWords(*way.cost);
      if (way.request_bytes_min == UINT64_MAX)
        line += "; slower than memory at every size";
      else if (way.request_bytes_min > 0)
        line += StrCat("; from ", Size(way.request_bytes_min), " on");
      if (!way.is_proved && !way.last_failure.empty()) line += "; " + way.last_failure;
    }
    lines.push_back(std::move(line));
  }
  return lines;
}

}  // namespace cofs
