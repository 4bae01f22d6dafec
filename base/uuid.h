// RFC 4122 UUIDs, version 4 (random).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace cofs {

struct Uuid {
  std::array<uint8_t, 16> bytes{};
  static Uuid Random();
  // "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx", either case.
  static std::optional<Uuid> Parse(std::string_view text);
  std::string ToString() const;
  friend bool operator==(const Uuid&, const Uuid&) = default;
};

// From the kernel's generator.
uint64_t RandomU64();

}  // namespace cofs
