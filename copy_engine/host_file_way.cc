#include "copy_engine/host_file_way.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>

#include "copy_engine/planner.h"

namespace cofs {
namespace {

// Not in <linux/magic.h>.
constexpr uint64_t kZfsMagic = 0x2fc12fc1, kCifsMagic = 0xff534d42,
                   kSmb2Magic = 0xfe534d42;

// One call holds the image's inode lock, so that other I/O waits: a clone takes
// milliseconds for this much, a copy by a server much longer.
constexpr uint64_t kCloneBytesMax = 256u << 20;
constexpr uint64_t kCopyBytesMax = 16u << 20;

HostFileWay::Method MethodOf(uint64_t magic) {
  switch (magic) {
    case NFS_SUPER_MAGIC:
    case FUSE_SUPER_MAGIC:
    case CEPH_SUPER_MAGIC:
    case kCifsMagic:
    case kSmb2Magic:
    case kZfsMagic:
      return HostFileWay::Method::kCopyFileRange;
    default:
      return HostFileWay::Method::kClone;
  }
}

std::string_view NameOf(HostFileWay::Method method) {
  return method == HostFileWay::Method::kClone ? "FICLONERANGE" : "copy_file_range";
}

// Asks for a clone of nothing: what lies behind the end of the image. A file system
// that can't clone says so all the same.
Status CheckClones(int image_fd, uint64_t size_bytes) {
  file_clone_range range = {};
  range.src_fd = image_fd;
  range.src_offset = size_bytes;
  if (::ioctl(image_fd, FICLONERANGE, &range) == 0 || errno == EINVAL) return OkStatus();
  if (errno == EOPNOTSUPP || errno == ENOTTY || errno == ENOSYS)
    return Error(ErrorCode::kNotSupported,
                 "the file system of the image can't share blocks");
  return ErrorOfErrno(errno, "FICLONERANGE within the image");
}

}  // namespace

Result<std::unique_ptr<HostFileWay>> HostFileWay::Open(int image_fd) {
  struct statfs file_system;
  if (::fstatfs(image_fd, &file_system) != 0) return ErrorOfErrno(errno, "image");
  return Open(image_fd, MethodOf(static_cast<uint64_t>(file_system.f_type)));
}

Result<std::unique_ptr<HostFileWay>> HostFileWay::Open(int image_fd, Method method) {
  struct stat info;
  struct statfs file_system;
  if (::fstat(image_fd, &info) != 0 || ::fstatfs(image_fd, &file_system) != 0)
    return ErrorOfErrno(errno, "image");
  if (!S_ISREG(info.st_mode)) return Error(ErrorCode::kNotSupported, "not an image file");
  if ((::fcntl(image_fd, F_GETFL) & O_ACCMODE) != O_RDWR)
    return Error(ErrorCode::kNotSupported, "the image is open read-only");

  CopyLimits limits;
  limits.command_bytes_max = method == Method::kClone ? kCloneBytesMax : kCopyBytesMax;
  if (method == Method::kClone) {
    TRY(CheckClones(image_fd, static_cast<uint64_t>(info.st_size)));
    const auto block_bytes = static_cast<uint64_t>(file_system.f_bsize);
    if (std::has_single_bit(block_bytes) && block_bytes <= kCloneBytesMax)
      limits.alignment_bytes = std::max(limits.alignment_bytes, block_bytes);
  }
  limits.segment_bytes_max = limits.command_bytes_max;
  return std::unique_ptr<HostFileWay>(new HostFileWay(image_fd, method, limits));
}

CopyOutcome HostFileWay::Run(const CopyTask& task) {
  CopyOutcome outcome;
  const auto stopped = [&](CopyStop stop, Error error) {
    outcome.stop = stop;
    outcome.error = std::move(error);
    return outcome;
  };
  struct stat info;
  if (::fstat(image_fd_, &info) != 0)
    return stopped(CopyStop::kWayFailed, ErrorOfErrno(errno, "image"));
  auto plan = PlanCopy(task.pieces, limits_,
                       StackMap::Identity(static_cast<uint64_t>(info.st_size)));
  if (!plan.ok()) return stopped(CopyStop::kNotApplicable, plan.error());

  CopyProgress progress;
  for (const CopyCommand& command : plan->commands) {
    if (task.interrupted && task.interrupted()) {
      outcome.stop = CopyStop::kInterrupted;
      break;
    }
    ++outcome.command_count;
    int error = 0;
    const uint64_t done = [&] {
      const LatencyTimer timer(task.latency);
      return method_ == Method::kClone ? Clone(command, &error)
                                       : CopyRange(command, &error);
    }();
    progress.Add(command, done);
    if (done == command.length_bytes) continue;
    outcome.stop = CopyStop::kWayFailed;
    outcome.error = ErrorOfErrno(error, StrCat(NameOf(method_), " within the image"));
    break;
  }
  outcome.completed_bytes = progress.PrefixBytes();
  if (outcome.stop == CopyStop::kDone && plan->obstacle)
    return stopped(CopyStop::kNotApplicable, *plan->obstacle);
  return outcome;
}

uint64_t HostFileWay::Clone(const CopyCommand& command, int* error) const {
  file_clone_range range = {};
  range.src_fd = image_fd_;
  range.src_offset = command.segments[0].source;
  range.src_length = command.length_bytes;
  range.dest_offset = command.destination;
  while (::ioctl(image_fd_, FICLONERANGE, &range) != 0) {
    if (errno == EINTR) continue;
    *error = errno;
    return 0;
  }
  return command.length_bytes;
}

uint64_t HostFileWay::CopyRange(const CopyCommand& command, int* error) const {
  auto source = static_cast<off_t>(command.segments[0].source);
  auto destination = static_cast<off_t>(command.destination);
  uint64_t done = 0;
  while (done < command.length_bytes) {
    const ssize_t count = ::copy_file_range(image_fd_, &source, image_fd_, &destination,
                                            command.length_bytes - done, 0);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {
      *error = count < 0 ? errno : EIO;  // 0: the image ends before its own size
      return done;
    }
    done += static_cast<uint64_t>(count);
  }
  return done;
}

std::string HostFileWay::description() const {
  return StrCat(NameOf(method_), " within the image");
}

}  // namespace cofs
