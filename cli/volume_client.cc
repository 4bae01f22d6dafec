#include "cli/volume_client.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>

namespace cofs {
namespace {

// A daemon keeps one snapshot: others who ask at the same time can take it away.
constexpr int kSnapshotAttempts = 100;

}  // namespace

Result<VolumeClient> VolumeClient::Open(const std::string& path) {
  // A FIFO must not make us wait.
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.valid()) return ErrorOfErrno(errno, path);
  return VolumeClient(path, std::move(fd));
}

Error VolumeClient::Failed(int error_number) const {
  if (error_number == ENOTTY || error_number == EOPNOTSUPP || error_number == ENOSYS)
    return Error(ErrorCode::kNotCofs, path_);
  return ErrorOfErrno(error_number, path_);
}

Result<std::string> VolumeClient::StatsText() const { return PagedText(COFS_IOC_STATS); }

Result<std::string> VolumeClient::ScrubText() const {
  return PagedText(COFS_IOC_SCRUB_REPORT);
}

Status VolumeClient::StartScrub(uint64_t bytes_per_second, bool resumes) const {
  cofs_ioc_scrub scrub{};
  scrub.action = COFS_SCRUB_START;
  scrub.flags = resumes ? COFS_SCRUB_RESUME : 0;
  scrub.bytes_per_second = bytes_per_second;
  if (::ioctl(fd_.get(), COFS_IOC_SCRUB, &scrub) != 0) return Failed(errno);
  return OkStatus();
}

Status VolumeClient::StopScrub() const {
  cofs_ioc_scrub scrub{};
  scrub.action = COFS_SCRUB_STOP;
  if (::ioctl(fd_.get(), COFS_IOC_SCRUB, &scrub) != 0) return Failed(errno);
  return OkStatus();
}

Result<std::string> VolumeClient::PagedText(unsigned long request) const {
  const auto page = std::make_unique<cofs_ioc_stats>();
  for (int attempt = 0; attempt < kSnapshotAttempts; ++attempt) {
    std::string text;
    uint64_t snapshot = 0;
    for (;;) {
      *page = {};
      page->snapshot = snapshot;
      page->offset = static_cast<uint32_t>(text.size());
      if (::ioctl(fd_.get(), request, page.get()) != 0) {
        if (errno == EAGAIN) break;
        return Failed(errno);
      }
      if (page->length > sizeof(page->text) || page->offset != text.size())
        return Error(ErrorCode::kCorrupt, StrCat(path_, ": the daemon's statistics"));
      snapshot = page->snapshot;
      text.append(page->text, page->length);
      if (text.size() >= page->total) return text;
      if (page->length == 0)
        return Error(ErrorCode::kCorrupt, StrCat(path_, ": the daemon's statistics"));
    }
  }
  return Error(ErrorCode::kRetry, StrCat(path_, ": the daemon's statistics"));
}

Status VolumeClient::Map(const std::function<bool(const cofs_map_extent&)>& visit) const {
  if (::fsync(fd_.get()) != 0 && errno != EROFS && errno != EINVAL)
    return ErrorOfErrno(errno, path_);
  const auto map = std::make_unique<cofs_ioc_map>();
  for (uint64_t begin = 0;;) {
    *map = {};
    map->begin = begin;
    map->end = UINT64_MAX;
    if (::ioctl(fd_.get(), COFS_IOC_MAP, map.get()) != 0) return Failed(errno);
    for (uint32_t i = 0; i < std::min<uint32_t>(map->count, COFS_MAP_EXTENTS); ++i) {
      const cofs_map_extent& extent = map->extents[i];
      if (!visit(extent)) return OkStatus();
      begin = std::max<uint64_t>(begin, extent.file_offset + extent.length);
    }
    if ((map->flags & COFS_MAP_MORE) == 0 || map->count == 0) return OkStatus();
  }
}

Status VolumeClient::Set(const std::string& options) const {
  cofs_ioc_set set{};
  if (options.size() > sizeof(set.options))
    return Error(ErrorCode::kInvalidArgument, "the options are too long");
  set.length = static_cast<__u32>(options.size());
  options.copy(set.options, sizeof(set.options));
  if (::ioctl(fd_.get(), COFS_IOC_SET, &set) != 0) return Failed(errno);
  return OkStatus();
}

Result<uint64_t> VolumeClient::Trim(uint64_t begin, uint64_t length_bytes,
                                    uint64_t minimum_bytes) const {
  fstrim_range range{begin, length_bytes, minimum_bytes};
  if (::ioctl(fd_.get(), FITRIM, &range) != 0) return Failed(errno);
  return range.len;
}

}  // namespace cofs
