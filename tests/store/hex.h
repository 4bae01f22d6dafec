// Bytes as hexadecimal digits, for golden bytes.
#pragma once

#include <string>
#include <string_view>

namespace cofs {

inline std::string ToHex(std::string_view bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const char c : bytes) {
    text.push_back(kDigits[static_cast<unsigned char>(c) >> 4]);
    text.push_back(kDigits[c & 15]);
  }
  return text;
}

}  // namespace cofs
