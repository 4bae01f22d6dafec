#include "device/file_device.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "base/aligned_buffer.h"
#include "base/check.h"
#include "device/block_node.h"
#include "device/software_queue.h"

namespace cofs {
namespace {

constexpr unsigned kExecuteDepth = 64;

int OpenRetrying(const std::string& path, int flags, mode_t mode = 0) {
  int fd;
  do {
    fd = ::open(path.c_str(), flags | O_CLOEXEC, mode);
  } while (fd < 0 && errno == EINTR);
  return fd;
}

Status CheckType(const struct stat& st, const std::string& path) {
  if (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode)) return OkStatus();
  std::string_view what = "something else";
  if (S_ISDIR(st.st_mode)) what = "a directory";
  if (S_ISCHR(st.st_mode)) what = "a character device";
  if (S_ISFIFO(st.st_mode)) what = "a pipe";
  if (S_ISSOCK(st.st_mode)) what = "a socket";
  return Error(
      ErrorCode::kInvalidArgument,
      StrCat(path, " is ", what, "; a volume is a block device or an image file"));
}

}  // namespace

Result<std::unique_ptr<FileDevice>> FileDevice::Open(const std::string& path,
                                                     OpenMode mode, Options options) {
  std::unique_ptr<FileDevice> device(new FileDevice);
  TRY(device->OpenDescriptors(path, mode, options));
  if (options.lock) {
    const LockKind kind =
        mode == OpenMode::kReadWrite ? LockKind::kExclusive : LockKind::kShared;
    TRY_ASSIGN(device->lock_,
               VolumeLock::Take(device->fd_.get(), kind, options.wait, path));
    TRY_ASSIGN(device->loop_lock_,
               LoopLock::Take(device->fd_.get(), kind, options.wait, path));
  }
  TRY(device->ReadGeometry());
  device->ChooseDirect();
  TRY_ASSIGN(auto queue, FileQueue::Create(device->target_, kExecuteDepth));
  device->ReturnQueue(std::move(queue));
  return device;
}

Status FileDevice::OpenDescriptors(const std::string& path, OpenMode mode,
                                   const Options& options) {
  // Looked at before it is opened: opening a pipe blocks, opening a tape rewinds it.
  struct stat st = {};
  if (::stat(path.c_str(), &st) != 0) return ErrorOfErrno(errno, path);
  TRY(CheckType(st, path));
  const bool is_block_device = S_ISBLK(st.st_mode);
  if (options.exclusive_kernel_open && is_block_device) {
    claim_fd_ = Fd(OpenRetrying(path, O_RDONLY | O_EXCL));
    if (!claim_fd_.valid() && errno == EBUSY) {
      return Error(
          ErrorCode::kBusy,
          path + " is mounted, or used as swap, by an array or by device-mapper");
    }
    if (!claim_fd_.valid()) return ErrorOfErrno(errno, "open " + path);
  }
  const int access = mode == OpenMode::kReadWrite ? O_RDWR : O_RDONLY;
  if (options.allow_direct) {
    fd_ = Fd(OpenRetrying(path, access | O_DIRECT));
    if (!fd_.valid() && errno != EINVAL) return ErrorOfErrno(errno, "open " + path);
    if (!fd_.valid()) buffered_reason_ = "the file system refuses O_DIRECT";
  } else {
    buffered_reason_ = "as asked for";
  }
  if (!fd_.valid()) fd_ = Fd(OpenRetrying(path, access));
  if (!fd_.valid()) return ErrorOfErrno(errno, "open " + path);

  struct stat opened = {};
  if (::fstat(fd_.get(), &opened) != 0) return ErrorOfErrno(errno, path);
  if (opened.st_mode != st.st_mode || opened.st_dev != st.st_dev ||
      opened.st_ino != st.st_ino)
    return Error(ErrorCode::kRetry, path + " was replaced");
  target_.fd = fd_.get();
  target_.geometry.path = path;
  target_.geometry.is_block_device = is_block_device;
  target_.geometry.is_read_only = mode == OpenMode::kReadOnly;
  return OkStatus();
}

