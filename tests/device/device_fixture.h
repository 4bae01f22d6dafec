// What the tests of device/ share: a seed, patterns of bytes, temporary folders and loop
// devices that go away with their object.
#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/file_descriptor.h"
#include "device/block_device.h"

namespace cofs {

// COFS_SEED, else 1. Printed once.
uint64_t TestSeed();

// Fills with bytes that depend on `seed` and on the place.
void FillPattern(std::span<char> out, uint64_t seed);
AlignedBuffer Pattern(size_t length_bytes, uint64_t seed);
// The device's bytes; a failed read is a failed test.
AlignedBuffer ReadAll(BlockDevice& device, DeviceOffset offset, uint64_t length_bytes);
std::string_view ViewOf(const AlignedBuffer& buffer);

class TempFolder {
 public:
  // In `parent`, by default where temporary files go.
  explicit TempFolder(const std::string& parent = "");
  ~TempFolder();
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// A sparse file of that size.
void MakeImage(const std::string& path, uint64_t size_bytes);
void WriteText(const std::string& path, std::string_view text);

// A loop device over `image`.
class LoopDevice {
 public:
  // nullptr, with the reason in words, where there is none to be had.
  // `part`: of the image; all of it without a length.
  static std::unique_ptr<LoopDevice> Attach(const std::string& image, std::string* reason,
                                            bool read_only = false, DeviceRange part = {});
  ~LoopDevice();
  LoopDevice(const LoopDevice&) = delete;
  LoopDevice& operator=(const LoopDevice&) = delete;
  const std::string& path() const { return path_; }

 private:
  LoopDevice() = default;
  std::string path_;
  Fd fd_;
};

}  // namespace cofs
