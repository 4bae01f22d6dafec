#include "base/crc32c.h"

#include <isa-l/crc.h>

#include <algorithm>

namespace cofs {

uint32_t Crc32c(const void* data, size_t length_bytes, uint32_t seed) {
  // ISA-L takes the register itself (no final inversion) and an int length.
  constexpr size_t kPieceBytesMax = 1u << 30;
  auto* bytes = static_cast<unsigned char*>(const_cast<void*>(data));
  uint32_t crc = ~seed;
  while (length_bytes > 0) {
    const size_t piece = std::min(length_bytes, kPieceBytesMax);
    crc = crc32_iscsi(bytes, static_cast<int>(piece), crc);
    bytes += piece;
    length_bytes -= piece;
  }
  return ~crc;
}

}  // namespace cofs
