#include "cli/data_copier.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>

#include "base/aligned_buffer.h"
#include "base/log.h"
#include "cli/interrupt.h"
#include "fs/fuse/cofs_ioctl.h"

namespace cofs {
namespace {

// One call: short enough for a bar that moves and for Ctrl-C on file systems that don't
// look up while they copy.
constexpr uint64_t kCallBytes = 64 << 20;
constexpr uint64_t kMemoryBytes = 1 << 20;

const char* NameOfWay(size_t index) {
  switch (index) {
    case COFS_WAY_NVME_COPY:
      return "nvme-copy";
    case COFS_WAY_SCSI_XCOPY:
      return "scsi-xcopy";
    case COFS_WAY_HOST_FILE:
      return "host-file";
    case COFS_WAY_DEVICE:
      return "device";
    case COFS_WAY_BUFFERED:
      return "buffered";
    case COFS_WAY_MEMORY:
      return "memory";
    case COFS_WAY_SHARED:
      return "shared";
    case COFS_WAY_HOLES:
      return "holes";
    default:
      return "other";
  }
}

const char* NameOfReason(size_t index) {
  static constexpr const char* kNames[] = {
      "no-way",         "too-small",     "set-aside",     "not-applicable", "command-failed",
      "verify-failed", "changed-below", "unaligned",      "bad-source"};
  return index < std::size(kNames) ? kNames[index] : "other";
}

bool MeansNoCopyRange(int error_number) {
  return error_number == EXDEV || error_number == EOPNOTSUPP || error_number == ENOSYS ||
         error_number == EINVAL || error_number == EPERM;
}

class Copier {
 public:
  using OnProgress = std::function<void(uint64_t, const std::string&)>;

  Copier(int source, int destination, const DataCopyOptions& options,
         const OnProgress& on_progress)
      : source_(source),
        destination_(destination),
        options_(options),
        on_progress_(on_progress) {}

  Result<DataCopyReport> Run() {
    struct stat from, to;
    if (::fstat(source_, &from) != 0 || ::fstat(destination_, &to) != 0)
      return ErrorOfErrno(errno, "stat");
    size_bytes_ = static_cast<uint64_t>(from.st_size);
    cofs_ioc_copy_report ignored{};
    ignored.flags = COFS_REPORT_RESET;
    is_cofs_ = from.st_dev == to.st_dev &&
               ::ioctl(destination_, COFS_IOC_COPY_REPORT, &ignored) == 0;
    TRY(is_cofs_ ? CopyOnCofs() : CopyElsewhere());
    DataCopyReport report;
    report.bytes = done_bytes_;
    if (is_cofs_) AddWays(report);
    if (!is_cofs_ && done_bytes_ > 0)
      report.ways.push_back({was_cloned_   ? "shared"
                             : used_memory_ ? "memory"
                                            : "kernel",
                             done_bytes_, 0});
    return report;
  }

 private:
  // The arm that the options ask for; 0: none.
  uint32_t Arm() const {
    if (options_.reflink == ReflinkMode::kAlways) return COFS_ARM_CLONE;
    if (options_.require_offload) return COFS_ARM_DEVICE;
    return options_.reflink == ReflinkMode::kNever ? COFS_ARM_AUTO : 0;
  }

  // A clone is one batch, and at once, as long as it is one call.
  uint64_t CallBytes() const {
    return options_.reflink == ReflinkMode::kAlways ? UINT32_MAX : kCallBytes;
  }

  Status CopyOnCofs() {
    if (size_bytes_ == 0) return OkStatus();
    if (Arm() != 0) {
      cofs_ioc_copy_arm arm{};
      arm.length = size_bytes_;
      arm.how = Arm();
      if (::ioctl(destination_, COFS_IOC_COPY_ARM, &arm) != 0)
        return ErrorOfErrno(errno, "the volume can't be told how to copy");
    }
    while (done_bytes_ < size_bytes_) {
      TRY_ASSIGN(const uint64_t count, CopyRangeOnce());
      if (count == 0) break;  // it has become shorter
      NoteProgress(WayOfMost());
    }
    return OkStatus();
  }

  Result<uint64_t> CopyRangeOnce() {
    for (;;) {
      if (InterruptSignal() != 0) return Error(ErrorCode::kInterrupted, "copy");
      auto from = static_cast<off_t>(done_bytes_), to = from;
      const ssize_t count =
          ::copy_file_range(source_, &from, destination_, &to,
                            std::min(CallBytes(), size_bytes_ - done_bytes_), 0);
      if (count >= 0) {
        done_bytes_ += static_cast<uint64_t>(count);
        return static_cast<uint64_t>(count);
      }
      if (errno == EREMOTEIO)
        return Error(ErrorCode::kNotSupported,
                     options_.require_offload ? "the device does not copy this file"
                                              : "the volume does not copy it as asked for");
      if (errno != EINTR) return ErrorOfErrno(errno, "copy");
    }
  }

  // Two file systems, or one that is not cofs.
  Status CopyElsewhere() {
    if (options_.require_offload)
      return Error(ErrorCode::kNotSupported,
                   "source and destination are not on one cofs volume, so no device can "
                   "copy between them");
    if (options_.reflink != ReflinkMode::kNever) {
      if (::ioctl(destination_, FICLONE, source_) == 0) {
        done_bytes_ = size_bytes_;
        was_cloned_ = true;
        NoteProgress("shared");
        return OkStatus();
      }
      if (options_.reflink == ReflinkMode::kAlways)
        return ErrorOfErrno(errno, "blocks can't be shared");
    }
    while (done_bytes_ < size_bytes_) {
      TRY_ASSIGN(const bool is_at_data, SkipHole());
      if (!is_at_data) break;
      while (done_bytes_ < data_end_) TRY(CopyDataOnce());
    }
    // A hole at the end.
    if (::ftruncate(destination_, static_cast<off_t>(size_bytes_)) != 0)
      return ErrorOfErrno(errno, "truncate");
    done_bytes_ = size_bytes_;
    return OkStatus();
  }

