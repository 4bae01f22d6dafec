#include "base/uuid.h"

#include <sys/random.h>

#include <cctype>
#include <cstdio>

#include "base/check.h"

namespace cofs {
namespace {

void FillRandom(void* out, size_t length_bytes) {
  CHECK(::getrandom(out, length_bytes, 0) == static_cast<ssize_t>(length_bytes));
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

}  // namespace

Uuid Uuid::Random() {
  Uuid uuid;
  FillRandom(uuid.bytes.data(), uuid.bytes.size());
  uuid.bytes[6] = (uuid.bytes[6] & 0x0f) | 0x40;
  uuid.bytes[8] = (uuid.bytes[8] & 0x3f) | 0x80;
  return uuid;
}

std::optional<Uuid> Uuid::Parse(std::string_view text) {
  if (text.size() != 36) return std::nullopt;
  Uuid uuid;
  size_t nibble = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (i == 8 || i == 13 || i == 18 || i == 23) {
      if (text[i] != '-') return std::nullopt;
      continue;
    }
    const int digit = HexDigit(text[i]);
    if (digit < 0) return std::nullopt;
    uint8_t& byte = uuid.bytes[nibble / 2];
    byte = static_cast<uint8_t>(byte << 4 | digit);
    ++nibble;
  }
  return uuid;
}

std::string Uuid::ToString() const {
  std::string out;
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) out += '-';
    char hex[3];
    std::snprintf(hex, sizeof(hex), "%02x", bytes[i]);
    out += hex;
  }
  return out;
}

uint64_t RandomU64() {
  uint64_t value;
  FillRandom(&value, sizeof(value));
  return value;
}

}  // namespace cofs
