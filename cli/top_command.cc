#include "cli/top_command.h"

#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>

#include "cli/interrupt.h"
#include "cli/stats_json.h"
#include "cli/text_table.h"
#include "cli/volume_client.h"

namespace cofs {
namespace {

using Clock = std::chrono::steady_clock;

constexpr uint64_t kLinesBetweenHeaders = 20;

struct Column {
  const char* name;
  int width;
};
constexpr std::array<Column, 10> kColumns = {{{"read/s", 11},
                                              {"write/s", 11},
                                              {"device-copy/s", 13},
                                              {"memory-copy/s", 13},
                                              {"clone/s", 11},
                                              {"fallbacks/s", 11},
                                              {"reads/s", 9},
                                              {"writes/s", 9},
                                              {"requests/s", 10},
                                              {"free", 11}}};

std::string AlignRight(const std::string& text, int width) {
  const auto columns = static_cast<size_t>(width);
  return text.size() >= columns ? text : std::string(columns - text.size(), ' ') + text;
}

// Sleeps until `until` or a signal.
void SleepUntil(Clock::time_point until) {
  const auto left = std::max(until - Clock::now(), Clock::duration::zero());
  const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(left).count();
  const timespec pause{static_cast<time_t>(ns / 1'000'000'000),
                       static_cast<long>(ns % 1'000'000'000)};
  if (InterruptSignal() == 0) ::nanosleep(&pause, nullptr);
}

}  // namespace

Result<TopSample> ParseTopSample(std::string_view json_text) {
  const StatsJson stats = StatsJson::parse(json_text, nullptr, false);
  if (!stats.is_object())
    return Error(ErrorCode::kCorrupt, "the daemon's statistics are no JSON object");
  TopSample sample;
  const StatsJson& io = StatsPart(stats, "io");
  sample.reads = StatsNumber(io, "reads");
  sample.read_bytes = StatsNumber(io, "read_bytes");
  sample.writes = StatsNumber(io, "writes");
  sample.written_bytes = StatsNumber(io, "written_bytes");
  const StatsJson& copy = StatsPart(stats, "copy");
  sample.memory_bytes = StatsNumber(copy, "memory_bytes");
  sample.cloned_bytes = StatsNumber(copy, "cloned_bytes");
  sample.fallbacks = StatsNumber(copy, "fallbacks");
  for (const StatsJson& way : StatsList(copy, "ways")) {
    const bool is_buffered = StatsText(way, "way") == "buffered";
    (is_buffered ? sample.memory_bytes : sample.device_bytes) += StatsNumber(way, "bytes");
  }
  sample.commits = StatsNumber(StatsPart(stats, "store"), "commits");
  for (const StatsJson& count : StatsPart(StatsPart(stats, "fuse"), "requests"))
    if (count.is_number()) sample.requests += count.get<uint64_t>();
  sample.free_bytes = StatsNumber(StatsPart(stats, "space"), "free_bytes");
  return sample;
}

std::string TopHeader() {
  std::string line;
  for (const Column& column : kColumns)
    line += (line.empty() ? "" : " ") + AlignRight(column.name, column.width);
  return line;
}

std::string TopLine(const TopSample& before, const TopSample& now, double seconds) {
  const auto rate = [seconds](uint64_t from, uint64_t to) -> uint64_t {
    // Counters of another mount begin again.
    if (to <= from || seconds <= 0) return 0;
    return static_cast<uint64_t>(static_cast<double>(to - from) / seconds + 0.5);
  };
  const std::array<std::string, kColumns.size()> cells = {
      FormatBytes(rate(before.read_bytes, now.read_bytes)),
      FormatBytes(rate(before.written_bytes, now.written_bytes)),
      FormatBytes(rate(before.device_bytes, now.device_bytes)),
      FormatBytes(rate(before.memory_bytes, now.memory_bytes)),
      FormatBytes(rate(before.cloned_bytes, now.cloned_bytes)),
      FormatCount(rate(before.fallbacks, now.fallbacks)),
      FormatCount(rate(before.reads, now.reads)),
      FormatCount(rate(before.writes, now.writes)),
      FormatCount(rate(before.requests, now.requests)),
      FormatBytes(now.free_bytes)};
  std::string line;
  for (size_t i = 0; i < cells.size(); ++i)
    line += (i == 0 ? "" : " ") + AlignRight(cells[i], kColumns[i].width);
  return line;
}

int RunTop(const std::string& path, const TopOptions& options) {
  CatchInterrupts();
  const bool is_terminal = ::isatty(STDOUT_FILENO) == 1;
  const auto interval = std::chrono::duration_cast<Clock::duration>(
      std::chrono::duration<double>(options.interval_s));
  const Status status = [&]() -> Status {
    TRY_ASSIGN(const VolumeClient client, VolumeClient::Open(path));
    const auto take = [&]() -> Result<TopSample> {
      TRY_ASSIGN(const std::string text, client.StatsText());
      return ParseTopSample(text);
    };
    TRY_ASSIGN(TopSample before, take());
    auto begin = Clock::now();
    for (uint64_t line = 0; options.count == 0 || line < options.count; ++line) {
      if (line == 0 || (!is_terminal && line % kLinesBetweenHeaders == 0))
        std::printf("%s\n", TopHeader().c_str());
      std::fflush(stdout);
      SleepUntil(begin + interval);
      if (InterruptSignal() != 0) break;
      TRY_ASSIGN(const TopSample now, take());
      const auto end = Clock::now();
      const double seconds = std::chrono::duration<double>(end - begin).count();
      // On a terminal one line, drawn over and over.
      std::printf(is_terminal ? "\r\033[K%s" : "%s\n", TopLine(before, now, seconds).c_str());
      before = now;
      begin = end;
    }
    if (is_terminal) std::printf("\n");
    std::fflush(stdout);
    return OkStatus();
  }();
  if (status.ok()) return 0;
  LogError(status.error().ToString());
  return 2;
}

}  // namespace cofs
