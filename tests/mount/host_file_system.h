// HostFileSystem: a file system of the kernel for one test, on a loop device over a
// sparse file; unmounted and removed at the end of its life.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tests/mount/loop_device.h"
#include "tests/mount/mounted_volume.h"

namespace cofs {

class HostFileSystem {
 public:
  struct Options {
    std::string type;  // "xfs", "btrfs"
    uint64_t size_bytes = uint64_t{1} << 30;
    std::vector<std::string> mkfs_arguments = {};
  };
  // Null, and the reason in words, where this machine can't.
  static std::unique_ptr<HostFileSystem> Make(const Options& options, std::string* why_not);
  ~HostFileSystem();
  HostFileSystem(const HostFileSystem&) = delete;
  HostFileSystem& operator=(const HostFileSystem&) = delete;

  const std::string& path() const { return path_; }
  // What is used of it, once all is written back.
  uint64_t used_bytes() const;

 private:
  HostFileSystem() = default;

  ScratchDirectory directory_;
  std::string path_;
  LoopDevice loop_;
};

}  // namespace cofs
