// cofs-probe: what `cofs probe` is carried out by. A program of its own, so that `cofs` need
// not load what reads volumes.
#include <CLI/CLI.hpp>
#include <optional>
#include <string>

#include "base/command_line.h"
#include "base/log.h"
#include "cli/probe_command.h"

namespace cofs {
namespace {

// "OFFSET:LENGTH", each a size; nullopt when it is none.
std::optional<DeviceRange> ParseRange(const std::string& text) {
  const size_t colon = text.find(':');
  if (colon == std::string::npos) return std::nullopt;
  const auto offset = ParseBytes(text.substr(0, colon));
  const auto length = ParseBytes(text.substr(colon + 1));
  if (!offset || !length) return std::nullopt;
  return DeviceRange{DeviceOffset(*offset), *length};
}

struct Arguments {
  std::string target, scratch;
  ProbeOptions options;
};

void AddArguments(CLI::App& app, Arguments& a) {
  app.footer(
      "A trial copy proves what a device says it can. It is done in free blocks of a\n"
      "cofs volume that is not mounted; of a mounted one its daemon has done it. On\n"
      "anything else nothing is written unless an option allows it; what was there is\n"
      "put back.");
  app.set_version_flag("-V,--version", "cofs " COFS_VERSION);
  app.add_option("TARGET", a.target, "a device, an image, or the directory of a mount")
      ->required();
  app.add_flag("--json", a.options.json, "for programs");
  app.add_flag("--write-test", a.options.write_test,
               "a trial copy in the middle of a device that holds nothing known");
  app.add_option("--scratch", a.scratch, "OFFSET:LENGTH of a trial copy, in bytes or with "
                                         "K, M, G; whatever is there is put back");
  app.callback([&a] {
    if (a.scratch.empty()) return;
    a.options.scratch = ParseRange(a.scratch);
    if (!a.options.scratch)
      throw CLI::ValidationError("--scratch", "'" + Printable(a.scratch) +
                                                  "' is not OFFSET:LENGTH");
  });
}

}  // namespace
}  // namespace cofs

int main(int argc, char** argv) {
  cofs::SetLogProgram("cofs");
  CLI::App app("Which ways of copying a device, an image or a mounted volume has.",
               "cofs probe");
  cofs::Arguments arguments;
  cofs::AddArguments(app, arguments);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return cofs::AnswerParseError(app, error, 1);
  }
  return cofs::RunProbe(arguments.target, arguments.options);
}
