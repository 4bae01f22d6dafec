// The last door before a terminal: what a program prints of names, paths and arguments.
#pragma once

#include <string>
#include <string_view>

namespace cofs {

enum class LineEnds { kKept, kEscaped };

// `text` with control characters and bytes over 0x7e written as \xHH. Leaves what is
// printable as it is, backslashes too, so that twice is as once: for whole lines, whose
// parts have been through Printable() (base/log.h) or should have been.
std::string WithoutControls(std::string_view text,
                            LineEnds line_ends = LineEnds::kEscaped);

}  // namespace cofs
