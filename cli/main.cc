// cofs: the program for mounted volumes. Each sub-command is one file of this folder.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string>

#include "base/command_line.h"
#include "base/log.h"
#include "cli/clone_command.h"
#include "cli/copy_command.h"
#include "cli/map_command.h"
#include "cli/scrub_command.h"
#include "cli/set_command.h"
#include "cli/stat_command.h"
#include "cli/top_command.h"
#include "cli/trim_command.h"

namespace cofs {
namespace {

constexpr const char* kPathHelp = "the mount point, or anything in the volume";

// The arguments of all sub-commands; only those of one are filled in.
struct Arguments {
  std::string path;
  bool json = false;
  uint64_t minimum_bytes = 0;
  std::vector<std::string> settings;
  TopOptions top;
  CopyCommandOptions copy;
  std::vector<std::string> copy_paths;
  std::string copy_directory, reflink = "auto", progress = "auto";
  CloneCommandOptions clone;
  ScrubCommandOptions scrub;
  std::string scrub_rate = "100M";
  bool scrub_stop = false, scrub_status = false;
  std::string clone_destination;
  bool archive = false, preserve = false, dereference = false;
  int exit_code = 0;
};

ProgressMode ModeOf(const std::string& word) {
  return word == "always"  ? ProgressMode::kAlways
         : word == "never" ? ProgressMode::kNever
                           : ProgressMode::kAuto;
}

void AddStat(CLI::App& app, Arguments& a) {
  CLI::App* stat = app.add_subcommand("stat", "Counters, space and options of a volume");
  stat->add_option("PATH", a.path, kPathHelp)->required();
  stat->add_flag("--json", a.json, "for programs");
  stat->callback([&a] { a.exit_code = RunStat(a.path, a.json); });
}

void AddTop(CLI::App& app, Arguments& a) {
  CLI::App* top = app.add_subcommand("top", "What a volume does, second by second");
  top->add_option("PATH", a.path, kPathHelp)->required();
  top->add_option("-n,--count", a.top.count, "so many lines; without it until Ctrl-C");
  top->add_option("-d,--delay", a.top.interval_s, "seconds between lines (default: 1)")
      ->check(CLI::Range(0.1, 3600.0));
  top->callback([&a] { a.exit_code = RunTop(a.path, a.top); });
}

void AddClone(CLI::App& app, Arguments& a) {
  CLI::App* clone = app.add_subcommand("clone", "Makes a file that shares another's blocks");
  clone->add_option("SOURCE", a.path, "a regular file")->required();
  clone->add_option("DESTINATION", a.clone_destination, "a new name, or a directory")
      ->required();
  clone->add_flag("--replace", a.clone.replace,
                  "a file that is there is replaced, in one step");
  clone->callback([&a] { a.exit_code = RunClone(a.path, a.clone_destination, a.clone); });
}

void AddMap(CLI::App& app, Arguments& a) {
  CLI::App* map = app.add_subcommand("map", "Where a file lies on the device");
  map->add_option("FILE", a.path, "a regular file")->required();
  map->add_flag("--json", a.json, "for programs");
  map->callback([&a] { a.exit_code = RunMap(a.path, a.json); });
}

void AddTrim(CLI::App& app, Arguments& a) {
  CLI::App* trim = app.add_subcommand("trim", "Discards free space on the device");
  trim->add_option("PATH", a.path, kPathHelp)->required();
  trim->add_option("--minimum", a.minimum_bytes, "shortest free run to discard, in bytes")
      ->transform(CLI::AsSizeValue(false));
  trim->callback([&a] { a.exit_code = RunTrim(a.path, a.minimum_bytes); });
}

void AddSet(CLI::App& app, Arguments& a) {
  CLI::App* set = app.add_subcommand("set", "Changes options of a mounted volume (root only)");
  set->add_option("PATH", a.path, kPathHelp)->required();
  set->add_option("SETTING", a.settings,
                  "copy=auto|share|device|buffered, clone=share|device, "
                  "verify_copy=off|sample|all")
      ->required();
  set->callback([&a] { a.exit_code = RunSet(a.path, a.settings); });
}

void AddScrub(CLI::App& app, Arguments& a) {
  CLI::App* scrub = app.add_subcommand(
      "scrub", "Verifies all data and metadata of a mounted volume (root only)");
  scrub->footer(
      "Reads the superblocks, the metadata, and every block of every file against its\n"
      "checksum, in the volume's daemon, while others use the volume, and after them.\n"
      "Each damaged place is printed with its file. Ctrl-C stops it; where it stands is\n"
      "kept in the volume, so that --resume goes on from there, after an unmount or a crash\n"
      "too. Nothing is repaired: restore the files that are named.\n"
      "Exit codes: 0 no damage, 1 a wrong command line, 2 it could not be carried out,\n"
      "3 damage was found, 128 + signal when it was stopped by one.");
  scrub->add_option("PATH", a.path, kPathHelp)->required();
  scrub->add_option("--rate", a.scrub_rate,
                    "at most so many bytes a second: a size, or max (default: 100M)");
  scrub->add_flag("--resume", a.scrub.resume, "goes on where the last one stopped");
  scrub->add_flag("--background", a.scrub.background, "returns when it has begun");
  CLI::Option* stop =
      scrub->add_flag("--stop", a.scrub_stop, "stops the one that runs, and keeps its place");
  scrub->add_flag("--status", a.scrub_status, "how the last one stands, and what it found")
      ->excludes(stop);
  scrub->add_flag("--json", a.json, "for programs");
  scrub->add_option("--progress", a.progress,
                    "a bar on standard error: auto (on a terminal), always, never")
      ->check(CLI::IsMember({"auto", "always", "never"}));
  scrub->callback([&a] {
    const bool is_unlimited = a.scrub_rate == "max";
    const auto rate = is_unlimited ? std::optional<uint64_t>(0) : ParseBytes(a.scrub_rate);
    if (!rate)
      throw CLI::ValidationError("--rate", "'" + Printable(a.scrub_rate) +
                                               "' is neither a size nor max");
    a.scrub.bytes_per_second = *rate;
    a.scrub.json = a.json;
    a.scrub.progress = ModeOf(a.progress);
    if (a.scrub_stop) a.scrub.action = ScrubAction::kStop;
    if (a.scrub_status) a.scrub.action = ScrubAction::kStatus;
    a.exit_code = RunScrub(a.path, a.scrub);
  });
}

// The positional arguments and the options that stand for several others.
void FinishCopy(Arguments& a) {
  CopyCommandOptions& copy = a.copy;
  copy.sources = a.copy_paths;
  if (!a.copy_directory.empty()) {
    copy.destination = a.copy_directory;
  } else {
    if (copy.sources.size() < 2)
      throw CLI::ValidationError("cp", "a destination is needed behind '" +
                                           Printable(copy.sources.front()) + "'");
    copy.destination = copy.sources.back();
    copy.sources.pop_back();
  }
  if (a.archive || a.preserve)
    copy.tree.preserve.mode = copy.tree.preserve.owner = copy.tree.preserve.times = true;
  if (a.archive)
    copy.tree.recursive = copy.tree.preserve.xattrs = copy.tree.keep_hard_links = true;
  copy.tree.follow_links = a.dereference;
  copy.tree.data.reflink = a.reflink == "always"  ? ReflinkMode::kAlways
                           : a.reflink == "never" ? ReflinkMode::kNever
                                                  : ReflinkMode::kAuto;
  if (copy.tree.data.require_offload && copy.tree.data.reflink == ReflinkMode::kAlways)
    throw CLI::ValidationError("--require-offload",
                               "a copy that shares blocks is carried out by no device");
  copy.progress = ModeOf(a.progress);
}

void AddCopy(CLI::App& app, Arguments& a) {
  CLI::App* cp = app.add_subcommand("cp", "Copies files, by the device where it can");
  cp->footer(
      "A file that is replaced stays as it is until its copy is complete. Exit codes: 0,\n"
      "1 for a wrong command line, 2 when something could not be copied, 128 + signal.");
  cp->add_option("PATH", a.copy_paths, "one source or several, and the destination last")
      ->required();
  cp->add_flag("-r,-R,--recursive", a.copy.tree.recursive, "directories with all below them");
  cp->add_flag("-a,--archive", a.archive,
               "-r, and keeps mode, owner, times, attributes, ACLs and hard links");
  cp->add_flag("-p,--preserve", a.preserve, "keeps mode, owner and times");
  cp->add_flag("-L,--dereference", a.dereference, "follows symbolic links");
  cp->add_flag("-n,--no-clobber", a.copy.tree.no_clobber, "replaces nothing");
  cp->add_flag("-u,--update", a.copy.tree.update_only, "replaces only what is older");
  cp->add_flag("-v,--verbose", a.copy.tree.verbose, "says what is copied");
  cp->add_option("-t,--target-directory", a.copy_directory, "into this directory")
      ->check(CLI::ExistingDirectory);
  cp->add_flag("-T,--no-target-directory", a.copy.destination_is_file,
               "the destination is never a directory to copy into");
  cp->add_option("--reflink", a.reflink,
                 "auto: as the volume is mounted; always: share blocks or fail; never: "
                 "share none (default: auto)")
      ->check(CLI::IsMember({"auto", "always", "never"}));
  cp->add_flag("--require-offload", a.copy.tree.data.require_offload,
               "the device copies, or it fails");
  cp->add_flag("--explain", a.copy.tree.explain, "says for each file how its bytes went");
  cp->add_flag("--keep-partial", a.copy.tree.keep_partial,
               "keeps what there is of a new file whose copy fails or is interrupted");
  cp->add_option("--progress", a.progress,
                 "a bar on standard error: auto (on a terminal), always, never")
      ->check(CLI::IsMember({"auto", "always", "never"}));
  cp->callback([&a] {
    FinishCopy(a);
    a.exit_code = RunCopy(a.copy);
  });
}

// The one command that reads volumes itself is a program of its own: the libraries that it
// needs take longer to load than a clone of a large file takes (probe_main.cc).
int BecomeProbe(char** arguments) {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  for (const std::filesystem::path& directory :
       {self.parent_path(), std::filesystem::path(COFS_LIBEXEC_DIRECTORY)})
    ::execv((directory / "cofs-probe").c_str(), arguments);
  LogError(StrCat("cofs-probe can't be started from ", self.parent_path().string(), " or ",
                  COFS_LIBEXEC_DIRECTORY, ": ", std::strerror(errno)));
  return 2;
}

void AddProbe(CLI::App& app) {
  app.add_subcommand("probe",
                     "Which ways of copying a device, an image or a mounted volume has");
}

}  // namespace
}  // namespace cofs

int main(int argc, char** argv) {
  cofs::SetLogProgram("cofs");
  if (argc > 1 && std::strcmp(argv[1], "probe") == 0) return cofs::BecomeProbe(argv + 1);
  CLI::App app("Looks at cofs volumes and works on them.", "cofs");
  app.set_version_flag("-V,--version", "cofs " COFS_VERSION);
  app.require_subcommand(1);
  cofs::Arguments arguments;
  cofs::AddStat(app, arguments);
  cofs::AddTop(app, arguments);
  cofs::AddProbe(app);
  cofs::AddCopy(app, arguments);
  cofs::AddClone(app, arguments);
  cofs::AddSet(app, arguments);
  cofs::AddMap(app, arguments);
  cofs::AddTrim(app, arguments);
  cofs::AddScrub(app, arguments);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return cofs::AnswerParseError(app, error, 1);
  }
  return arguments.exit_code;
}
