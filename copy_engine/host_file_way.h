// The way of the file system that holds an image: it makes the destination share the
// source's blocks (FICLONERANGE), or copies by itself (copy_file_range(2)).
//
// copy_file_range is used only on file systems that carry it out by themselves: NFS
// 4.2 and SMB in the server, FUSE (another cofs) in its daemon, ZFS, Ceph. Everywhere
// else the kernel would read and write through the page cache, one chunk after
// another, which the buffered way does better, and by direct I/O.
//
// Coherence: both calls write out and drop what the page cache holds of the image, in
// the kernel, under the image's inode lock; data I/O of cofs is direct.
// Durability: BlockDevice::Flush() is fdatasync on the image, which makes the sharing
// durable too, because it is a change of the image's extents.
// Shared blocks are copied by the host when either place is written again.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "copy_engine/copy_way.h"
#include "copy_engine/planner.h"

namespace cofs {

class HostFileWay final : public CopyWay {
 public:
  enum class Method : uint8_t { kClone, kCopyFileRange };

  // `image_fd` is of a regular file, open for reading and writing, and outlives the
  // way. kNotSupported, in words, for a file system that has neither. Copies nothing.
  static Result<std::unique_ptr<HostFileWay>> Open(int image_fd);
  // With that method, whatever the file system.
  static Result<std::unique_ptr<HostFileWay>> Open(int image_fd, Method method);

  CopyWayId id() const override { return CopyWayId::kHostFile; }
  const CopyLimits& limits() const override { return limits_; }
  CopyOutcome Run(const CopyTask& task) override;
  Method method() const { return method_; }
  std::string description() const;

 private:
  HostFileWay(int image_fd, Method method, CopyLimits limits)
      : image_fd_(image_fd), method_(method), limits_(limits) {}
  // Bytes done; fewer than asked for with the errno.
  uint64_t Clone(const CopyCommand& command, int* error) const;
  uint64_t CopyRange(const CopyCommand& command, int* error) const;

  const int image_fd_;
  const Method method_;
  const CopyLimits limits_;
};

}  // namespace cofs
