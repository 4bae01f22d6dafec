// LoopDevice: a block device over an image file, detached at the end of its life.
//
// The kernel detaches it by itself when the last user closes it, so that a test that
// dies leaves none behind.
#pragma once

#include <string>

#include "base/file_descriptor.h"

namespace cofs {

class LoopDevice {
 public:
  LoopDevice() = default;
  // Throws std::system_error.
  explicit LoopDevice(const std::string& image_path);
  LoopDevice(LoopDevice&&) noexcept = default;
  LoopDevice& operator=(LoopDevice&&) noexcept = default;

  bool attached() const { return fd_.valid(); }
  const std::string& path() const { return path_; }
  void Detach() { fd_.Reset(); }

 private:
  std::string path_;
  Fd fd_;
};

}  // namespace cofs