Status FileDevice::ReadGeometry() {
  DeviceGeometry& geometry = target_.geometry;
  struct stat st = {};
  if (::fstat(fd_.get(), &st) != 0) return ErrorOfErrno(errno, geometry.path);
  uint64_t size_bytes = static_cast<uint64_t>(st.st_size);
  if (geometry.is_block_device) {
    const BlockNode node = ReadBlockNode("/sys", {major(st.st_rdev), minor(st.st_rdev)});
    TRY(CheckUsable(node, geometry.path));
    target_.is_fua_trusted = !node.ignores_fua;
    geometry.can_discard = node.can_discard && !geometry.is_read_only;
    geometry.can_write_zeroes = node.can_write_zeroes && !geometry.is_read_only;
    TRY(ReadBlockGeometry(&size_bytes));
  } else if (!geometry.is_read_only) {
    // Asked behind the end, where it changes nothing.
    const auto behind = static_cast<off_t>(RoundUp(size_bytes, kBlockBytes));
    const bool can_punch =
        ::fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, behind,
                    kBlockBytes) == 0;
    geometry.can_discard = can_punch;
    geometry.can_write_zeroes = can_punch;
  }
  geometry.size_bytes = RoundDown(size_bytes, kBlockBytes);
  if (geometry.size_bytes == 0) {
    return Error(ErrorCode::kInvalidArgument,
                 StrCat(geometry.path, " has ", size_bytes, " bytes, less than a block"));
  }
  return OkStatus();
}

Status FileDevice::ReadBlockGeometry(uint64_t* size_bytes) {
  DeviceGeometry& geometry = target_.geometry;
  int logical = 0;
  unsigned physical = 0;
  if (::ioctl(fd_.get(), BLKGETSIZE64, size_bytes) != 0 ||
      ::ioctl(fd_.get(), BLKSSZGET, &logical) != 0 ||
      ::ioctl(fd_.get(), BLKPBSZGET, &physical) != 0)
    return ErrorOfErrno(errno, "geometry of " + geometry.path);
  // Such a device can be opened for writing all the same, and fails every write.
  int is_read_only = 0;
  if (!geometry.is_read_only && ::ioctl(fd_.get(), BLKROGET, &is_read_only) == 0 &&
      is_read_only != 0)
    return Error(ErrorCode::kReadOnly, geometry.path + " is a read-only device");
  geometry.logical_block_bytes = static_cast<uint32_t>(logical);
  geometry.physical_block_bytes = physical;
  if (geometry.logical_block_bytes > kBlockBytes) {
    return Error(ErrorCode::kNotSupported,
                 StrCat(geometry.path, " has logical blocks of ", logical,
                        " bytes, more than a block of cofs"));
  }
  return OkStatus();
}

