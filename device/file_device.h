// FileDevice: a block device node or an image file, through io_uring.
//
// Thread-safety: as BlockDevice. Every call of Execute() has a ring to itself while it
// runs, taken from a pool, so the data path has no hand-off between threads; one
// operation is one io_uring_enter(2). Queues must be gone before the device.
// Direct I/O wherever the file system can; else through the page cache, with the
// reason in buffered_reason().
// Durability: Flush() is fdatasync(2), which makes the device below write out its own
// cache; `fua` is RWF_DSYNC, right on images and on devices with and without FUA. On those
// that are known to ignore it (block_node.h) the write is followed by a flush.
//
// io_uring is used by one ring for each thread at work. It must be permitted: Open()
// says so when it is not.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "base/file_descriptor.h"
#include "base/mutex.h"
#include "device/block_device.h"
#include "device/file_queue.h"
#include "device/loop_lock.h"
#include "device/volume_lock.h"

namespace cofs {

enum class OpenMode { kReadOnly, kReadWrite };

class FileDevice : public BlockDevice {
 public:
  struct Options {
    // Takes the lock between cofs programs (volume_lock.h): exclusive for kReadWrite,
    // shared for kReadOnly. Without it only to look at a volume that may be mounted.
    bool lock = true;
    // How long to wait for another cofs program to let go of it.
    std::chrono::milliseconds wait{0};
    // mkfs: claims a block device in the kernel as well, so that one that is mounted,
    // swap, or part of an array is refused (kBusy). Not for a mount, because the kernel
    // claims the device itself (fuseblk). Means nothing for an image.
    bool exclusive_kernel_open = false;
    bool allow_direct = true;
  };

  // kInvalidArgument for what is neither a block device nor a regular file and for what
  // is smaller than a block; kNotSupported for zoned devices, protection information,
  // logical blocks above kBlockBytes, and where io_uring is refused; kReadOnly for
  // kReadWrite on a read-only device; kBusy for a lock or a claim that another program
  // holds.
  static Result<std::unique_ptr<FileDevice>> Open(const std::string& path, OpenMode mode,
                                                  Options options);
  static Result<std::unique_ptr<FileDevice>> Open(const std::string& path,
                                                  OpenMode mode) {
    return Open(path, mode, Options());
  }
  // Makes a sparse image; its directory entry is durable on return. kExists when there
  // is something of that name.
  static Status CreateImage(const std::string& path, uint64_t size_bytes);
  ~FileDevice() override;

  const DeviceGeometry& geometry() const override { return target_.geometry; }
  Status Execute(std::span<IoOp> ops) override;
  std::unique_ptr<IoQueue> NewQueue(unsigned depth) override;
  int native_fd() const override { return fd_.get(); }

  // Why I/O goes through the page cache; empty when it is direct.
  const std::string& buffered_reason() const { return buffered_reason_; }

 private:
  FileDevice() = default;
  // Open() in its steps.
  Status OpenDescriptors(const std::string& path, OpenMode mode, const Options& options);
  Status ReadGeometry();
  Status ReadBlockGeometry(uint64_t* size_bytes);
  void ChooseDirect();
  Status ExecuteFlush(IoOp& op);

  std::unique_ptr<FileQueue> TakeQueue() EXCLUDES(mutex_);
  void ReturnQueue(std::unique_ptr<FileQueue> queue) EXCLUDES(mutex_);

  Fd claim_fd_;  // holds O_EXCL; no ring knows it, so that closing it lets go at once
  Fd fd_;
  VolumeLock lock_;  // on fd_, and so released before it
  LoopLock loop_lock_;
  std::string buffered_reason_;
  FileTarget target_;

  Mutex mutex_;
  CondVar queue_returned_;
  std::vector<std::unique_ptr<FileQueue>> idle_queues_ GUARDED_BY(mutex_);
};

}  // namespace cofs
