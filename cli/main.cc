// cofs: the program for mounted volumes. Each sub-command is one file of this folder.
#include <CLI/CLI.hpp>

#include "base/log.h"
#include "cli/map_command.h"
#include "cli/stat_command.h"
#include "cli/trim_command.h"

int main(int argc, char** argv) {
  cofs::SetLogProgram("cofs");
  CLI::App app("Looks at and works on mounted cofs volumes.", "cofs");
  app.set_version_flag("-V,--version", "cofs " COFS_VERSION);
  app.require_subcommand(1);
  int exit_code = 0;

  std::string path;
  bool json = false;
  CLI::App* stat = app.add_subcommand("stat", "Counters, space and options of a volume");
  stat->add_option("PATH", path, "the mount point, or anything in the volume")->required();
  stat->add_flag("--json", json, "for programs");
  stat->callback([&] { exit_code = cofs::RunStat(path, json); });

  CLI::App* map = app.add_subcommand("map", "Where a file lies on the device");
  map->add_option("FILE", path, "a regular file")->required();
  map->add_flag("--json", json, "for programs");
  map->callback([&] { exit_code = cofs::RunMap(path, json); });

  uint64_t minimum_bytes = 0;
  CLI::App* trim = app.add_subcommand("trim", "Discards free space on the device");
  trim->add_option("PATH", path, "the mount point, or anything in the volume")->required();
  trim->add_option("--minimum", minimum_bytes, "shortest free run to discard, in bytes")
      ->transform(CLI::AsSizeValue(false));
  trim->callback([&] { exit_code = cofs::RunTrim(path, minimum_bytes); });

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 1;
  }
  return exit_code;
}
