// Bytes of known contents: they depend on a seed and on their place in a stream, so that
// no two blocks are alike and nothing has to be kept to compare with.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace cofs {

// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
inline uint64_t Mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

// Fills `bytes` with the bytes [offset, offset + length) of the stream of `seed`.
inline void FillFromStream(char* bytes, uint64_t seed, uint64_t offset, uint64_t length) {
  for (uint64_t i = 0; i < length;) {
    const uint64_t at = offset + i, skip = at % 8;
    const uint64_t word = Mix(seed * 0x1000000000000 + at / 8);
    const uint64_t count = std::min(8 - skip, length - i);
    std::memcpy(bytes + i, reinterpret_cast<const char*>(&word) + skip, count);
    i += count;
  }
}

}  // namespace cofs
