// SuperblockBytes: the two superblocks of an image as raw bytes, by the table of
// docs/FORMAT.md and not by the code that writes them.
#pragma once

#include <fcntl.h>

#include <cstdint>
#include <cstring>
#include <string>

#include "base/crc32c.h"
#include "tests/mount/file_io.h"

namespace cofs {

class SuperblockBytes {
 public:
  static constexpr uint64_t kPlaces[2] = {64 << 10, 1 << 20};
  static constexpr size_t kBytes = 4096;
  static constexpr size_t kVersionAt = 8, kChecksumAt = 12, kIncompatAt = 32,
                          kSequenceAt = 40, kJournalAt = 128, kJournalBytesAt = 136,
                          kStateAt = 152;

  // The newer of the two.
  static std::string Newest(const std::string& image) {
    const Fd fd = Open(image, O_RDONLY);
    const std::string a = ReadAt(fd.get(), kPlaces[0], kBytes);
    const std::string b = ReadAt(fd.get(), kPlaces[1], kBytes);
    return Field<uint64_t>(a, kSequenceAt) > Field<uint64_t>(b, kSequenceAt) ? a : b;
  }
  template <typename T>
  static T Field(const std::string& block, size_t offset) {
    T value;
    memcpy(&value, block.data() + offset, sizeof value);
    return value;
  }
  // Sets a field in both copies; their checksums are right afterwards.
  template <typename T>
  static void Change(const std::string& image, size_t offset, T value) {
    const Fd fd = Open(image, O_RDWR);
    for (const uint64_t place : kPlaces) {
      std::string block = ReadAt(fd.get(), place, kBytes);
      memcpy(block.data() + offset, &value, sizeof value);
      const uint32_t none = 0;
      memcpy(block.data() + kChecksumAt, &none, sizeof none);
      const uint32_t sum = Crc32c(block.data(), block.size());
      memcpy(block.data() + kChecksumAt, &sum, sizeof sum);
      WriteAt(fd.get(), place, block);
    }
  }
  static bool IsClean(const std::string& image) {
    return (Field<uint32_t>(Newest(image), kStateAt) & 1) != 0;
  }
};

}  // namespace cofs