  // Moves on to the next data, [done_bytes_, data_end_); false: only a hole is left.
  Result<bool> SkipHole() {
    const off_t data = ::lseek(source_, static_cast<off_t>(done_bytes_), SEEK_DATA);
    if (data < 0 && errno == ENXIO) return false;
    data_end_ = size_bytes_;
    if (data < 0) return true;  // a file system without holes
    done_bytes_ = static_cast<uint64_t>(data);
    const off_t hole = ::lseek(source_, data, SEEK_HOLE);
    if (hole > data) data_end_ = std::min(size_bytes_, static_cast<uint64_t>(hole));
    return done_bytes_ < size_bytes_;
  }

  Status CopyDataOnce() {
    if (InterruptSignal() != 0) return Error(ErrorCode::kInterrupted, "copy");
    const uint64_t wanted = std::min(kCallBytes, data_end_ - done_bytes_);
    if (!used_memory_) {
      auto from = static_cast<off_t>(done_bytes_), to = from;
      const ssize_t count =
          ::copy_file_range(source_, &from, destination_, &to, wanted, 0);
      if (count > 0) {
        done_bytes_ += static_cast<uint64_t>(count);
        NoteProgress("kernel");
        return OkStatus();
      }
      if (count < 0 && errno == EINTR) return OkStatus();
      if (count < 0 && errno == EREMOTEIO)
        return Error(ErrorCode::kNotSupported, "the volume does not copy it as it is set to");
      if (count < 0 && !MeansNoCopyRange(errno)) return ErrorOfErrno(errno, "copy");
      used_memory_ = true;
    }
    return CopyThroughMemory(std::min(wanted, kMemoryBytes));
  }

  Status CopyThroughMemory(uint64_t wanted) {
    if (buffer_.size_bytes() == 0) buffer_ = AlignedBuffer(kMemoryBytes);
    const ssize_t count =
        ::pread(source_, buffer_.data(), wanted, static_cast<off_t>(done_bytes_));
    if (count < 0) return errno == EINTR ? OkStatus() : Status(ErrorOfErrno(errno, "read"));
    if (count == 0) {
      size_bytes_ = data_end_ = done_bytes_;  // it has become shorter
      return OkStatus();
    }
    for (ssize_t written = 0; written < count;) {
      const ssize_t more = ::pwrite(destination_, buffer_.data() + written,
                                    static_cast<size_t>(count - written),
                                    static_cast<off_t>(done_bytes_) + written);
      if (more < 0 && errno == EINTR && InterruptSignal() == 0) continue;
      if (more < 0)
        return errno == EINTR ? Error(ErrorCode::kInterrupted, "copy")
                              : ErrorOfErrno(errno, "write");
      written += more;
    }
    done_bytes_ += static_cast<uint64_t>(count);
    NoteProgress("memory");
    return OkStatus();
  }

  void NoteProgress(const std::string& way) {
    if (on_progress_) on_progress_(done_bytes_, way);
  }

  bool GetReport(cofs_ioc_copy_report& report) const {
    std::memset(&report, 0, sizeof(report));
    return ::ioctl(destination_, COFS_IOC_COPY_REPORT, &report) == 0;
  }

  std::string WayOfMost() const {
    cofs_ioc_copy_report report;
    if (!options_.wants_report || !GetReport(report)) return "";
    size_t most = COFS_WAYS_MAX;
    for (size_t i = 0; i < COFS_WAYS_MAX; ++i)
      if (report.ways[i].bytes > 0 &&
          (most == COFS_WAYS_MAX || report.ways[i].bytes > report.ways[most].bytes))
        most = i;
    return most == COFS_WAYS_MAX ? "" : NameOfWay(most);
  }

  void AddWays(DataCopyReport& out) const {
    cofs_ioc_copy_report report;
    if (!options_.wants_report || !GetReport(report)) return;
    for (size_t i = 0; i < COFS_WAYS_MAX; ++i)
      if (report.ways[i].bytes > 0 || report.ways[i].commands > 0)
        out.ways.push_back({NameOfWay(i), report.ways[i].bytes, report.ways[i].commands});
    for (size_t i = 0; i < COFS_REASONS_MAX; ++i)
      if (report.reasons[i].count > 0)
        out.reasons.push_back(
            {NameOfReason(i), report.reasons[i].count, report.reasons[i].bytes});
    out.verified_bytes = report.verified_bytes;
    out.latency.assign(std::begin(report.latency), std::end(report.latency));
    out.fallback_count = report.fallbacks;
    out.fallback_reason =
        Printable(std::string(report.fallback_reason,
                              ::strnlen(report.fallback_reason, sizeof(report.fallback_reason))));
  }

  const int source_;
  const int destination_;
  const DataCopyOptions options_;
  const OnProgress& on_progress_;
  uint64_t size_bytes_ = 0;
  uint64_t done_bytes_ = 0;
  uint64_t data_end_ = 0;
  bool is_cofs_ = false;
  bool used_memory_ = false;  // not on cofs: the kernel does not copy between them
  bool was_cloned_ = false;   // not on cofs
  AlignedBuffer buffer_;
};

}  // namespace

Result<DataCopyReport> CopyData(
    int source_fd, int destination_fd, const DataCopyOptions& options,
    const std::function<void(uint64_t, const std::string&)>& on_progress) {
  return Copier(source_fd, destination_fd, options, on_progress).Run();
}

}  // namespace cofs
