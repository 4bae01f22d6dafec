// VolumeClient: a mounted cofs volume, seen from a program: its ioctl(2) interface.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>

#include "base/file_descriptor.h"
#include "base/result.h"
#include "fs/fuse/cofs_ioctl.h"

namespace cofs {

class VolumeClient {
 public:
  // Any file or directory of the volume.
  static Result<VolumeClient> Open(const std::string& path);

  // The JSON text of COFS_IOC_STATS. kNotCofs when the path is on another file system.
  Result<std::string> StatsText() const;
  // The JSON text of COFS_IOC_SCRUB_REPORT. Root only, as are the next two.
  Result<std::string> ScrubText() const;
  // kBusy when one runs.
  Status StartScrub(uint64_t bytes_per_second, bool resumes) const;
  Status StopScrub() const;
  // Calls `visit` for each extent of the file in order, until it answers false. Writes
  // the file's dirty pages back first.
  Status Map(const std::function<bool(const cofs_map_extent&)>& visit) const;
  // Options of the live mount, "copy=device,verify_copy=all". kInvalidArgument for what
  // the daemon does not know.
  Status Set(const std::string& options) const;
  // Discards free space; the number of bytes.
  Result<uint64_t> Trim(uint64_t begin, uint64_t length_bytes, uint64_t minimum_bytes) const;

 private:
  VolumeClient(std::string path, Fd fd) : path_(std::move(path)), fd_(std::move(fd)) {}
  Error Failed(int error_number) const;
  // A text that the daemon hands out page by page.
  Result<std::string> PagedText(unsigned long request) const;

  std::string path_;
  Fd fd_;
};

}  // namespace cofs
