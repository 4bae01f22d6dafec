#include "tests/device/device_fixture.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>

#include "base/check.h"

namespace cofs {

uint64_t TestSeed() {
  static const uint64_t seed = [] {
    const char* text = std::getenv("COFS_SEED");
    const uint64_t value = text != nullptr ? std::strtoull(text, nullptr, 0) : 1;
    std::cout << "COFS_SEED=" << value << std::endl;
    return value;
  }();
  return seed;
}

void FillPattern(std::span<char> out, uint64_t seed) {
  uint64_t state = seed * 0x9e3779b97f4a7c15ULL + 1;
  for (char& byte : out) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    byte = static_cast<char>(state >> 56);
  }
}

AlignedBuffer Pattern(size_t length_bytes, uint64_t seed) {
  AlignedBuffer buffer(length_bytes);
  FillPattern(buffer.span(), seed);
  return buffer;
}

AlignedBuffer ReadAll(BlockDevice& device, DeviceOffset offset, uint64_t length_bytes) {
  AlignedBuffer buffer = AlignedBuffer::Zeroed(length_bytes);
  const Status status = device.Read(offset, buffer.span());
  EXPECT_TRUE(status.ok()) << status.error().ToString();
  return buffer;
}

std::string_view ViewOf(const AlignedBuffer& buffer) {
  return {buffer.data(), buffer.size_bytes()};
}

TempFolder::TempFolder(const std::string& parent) {
  std::filesystem::path folder = parent;
  if (folder.empty()) folder = std::filesystem::temp_directory_path();
  path_ = (folder / "cofs-device-XXXXXX").string();
  CHECK(::mkdtemp(path_.data()) != nullptr, path_, ": ", std::strerror(errno));
}

TempFolder::~TempFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

void MakeImage(const std::string& path, uint64_t size_bytes) {
  const Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  CHECK(fd.valid() && ::ftruncate(fd.get(), static_cast<off_t>(size_bytes)) == 0, path);
}

void WriteText(const std::string& path, std::string_view text) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path) << text;
}

std::unique_ptr<LoopDevice> LoopDevice::Attach(const std::string& image,
                                               std::string* reason, bool read_only,
                                               DeviceRange part) {
  const Fd control(::open("/dev/loop-control", O_RDWR | O_CLOEXEC));
  const Fd file(::open(image.c_str(), O_RDWR | O_CLOEXEC));
  if (!control.valid() || !file.valid()) {
    *reason =
        StrCat(control.valid() ? image : "/dev/loop-control", ": ", std::strerror(errno));
    return nullptr;
  }
  // Others look for a free one at the same time.
  for (int attempt = 0; attempt < 20; ++attempt) {
    const int number = ::ioctl(control.get(), LOOP_CTL_GET_FREE);
    if (number < 0) break;
    std::unique_ptr<LoopDevice> loop(new LoopDevice);
    loop->path_ = StrCat("/dev/loop", number);
    Fd fd(::open(loop->path_.c_str(), O_RDWR | O_CLOEXEC));
    loop_config config = {};
    config.fd = static_cast<__u32>(file.get());
    config.info.lo_offset = part.offset.value();
    config.info.lo_sizelimit = part.length_bytes;
    if (read_only) config.info.lo_flags = LO_FLAGS_READ_ONLY;
    if (fd.valid() && ::ioctl(fd.get(), LOOP_CONFIGURE, &config) == 0) {
      loop->fd_ = std::move(fd);
      return loop;
    }
  }
  *reason = StrCat("no loop device: ", std::strerror(errno));
  return nullptr;
}

LoopDevice::~LoopDevice() {
  if (fd_.valid()) ::ioctl(fd_.get(), LOOP_CLR_FD);
}

}  // namespace cofs
