// mkfs.cofs: the command line of mkfs/format.h.
//
// Exit codes: 0 made, 1 refused, failed or used wrongly.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>

#include "base/command_line.h"
#include "base/log.h"
#include "base/printable.h"
#include "mkfs/byte_size.h"
#include "mkfs/format.h"

namespace cofs {
namespace {

struct Arguments {
  std::string device, size, positional_size, label, uuid, type;
  bool dry_run = false, force = false, quiet = false, keep = false, verbose = false;
};

void Describe(CLI::App& app, Arguments& arguments) {
  app.set_version_flag("-V,--version", "mkfs.cofs " COFS_VERSION);
  app.add_option("device", arguments.device, "block device or image file")->required();
  app.add_option("blocks", arguments.positional_size,
                 "size as mkfs(8) gives it: blocks of 1 KiB, or with a suffix as --size");
  app.add_option("-s,--size", arguments.size,
                 "size of the volume, with K, M, G, T (binary); creates or extends an image");
  app.add_option("-L,--label", arguments.label, "label, at most 32 bytes");
  app.add_option("-U,--uuid", arguments.uuid, "UUID of the volume; random by default");
  app.add_flag("-n,--dry-run", arguments.dry_run, "check and print, write nothing");
  app.add_flag("-f,--force", arguments.force, "format over what is there, wiping it");
  app.add_flag("-K,--no-discard", arguments.keep, "do not discard the free space");
  app.add_flag("-q,--quiet", arguments.quiet, "print nothing but errors");
  app.add_option("-t,--type", arguments.type, "ignored, for mkfs(8)");
  app.add_flag("-v,--verbose", arguments.verbose, "ignored, for mkfs(8)");
}

int Refuse(const std::string& why) {
  std::fprintf(stderr, "mkfs.cofs: %s\n", WithoutControls(why).c_str());
  return 1;
}

// Errors whose place is a sentence by itself; the others need their meaning too.
std::string Sentence(const Error& error) {
  switch (error.code()) {
    case ErrorCode::kBusy:
    case ErrorCode::kExists:
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kNotSupported:
    case ErrorCode::kReadOnly:
      return error.context();
    default:
      return error.ToString();
  }
}

int Run(const Arguments& arguments) {
  FormatOptions options;
  options.label = arguments.label;
  options.dry_run = arguments.dry_run;
  options.force = arguments.force;
  options.discard = !arguments.keep;
  if (::geteuid() != 0) {
    options.root_uid = ::geteuid();
    options.root_gid = ::getegid();
  }
  if (!arguments.size.empty() && !arguments.positional_size.empty())
    return Refuse("the size is given twice");
  if (!arguments.size.empty()) {
    options.size_bytes = ParseByteSize(arguments.size);
    if (!options.size_bytes) return Refuse("not a size: " + Printable(arguments.size));
  }
  if (!arguments.positional_size.empty()) {
    options.size_bytes = ParseByteSize(arguments.positional_size, 1024);
    if (!options.size_bytes)
      return Refuse("not a size: " + Printable(arguments.positional_size));
  }
  if (!arguments.uuid.empty()) {
    options.uuid = Uuid::Parse(arguments.uuid);
    if (!options.uuid) return Refuse("not a UUID: " + Printable(arguments.uuid));
  }
  const auto summary = FormatVolume(arguments.device, options);
  if (!summary.ok()) return Refuse(Sentence(summary.error()));
  if (!arguments.quiet) std::fputs(DescribeSummary(*summary).c_str(), stdout);
  if (!arguments.quiet && arguments.dry_run)
    std::fputs("dry run: nothing was written\n", stdout);
  return 0;
}

}  // namespace
}  // namespace cofs

int main(int argc, char** argv) {
  cofs::SetLogProgram("mkfs.cofs");
  CLI::App app("Makes a cofs volume on a block device or in an image file.", "mkfs.cofs");
  cofs::Arguments arguments;
  cofs::Describe(app, arguments);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return cofs::AnswerParseError(app, error, 1);
  }
  return cofs::Run(arguments);
}
