// Strong types for what must not be mixed up: an inode number is not an offset,
// and an offset in a file is not an offset on the device.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <ostream>

namespace cofs {

// The volume's block: the unit of allocation, of checksums and of device I/O.
inline constexpr uint64_t kBlockBytes = 4096;
inline constexpr uint32_t kBlockShift = 12;

constexpr uint64_t RoundDown(uint64_t value, uint64_t unit) { return value - value % unit; }
// Saturates at the largest multiple of `unit`.
constexpr uint64_t RoundUp(uint64_t value, uint64_t unit) {
  const uint64_t rest = value % unit;
  if (rest == 0) return value;
  const uint64_t down = value - rest;
  return down > UINT64_MAX - unit ? down : down + unit;
}
constexpr bool IsBlockAligned(uint64_t value) { return value % kBlockBytes == 0; }

// An integer with a meaning. Arithmetic with plain numbers keeps the meaning; the
// difference of two is a plain number.
template <typename Tag>
class StrongU64 {
 public:
  constexpr StrongU64() = default;
  constexpr explicit StrongU64(uint64_t value) : value_(value) {}
  constexpr uint64_t value() const { return value_; }
  friend constexpr auto operator<=>(StrongU64, StrongU64) = default;
  constexpr StrongU64 operator+(uint64_t delta) const { return StrongU64(value_ + delta); }
  constexpr StrongU64 operator-(uint64_t delta) const { return StrongU64(value_ - delta); }
  constexpr uint64_t operator-(StrongU64 other) const { return value_ - other.value_; }
  constexpr StrongU64& operator+=(uint64_t delta) {
    value_ += delta;
    return *this;
  }
  friend std::ostream& operator<<(std::ostream& out, StrongU64 v) { return out << v.value_; }

 private:
  uint64_t value_ = 0;
};

using InodeId = StrongU64<struct InodeIdTag>;            // never reused
using FileOffset = StrongU64<struct FileOffsetTag>;      // bytes in a file
using DeviceOffset = StrongU64<struct DeviceOffsetTag>;  // bytes on the device

// A run of bytes on the device. Everywhere in cofs block-aligned unless a
// function says otherwise.
struct DeviceRange {
  DeviceOffset offset;
  uint64_t length_bytes = 0;
  constexpr DeviceOffset end() const { return offset + length_bytes; }
  friend constexpr bool operator==(const DeviceRange&, const DeviceRange&) = default;
};

}  // namespace cofs

template <typename Tag>
struct std::hash<cofs::StrongU64<Tag>> {
  size_t operator()(cofs::StrongU64<Tag> v) const noexcept {
    return std::hash<uint64_t>{}(v.value());
  }
};
