#include "cli/scrub_command.h"

#include <poll.h>

#include <algorithm>
#include <cstdio>

#include "base/log.h"
#include "cli/interrupt.h"
#include "cli/text_table.h"
#include "cli/volume_client.h"

namespace cofs {
namespace {

constexpr int kFirstPollMs = 50;
constexpr int kPollMs = 500;

Result<StatsJson> ReadReport(const VolumeClient& client) {
  TRY_ASSIGN(const std::string text, client.ScrubText());
  StatsJson report = StatsJson::parse(text, nullptr, false);
  if (!report.is_object())
    return Error(ErrorCode::kCorrupt, "the daemon's report of the scrub");
  return report;
}

bool IsRunning(const StatsJson& report) { return StatsText(report, "state") == "running"; }

uint64_t RateOf(const StatsJson& report) {
  const double seconds = StatsReal(report, "run_seconds");
  if (seconds <= 0) return 0;
  return static_cast<uint64_t>(static_cast<double>(StatsNumber(report, "run_bytes")) /
                               seconds);
}

int ExitCodeOf(const StatsJson& report) {
  if (StatsNumber(report, "damage_count") > 0) return kExitDamage;
  return StatsText(report, "state") == "failed" ? 2 : 0;
}

// Prints damaged places as they get known. One without a name yet waits for it, and the
// later ones with it.
class DamageList {
 public:
  void Print(const StatsJson& report, ProgressBar& bar) {
    const StatsJson& list = StatsList(report, "damage");
    for (; printed_ < list.size(); ++printed_) {
      const StatsJson& place = list[printed_];
      const bool is_named =
          StatsNumber(place, "inode") == 0 || !StatsList(place, "paths").empty();
      if (!is_named && IsRunning(report)) return;
      bar.Clear();
      std::printf("%s\n", DamageLine(place).c_str());
    }
    std::fflush(stdout);
  }

 private:
  size_t printed_ = 0;
};

// Until it has ended, or a signal ends it: the last report.
Result<StatsJson> Follow(const VolumeClient& client, const ScrubCommandOptions& options) {
  ProgressBar bar(options.json ? ProgressMode::kNever : options.progress, 0);
  DamageList damage;
  for (int pause_ms = kFirstPollMs;; pause_ms = std::min(2 * pause_ms, kPollMs)) {
    TRY_ASSIGN(const StatsJson report, ReadReport(client));
    if (!options.json) damage.Print(report, bar);
    if (!IsRunning(report)) return report;
    const uint64_t done = StatsNumber(report, "done_bytes");
    const uint64_t total = StatsNumber(report, "total_bytes");
    bar.Show(ProgressText(done, total, RateOf(report)) +
             (StatsFlag(report, "in_metadata") ? "  metadata" : "  files"));
    ::poll(nullptr, 0, pause_ms);
    if (InterruptSignal() != 0) TRY(client.StopScrub());
  }
}

Result<int> Carry(const std::string& path, const ScrubCommandOptions& options) {
  TRY_ASSIGN(const VolumeClient client, VolumeClient::Open(path));
  if (options.action == ScrubAction::kStop) TRY(client.StopScrub());
  const bool follows = options.action == ScrubAction::kRun && !options.background;
  if (options.action == ScrubAction::kRun) {
    const Status started = client.StartScrub(options.bytes_per_second, options.resume);
    if (started.Is(ErrorCode::kBusy))
      return Error(ErrorCode::kBusy, "a scrub runs already (--status shows it, --stop "
                                     "ends it)");
    TRY(started);
  }
  TRY_ASSIGN(const StatsJson report,
             follows ? Follow(client, options) : ReadReport(client));
  if (options.json) {
    std::printf("%s\n", report.dump(2, ' ', false,
                                    StatsJson::error_handler_t::replace).c_str());
  } else {
    if (!follows && options.action == ScrubAction::kStatus)
      for (const StatsJson& place : StatsList(report, "damage"))
        std::printf("%s\n", DamageLine(place).c_str());
    std::printf("%s\n", ScrubLine(report).c_str());
  }
  std::fflush(stdout);
  const int signal_number = InterruptSignal();
  return signal_number != 0 ? 128 + signal_number : ExitCodeOf(report);
}

}  // namespace

std::string DamageLine(const StatsJson& place) {
  const uint64_t inode = StatsNumber(place, "inode");
  const std::string reason = StatsText(place, "reason");
  if (inode == 0) return "metadata: " + reason;
  std::string name;
  for (const StatsJson& path : StatsList(place, "paths"))
    if (path.is_string())
      name += (name.empty() ? "" : " = ") + Printable(path.get<std::string>());
  if (name.empty()) name = "inode " + std::to_string(inode) + " (no name)";
  std::string line =
      name + ": file offset " + std::to_string(StatsNumber(place, "file_offset"));
  if (const uint64_t length = StatsNumber(place, "length"); length > 0)
    line += ", " + std::to_string(length) + " bytes, device offset " +
            std::to_string(StatsNumber(place, "device_offset"));
  return line + ": " + reason;
}

std::string ScrubLine(const StatsJson& report) {
  const std::string state = StatsText(report, "state");
  if (state == "none") return "no scrub yet";
  const uint64_t done = StatsNumber(report, "done_bytes");
  const uint64_t total = StatsNumber(report, "total_bytes");
  std::string line = "scrub " + state + ": " + FormatBytes(done);
  if (state == "running")
    line += " of " + FormatBytes(total) + " (" + FormatShare(done, total) + ")";
  line += " verified";
  if (const uint64_t rate = RateOf(report); rate > 0) line += ", " + FormatBytes(rate) + "/s";
  const uint64_t damage_count = StatsNumber(report, "damage_count");
  if (damage_count == 0)
    line += ", no damage";
  else
    line += ", " + FormatCount(damage_count) +
            (damage_count == 1 ? " damaged place" : " damaged places");
  const size_t listed = StatsList(report, "damage").size();
  if (damage_count > listed)
    line += " (" + FormatCount(damage_count - listed) + " of them in the daemon's log only)";
  if (state == "stopped") line += "; --resume goes on from there";
  if (state == "failed") line += "; it can't go on: " + StatsText(report, "error");
  return line;
}

int RunScrub(const std::string& path, const ScrubCommandOptions& options) {
  CatchInterrupts();
  const Result<int> exit_code = Carry(path, options);
  if (exit_code.ok()) return *exit_code;
  LogError(exit_code.error().ToString());
  return 2;
}

}  // namespace cofs
