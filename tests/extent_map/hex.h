// Golden bytes are written in tests as hexadecimal; blanks are ignored.
#pragma once

#include <string>
#include <string_view>

namespace cofs {

inline std::string FromHex(std::string_view hex) {
  std::string out;
  int digits = 0, byte = 0;
  for (char c : hex) {
    if (c == ' ') continue;
    byte = byte * 16 + (c <= '9' ? c - '0' : c - 'a' + 10);
    if (++digits % 2 == 0) {
      out.push_back(static_cast<char>(byte));
      byte = 0;
    }
  }
  return out;
}

inline std::string ToHex(std::string_view bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (unsigned char byte : bytes) {
    out.push_back(kDigits[byte >> 4]);
    out.push_back(kDigits[byte & 15]);
  }
  return out;
}

// Without the blanks that make golden bytes readable.
inline std::string PlainHex(std::string_view hex) { return ToHex(FromHex(hex)); }

}  // namespace cofs
