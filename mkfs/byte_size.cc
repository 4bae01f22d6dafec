#include "mkfs/byte_size.h"

#include <cctype>
#include <charconv>

#include "base/check.h"

namespace cofs {
namespace {

constexpr std::string_view kSuffixes = "KMGTP";

}  // namespace

std::optional<uint64_t> ParseByteSize(std::string_view text, uint64_t unit_bytes) {
  uint64_t number = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc{}) return std::nullopt;
  std::string suffix(rest, end);
  for (char& c : suffix)
    c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));

  uint64_t unit = unit_bytes;
  if (!suffix.empty()) {
    const size_t power = kSuffixes.find(suffix[0]);
    const std::string_view tail = std::string_view(suffix).substr(1);
    if (power == std::string_view::npos || (!tail.empty() && tail != "IB"))
      return std::nullopt;
    unit = uint64_t{1} << (10 * (power + 1));
  }
  if (unit == 0 || number > INT64_MAX / unit) return std::nullopt;
  return number * unit;
}

std::string FormatByteSize(uint64_t bytes) {
  if (bytes < 1024) return StrCat(bytes, " bytes");
  size_t power = 0;
  uint64_t unit = 1024;
  while (power + 1 < kSuffixes.size() && bytes / 1024 >= unit) {
    unit *= 1024;
    ++power;
  }
  // One digit, rounded down: a volume never looks larger than it is.
  return StrCat(bytes / unit, ".", bytes % unit * 10 / unit, " ", kSuffixes[power], "iB");
}

}  // namespace cofs
