#include "tests/copy_engine/copy_fixture.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <iostream>

namespace cofs {

uint64_t CopyTestSeed() {
  static const uint64_t seed = [] {
    const char* text = std::getenv("COFS_SEED");
    const uint64_t value = text != nullptr ? std::strtoull(text, nullptr, 0) : 1;
    std::cout << "COFS_SEED=" << value << std::endl;
    return value;
  }();
  return seed;
}

std::vector<CopyPiece> RandomPieces(std::mt19937_64& random, uint64_t device_bytes,
                                    size_t piece_count_max) {
  const uint64_t half_blocks = device_bytes / 2 / kBlockBytes;
  const uint64_t count = 1 + random() % piece_count_max;
  std::vector<CopyPiece> pieces;
  uint64_t destination = half_blocks + random() % 8;
  uint64_t source = random() % (half_blocks / 2);
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t length = 1 + random() % (random() % 4 == 0 ? 100 : 12);
    if (random() % 3 != 0) source = random() % half_blocks;
    if (random() % 3 == 0) destination += 1 + random() % 20;
    if (source + length > half_blocks) source = 0;
    if (destination + length > 2 * half_blocks) break;
    pieces.push_back({.source = DeviceOffset(source * kBlockBytes),
                      .destination = DeviceOffset(destination * kBlockBytes),
                      .length_bytes = length * kBlockBytes});
    source += length;
    destination += length;
  }
  // In any order: a prefix is of the list, not of the device.
  std::shuffle(
      pieces.begin(),
      pieces.begin() + static_cast<std::ptrdiff_t>(random() % (pieces.size() + 1)),
      random);
  return pieces;
}

uint64_t TotalBytes(const std::vector<CopyPiece>& pieces) {
  uint64_t total_bytes = 0;
  for (const CopyPiece& piece : pieces) total_bytes += piece.length_bytes;
  return total_bytes;
}

void FillDevice(MemoryDevice& device, uint64_t seed) {
  std::string contents(device.geometry().size_bytes, '\0');
  for (uint64_t at = 0; at < contents.size(); at += sizeof(uint64_t)) {
    const uint64_t value =
        at % kBlockBytes == 0 ? at : (at + seed) * 0x9e3779b97f4a7c15ULL ^ seed;
    std::memcpy(contents.data() + at, &value, sizeof(value));
  }
  device.Poke(0, contents);
}

std::string Contents(const MemoryDevice& device) {
  std::string contents(device.geometry().size_bytes, '?');
  device.Peek(0, contents);
  return contents;
}

std::string AfterCopy(std::string contents, const std::vector<CopyPiece>& pieces,
                      uint64_t bytes) {
  for (const CopyPiece& piece : pieces) {
    const uint64_t length = std::min(bytes, piece.length_bytes);
    std::memcpy(contents.data() + piece.destination.value(),
                contents.data() + piece.source.value(), length);
    bytes -= length;
  }
  return contents;
}

::testing::AssertionResult IsCopied(const MemoryDevice& device, const std::string& before,
                                    const std::vector<CopyPiece>& pieces,
                                    uint64_t bytes) {
  std::string wanted = AfterCopy(before, pieces, bytes);
  std::string seen = Contents(device);
  uint64_t left = bytes;
  for (const CopyPiece& piece : pieces) {
    const uint64_t done = std::min(left, piece.length_bytes);
    left -= done;
    for (std::string* image : {&wanted, &seen})
      std::memset(image->data() + piece.destination.value() + done, '*',
                  piece.length_bytes - done);
  }
  if (wanted == seen) return ::testing::AssertionSuccess();
  const size_t at = static_cast<size_t>(
      std::mismatch(wanted.begin(), wanted.end(), seen.begin()).first - wanted.begin());
  return ::testing::AssertionFailure() << "wrong byte at " << at << " of the device";
}

}  // namespace cofs
