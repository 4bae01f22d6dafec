// What the programs' main functions share of CLI11.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <optional>
#include <sstream>
#include <string>

#include "base/printable.h"

namespace cofs {

// "4096", "64K", "1G"; nullopt when it is none.
inline std::optional<uint64_t> ParseBytes(std::string text) {
  try {
    CLI::AsSizeValue(false)(text);
    size_t end = 0;
    const uint64_t value = std::stoull(text, &end);
    if (end == text.size()) return value;
  } catch (const std::exception&) {
  }
  return std::nullopt;
}

// Prints what a command line that was not carried out is answered with: help and the
// version on standard output, else the error, which repeats what it was given: that may be
// a file's name, and does not command the terminal. The exit code: 0, or `usage_code`.
inline int AnswerParseError(const CLI::App& app, const CLI::ParseError& error,
                            int usage_code) {
  std::ostringstream out, err;
  const int code = app.exit(error, out, err);
  std::fputs(out.str().c_str(), stdout);
  std::fputs(WithoutControls(err.str(), LineEnds::kKept).c_str(), stderr);
  return code == 0 ? 0 : usage_code;
}

}  // namespace cofs
