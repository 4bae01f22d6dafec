// fsck.cofs: the command line of fsck/volume_check.h, with the exit codes of fsck(8).
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdio>
#include <string>
#include <vector>

#include "base/log.h"
#include "device/device_use.h"
#include "device/file_device.h"
#include "fsck/progress_display.h"
#include "fsck/volume_check.h"

namespace cofs {
namespace {

constexpr int kExitClean = 0;
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
  bool force = false, data = false, json = false, verbose = false;
  std::optional<int> progress_fd;  // -C
};

void Define(CLI::App& app, Arguments& arguments) {
  app.set_version_flag("-V,--version", "fsck.cofs " COFS_VERSION);
  app.add_option("device", arguments.device, "block device or image file")->required();
  app.add_flag("-n", arguments.no_change, "check and change nothing (this is what it does)");
  app.add_flag("-p", arguments.preen, "as -n today, and say what a repair would have to do");
  app.add_flag("-a", arguments.automatic, "as -p");
  app.add_flag("-y", arguments.yes, "as -p");
  app.add_flag("-f", arguments.force, "check even if it looks clean (it always does)");
  app.add_flag("--data", arguments.data, "read every block and verify its checksum");
  app.add_flag("--json", arguments.json, "print the result as one JSON object");
  app.add_flag("-v", arguments.verbose, "also say what each finding means");
  app.footer("-C[fd]  show progress: a bar on a terminal, or lines to a descriptor\n\n"
             "Exit codes: 0 clean, 4 errors are left, 8 could not be checked, 16 usage,\n"
             "32 cancelled.");
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
  std::fprintf(stderr, "fsck.cofs: %s\n", why.c_str());
  return exit_code;
}

Result<std::unique_ptr<FileDevice>> OpenVolume(const std::string& path) {
  FileDevice::Options options;
  options.wait = kLockWait;
  auto device = FileDevice::Open(path, OpenMode::kReadOnly, options);
  if (!device.Is(ErrorCode::kBusy)) return device;
  // Who holds it says more than that it is held.
  const auto use = FindDeviceUse(path);
  if (use.ok() && !use->empty()) return Error(ErrorCode::kBusy, *use);
  return device;
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
  const ReportTotals& totals = report.totals;
  std::string line = device + ": ";
  if (report.error_count() > 0)
    line += StrCat(report.error_count(), report.error_count() == 1 ? " error" : " errors",
                   ", left as ", report.error_count() == 1 ? "it is" : "they are");
  else
    line += report.marked_clean ? "clean" : "consistent, was not unmounted cleanly";
  if (totals.inodes > 0)
    line += StrCat("; ", totals.inodes - totals.directories, " files, ", totals.directories,
                   " directories, ", totals.extents, " extents, ",
                   totals.used_bytes >> 20, " MiB used");
  if (arguments.data) line += StrCat(", ", totals.verified_bytes >> 20, " MiB verified");
  std::printf("%s\n", line.c_str());
  const bool wants_repair = arguments.preen || arguments.automatic || arguments.yes;
  if (wants_repair && report.error_count() > 0)
    std::printf("%s: this version does not repair; the lines above are what would have "
                "to be repaired\n", device.c_str());
}

int Run(const Arguments& arguments) {
  const int modes = arguments.no_change + (arguments.preen || arguments.automatic) +
                    arguments.yes;
  if (modes > 1) return Fail(kExitUsage, "only one of -n, -p (-a) and -y can be given");
  const auto device = OpenVolume(arguments.device);
  if (!device.ok()) return Fail(kExitOperational, device.error().ToString());

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
  const auto report = CheckVolume(**device, options);
  display.reset();
  if (report.Is(ErrorCode::kInterrupted)) return Fail(kExitCancelled, "cancelled");
  if (!report.ok()) return Fail(kExitOperational, report.error().ToString());

  const int exit_code = report->error_count() > 0 ? kExitUncorrected : kExitClean;
  if (arguments.json)
    std::fputs(report->ToJson(arguments.device, exit_code).c_str(), stdout);
  else
    Print(*report, arguments);
  return exit_code;
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

  CLI::App app("Checks a cofs volume; it is not mounted meanwhile and not changed.",
               "fsck.cofs");
  cofs::Arguments arguments;
  cofs::Define(app, arguments);
  auto rest = cofs::TakeProgressOption(argc, argv, arguments);
  if (!rest) return cofs::Fail(cofs::kExitUsage, "-C takes a descriptor");
  try {
    std::reverse(rest->begin(), rest->end());  // the order that CLI11 parses in
    app.parse(*rest);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : cofs::kExitUsage;
  }
  return cofs::Run(arguments);
}
