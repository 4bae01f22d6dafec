// fsck.cofs: the command line of fsck/volume_check.h and volume_repair.h, with the exit
// codes of fsck(8).
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <string>
#include <vector>

#include "base/command_line.h"
#include "base/log.h"
#include "base/printable.h"
#include "device/device_use.h"
#include "device/file_device.h"
#include "extent_map/mount_protection.h"
#include "extent_map/superblock.h"
#include "fsck/progress_display.h"
#include "fsck/volume_check.h"
#include "fsck/volume_repair.h"

namespace cofs {
namespace {

// Added up.
constexpr int kExitClean = 0;
constexpr int kExitCorrected = 1;
constexpr int kExitUncorrected = 4;
constexpr int kExitOperational = 8;
constexpr int kExitUsage = 16;
constexpr int kExitCancelled = 32;

// How long a daemon that is just letting go of the volume is waited for.
constexpr std::chrono::milliseconds kLockWait{5000};

volatile sig_atomic_t g_is_cancelled = 0;

struct Arguments {
  std::string device;
  bool no_change = false, preen = false, automatic = false, yes = false;
  bool force = false, data = false, json = false, verbose = false, list = false;
  std::optional<int> progress_fd;  // -C
};

void Define(CLI::App& app, Arguments& arguments) {
  app.set_version_flag("-V,--version", "fsck.cofs " COFS_VERSION);
  app.add_option("device", arguments.device, "block device or image file");
  app.add_flag("-n", arguments.no_change, "check and change nothing");
  app.add_flag("-p", arguments.preen, "repair what is safe to repair without a question");
  app.add_flag("-a", arguments.automatic, "as -p");
  app.add_flag("-y", arguments.yes, "repair all that can be repaired");
  app.add_flag("-f", arguments.force, "check even if it looks clean (it always does)");
  app.add_flag("--data", arguments.data, "read every block and verify its checksum");
  app.add_flag("--json", arguments.json, "print the result as one JSON object");
  app.add_flag("-v", arguments.verbose, "also say what each finding means");
  app.add_flag("--list-findings", arguments.list,
               "print all that can be found, and who repairs it");
  app.footer("-C[fd]  show progress: a bar on a terminal, or lines to a descriptor\n\n"
             "Without -n, -p and -y nothing is changed, but on a terminal it asks.\n\n"
             "Exit code, added up: 0 clean, 1 errors were repaired, 4 errors are left,\n"
             "8 could not be checked or repaired, 16 usage, 32 cancelled.");
}

// -C takes its number only when it is attached, which is more than a parser knows.
std::optional<std::vector<std::string>> TakeProgressOption(int argc, char** argv,
                                                           Arguments& arguments) {
  std::vector<std::string> rest;
  bool is_option = true;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--") is_option = false;
    if (!is_option || !argument.starts_with("-C")) {
      rest.emplace_back(argument);
      continue;
    }
    int fd = 0;
    const std::string_view number = argument.substr(2);
    const auto [end, error] =
        std::from_chars(number.data(), number.data() + number.size(), fd);
    if (!number.empty() &&
        (error != std::errc{} || end != number.data() + number.size() || fd < 0))
      return std::nullopt;
    arguments.progress_fd = fd;
  }
  return rest;
}

int Fail(int exit_code, const std::string& why) {
  std::fprintf(stderr, "fsck.cofs: %s\n", WithoutControls(why).c_str());
  return exit_code;
}

Result<std::unique_ptr<FileDevice>> OpenVolume(const std::string& path, OpenMode mode) {
  FileDevice::Options options;
  options.wait = kLockWait;
  auto device = FileDevice::Open(path, mode, options);
  if (!device.Is(ErrorCode::kBusy)) return device;
  // Who holds it says more than that it is held.
  const auto use = FindDeviceUse(path);
  if (use.ok() && !use->empty()) return Error(ErrorCode::kBusy, *use);
  return device;
}

std::string CountOf(uint64_t errors) {
  return StrCat(errors, errors == 1 ? " error" : " errors");
}

// Whether -y would do something about what is left.
bool HasRepairable(const Report& report) {
  return std::ranges::any_of(report.findings(), [](const Finding& finding) {
    const FindingKind& kind = KindOf(finding.id);
    return !finding.repaired && kind.severity == Severity::kError &&
           kind.policy != RepairPolicy::kNever;
  });
}

void Print(const Report& report, const Arguments& arguments) {
  const std::string device = Printable(arguments.device);
  for (const Finding& finding : report.findings()) {
    std::printf("%s\n", Describe(finding).c_str());
    if (arguments.verbose)
      std::printf("  %.*s\n", static_cast<int>(KindOf(finding.id).meaning.size()),
                  KindOf(finding.id).meaning.data());
  }
  if (report.left_out_count() > 0)
    std::printf("%s\n", StrCat("and ", report.left_out_count(), " more").c_str());
  for (const Loss& loss : report.losses()) std::printf("%s\n", Describe(loss).c_str());
  if (report.loss_count() > report.losses().size())
    std::printf("%s\n", StrCat("and ", report.loss_count() - report.losses().size(),
                               " more losses").c_str());
  const ReportTotals& totals = report.totals;
  std::string line = device + ": ";
  if (report.repaired_count() > 0)
    line += StrCat(CountOf(report.repaired_count()), " repaired, ");
  if (report.error_count() > 0)
    line += StrCat(CountOf(report.error_count()), " left");
  else
    line += report.marked_clean ? "clean" : "consistent, was not unmounted cleanly";
  if (totals.inodes > 0)
    line += StrCat("; ", totals.inodes - totals.directories, " files, ", totals.directories,
                   " directories, ", totals.extents, " extents, ",
                   totals.used_bytes >> 20, " MiB used");
  if (arguments.data) line += StrCat(", ", totals.verified_bytes >> 20, " MiB verified");
  std::printf("%s\n", line.c_str());
  if (HasRepairable(report))
    std::printf("%s: %s\n", device.c_str(),
                arguments.preen || arguments.automatic
                    ? "-p repairs nothing next to what only -y repairs"
                    : "-y repairs what can be repaired");
}

// Whether the person at the terminal wants what was found to be repaired.
bool AskForRepair(const Report& report) {
  if (!HasRepairable(report) || ::isatty(STDIN_FILENO) != 1 || ::isatty(STDOUT_FILENO) != 1)
    return false;
  std::printf("Repair all that can be repaired? [y/N] ");
  std::fflush(stdout);
  const int answer = std::getchar();
  return answer == 'y' || answer == 'Y';
}

struct Checked {
  Report report;
  std::optional<Error> error;
};

// Makes sure that no other host has the volume; who repairs a block device shows others
// that it is being repaired. nullptr: it does not.
Result<std::unique_ptr<HeartbeatWriter>> TakeVolume(FileDevice& device, bool repairs,
                                                    const CheckOptions& options) {
  if (!repairs || !device.geometry().is_block_device) {
    TRY(CheckHeartbeat(device, repairs ? LeftHeartbeat::kEnd : LeftHeartbeat::kKeep,
                       options.is_cancelled));
    return std::unique_ptr<HeartbeatWriter>();
  }
  HeartbeatWriter::Options heartbeat;
  heartbeat.state = HeartbeatState::kRepaired;
  heartbeat.is_cancelled = options.is_cancelled;
  heartbeat.on_lost = [](const Error& error) {
    LogError(error.ToString());
    g_is_cancelled = 1;
  };
  if (const auto slots = SuperblockSlots::Load(device); slots.ok())
    heartbeat.volume = (*slots)->current().uuid;
  return HeartbeatWriter::Claim(device, std::move(heartbeat));
}

Result<Checked> CheckOnce(const Arguments& arguments, RepairMode mode,
                          const CheckOptions& options) {
  const bool repairs = mode != RepairMode::kNothing;
  TRY_ASSIGN(const auto device,
             OpenVolume(arguments.device,
                        repairs ? OpenMode::kReadWrite : OpenMode::kReadOnly));
  SetLogLevel(LogLevel::kWarning);  // a wait for a heartbeat is said
  auto taken = TakeVolume(*device, repairs, options);
  SetLogLevel(LogLevel::kError);
  TRY_ASSIGN(const auto heartbeat, std::move(taken));
  if (!repairs) {
    TRY_ASSIGN(Report report, CheckVolume(*device, options));
    return Checked{std::move(report), std::nullopt};
  }
  TRY_ASSIGN(RepairOutcome outcome, RepairVolume(*device, mode, options));
  if (heartbeat != nullptr) TRY(heartbeat->End());
  return Checked{std::move(outcome.report), std::move(outcome.error)};
}

int ExitCodeOf(const Checked& checked) {
  int exit_code = kExitClean;
  if (checked.report.repaired_count() > 0) exit_code |= kExitCorrected;
  if (checked.report.error_count() > 0) exit_code |= kExitUncorrected;
  if (checked.error)
    exit_code |= checked.error->code() == ErrorCode::kInterrupted ? kExitCancelled
                                                                  : kExitOperational;
  return exit_code;
}

int CheckAndPrint(const Arguments& arguments, RepairMode mode, bool may_ask) {
  std::optional<ProgressDisplay> display;
  if (arguments.progress_fd) {
    const bool is_bar = *arguments.progress_fd == 0;
    if (!is_bar || ::isatty(STDERR_FILENO) == 1)
      display.emplace(is_bar ? STDERR_FILENO : *arguments.progress_fd, is_bar,
                      arguments.device);
  }
  CheckOptions options;
  options.data = arguments.data;
  options.is_cancelled = [] { return g_is_cancelled != 0; };
  if (display)
    options.progress = [&](const CheckProgress& progress) { display->Show(progress); };
  const auto checked = CheckOnce(arguments, mode, options);
  display.reset();
  if (checked.Is(ErrorCode::kInterrupted)) return Fail(kExitCancelled, "cancelled");
  if (!checked.ok()) return Fail(kExitOperational, checked.error().ToString());

  const Report& report = checked->report;
  const int exit_code = ExitCodeOf(*checked);
  if (arguments.json)
    std::fputs(report.ToJson(arguments.device, exit_code).c_str(), stdout);
  else
    Print(report, arguments);
  if (checked->error)
    return Fail(exit_code, "the repair has not come to its end, run it again: " +
                               checked->error->ToString());
  if (may_ask && !arguments.json && AskForRepair(report))
    return CheckAndPrint(arguments, RepairMode::kAll, /*may_ask=*/false);
  return exit_code;
}

void PrintCatalogue() {
  for (size_t i = 0; i < kFindingKindCount; ++i) {
    const FindingKind& kind = KindOf(static_cast<FindingId>(i));
    std::printf("%-24s %-6s %-6s %s\n", std::string(kind.id).c_str(),
                std::string(NameOf(kind.severity)).c_str(),
                std::string(NameOf(kind.policy)).c_str(),
                std::string(kind.meaning).c_str());
  }
}

int Run(const Arguments& arguments) {
  if (arguments.list) {
    PrintCatalogue();
    return kExitClean;
  }
  if (arguments.device.empty()) return Fail(kExitUsage, "which device or image?");
  const bool preens = arguments.preen || arguments.automatic;
  if (arguments.no_change + preens + arguments.yes > 1)
    return Fail(kExitUsage, "only one of -n, -p (-a) and -y can be given");
  const RepairMode mode = preens          ? RepairMode::kPreen
                          : arguments.yes ? RepairMode::kAll
                                          : RepairMode::kNothing;
  return CheckAndPrint(arguments, mode,
                       mode == RepairMode::kNothing && !arguments.no_change);
}

}  // namespace
}  // namespace cofs

int main(int argc, char** argv) {
  cofs::SetLogProgram("fsck.cofs");
  // What the parts log while they read damage is in the findings.
  cofs::SetLogLevel(cofs::LogLevel::kError);
  struct sigaction action = {};
  action.sa_handler = [](int) { cofs::g_is_cancelled = 1; };
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);

  CLI::App app("Checks and repairs a cofs volume, which is not mounted meanwhile.",
               "fsck.cofs");
  cofs::Arguments arguments;
  cofs::Define(app, arguments);
  auto rest = cofs::TakeProgressOption(argc, argv, arguments);
  if (!rest) return cofs::Fail(cofs::kExitUsage, "-C takes a descriptor");
  try {
    std::reverse(rest->begin(), rest->end());  // the order that CLI11 parses in
    app.parse(*rest);
  } catch (const CLI::ParseError& error) {
    return cofs::AnswerParseError(app, error, cofs::kExitUsage);
  }
  return cofs::Run(arguments);
}