void FileDevice::ChooseDirect() {
  DeviceGeometry& geometry = target_.geometry;
  if (buffered_reason_.empty()) {
    target_.memory_alignment = kBlockBytes;
    target_.offset_alignment = geometry.logical_block_bytes;
    struct statx stx = {};
    if (::statx(fd_.get(), "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) == 0 &&
        (stx.stx_mask & STATX_DIOALIGN) != 0) {
      if (stx.stx_dio_mem_align == 0 || stx.stx_dio_offset_align == 0) {
        buffered_reason_ = "the file system can't do direct I/O on this file";
      } else if (kBlockBytes % stx.stx_dio_offset_align != 0) {
        buffered_reason_ = StrCat("direct I/O needs multiples of ",
                                  stx.stx_dio_offset_align, " bytes here");
      }
      target_.memory_alignment = stx.stx_dio_mem_align;
      target_.offset_alignment = stx.stx_dio_offset_align;
    }
  }
  if (buffered_reason_.empty()) {
    // The proof: some file systems take the flag and refuse the I/O.
    AlignedBuffer block(kBlockBytes);
    if (::pread(fd_.get(), block.data(), kBlockBytes, 0) < 0 && errno == EINVAL)
      buffered_reason_ = "the file system refuses direct I/O";
  }
  geometry.is_direct = buffered_reason_.empty();
  if (geometry.is_direct) return;
  target_.memory_alignment = 1;
  target_.offset_alignment = 1;
  const int flags = ::fcntl(fd_.get(), F_GETFL);
  CHECK(flags >= 0 && ::fcntl(fd_.get(), F_SETFL, flags & ~O_DIRECT) == 0);
}

Status FileDevice::CreateImage(const std::string& path, uint64_t size_bytes) {
  const Fd fd(OpenRetrying(path, O_RDWR | O_CREAT | O_EXCL, 0600));
  if (!fd.valid()) return ErrorOfErrno(errno, "create " + path);
  if (::ftruncate(fd.get(), static_cast<off_t>(size_bytes)) != 0 ||
      ::fsync(fd.get()) != 0) {
    const int error_number = errno;
    ::unlink(path.c_str());
    return ErrorOfErrno(error_number, "create " + path);
  }
  const std::string parent = std::filesystem::path(path).parent_path();
  const Fd folder(OpenRetrying(parent.empty() ? "." : parent, O_RDONLY | O_DIRECTORY));
  // Some file systems can't sync a directory; nothing is lost but the promise.
  if (folder.valid() && ::fsync(folder.get()) != 0 && errno == EIO)
    return ErrorOfErrno(EIO, "create " + path);
  return OkStatus();
}

FileDevice::~FileDevice() {
  {
    MutexLock lock(mutex_);
    idle_queues_.clear();
  }
  CHECK(target_.queue_count.load() == 0, "a queue of ", target_.geometry.path,
        " outlives it");
}

Status FileDevice::Execute(std::span<IoOp> ops) {
  if (ops.size() == 1 && ops[0].kind == IoKind::kFlush) return ExecuteFlush(ops[0]);
  std::unique_ptr<FileQueue> queue = TakeQueue();
  for (IoOp& op : ops) queue->Prepare(&op);
  while (queue->Reap() != nullptr) {
  }
  ReturnQueue(std::move(queue));
  for (const IoOp& op : ops)
    if (op.error) return *op.error;
  return OkStatus();
}

Status FileDevice::ExecuteFlush(IoOp& op) {
  op.error.reset();
  if (target_.geometry.is_read_only) return OkStatus();
  // The ring would hand it to a worker of the kernel, which triples the time of a flush
  // of a fast device.
  Status status = FlushFile(fd_.get(), target_.geometry.path);
  if (!status.ok()) op.error = status.error();
  return status;
}

std::unique_ptr<IoQueue> FileDevice::NewQueue(unsigned depth) {
  auto queue = FileQueue::Create(target_, depth);
  if (queue.ok()) return std::move(queue).value();
  // Out of descriptors or memory: without depth, on the rings that are there.
  return std::make_unique<SoftwareQueue>(*this, depth);
}

std::unique_ptr<FileQueue> FileDevice::TakeQueue() {
  while (true) {
    {
      MutexLock lock(mutex_);
      if (!idle_queues_.empty()) {
        // The last one returned is the warmest.
        auto queue = std::move(idle_queues_.back());
        idle_queues_.pop_back();
        return queue;
      }
    }
    auto queue = FileQueue::Create(target_, kExecuteDepth);
    if (queue.ok()) return std::move(queue).value();
    // Out of descriptors or memory: Open() made the first one, so somebody has it and
    // will return it.
    MutexLock lock(mutex_);
    while (idle_queues_.empty()) queue_returned_.Wait(mutex_);
  }
}

void FileDevice::ReturnQueue(std::unique_ptr<FileQueue> queue) {
  MutexLock lock(mutex_);
  idle_queues_.push_back(std::move(queue));
  queue_returned_.NotifyOne();
}

}  // namespace cofs
