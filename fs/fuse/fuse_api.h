// libfuse3 and the kernel's FUSE protocol, included in one way everywhere: the API
// version is fixed here, and what the protocol header of older distributions lacks is
// declared here.
#pragma once

#define FUSE_USE_VERSION 312
#include <fuse3/fuse_lowlevel.h>
#include <linux/fuse.h>

#include <cstddef>
#include <cstdint>

namespace cofs {

// Flags of INIT; the upper 32 bits travel in flags2. include/uapi/linux/fuse.h.
inline constexpr uint64_t kFuseDirectIoAllowMmap = 1ull << 36;  // 7.39

inline constexpr uint32_t kFuseOpStatx = 52;  // 7.39
// As FUSE_COPY_FILE_RANGE, but its answer is a count of 64 bits.
inline constexpr uint32_t kFuseOpCopyFileRange64 = 53;  // 7.45

// struct fuse_sx_time, fuse_statx_in, fuse_statx and fuse_statx_out of protocol 7.39.
struct FuseSxTime {
  int64_t seconds;
  uint32_t nanoseconds;
  int32_t reserved;
};
struct FuseStatxIn {
  uint32_t getattr_flags;
  uint32_t reserved;
  uint64_t fh;
  uint32_t sx_flags;
  uint32_t sx_mask;
};
struct FuseStatxOut {
  uint64_t attr_valid;
  uint32_t attr_valid_nsec;
  uint32_t flags;
  uint64_t spare[2];
  uint32_t mask;
  uint32_t blksize;
  uint64_t attributes;
  uint32_t nlink, uid, gid;
  uint16_t mode;
  uint16_t spare0;
  uint64_t ino, size, blocks, attributes_mask;
  FuseSxTime atime, btime, ctime, mtime;
  uint32_t rdev_major, rdev_minor, dev_major, dev_minor;
  uint64_t spare2[14];
};
static_assert(sizeof(FuseStatxIn) == 24);
static_assert(offsetof(FuseStatxOut, mask) == 32 && sizeof(FuseStatxOut) == 288);

// A WRITE's payload lies this far behind the start of its request.
inline constexpr size_t kWriteHeaderBytes = sizeof(fuse_in_header) + sizeof(fuse_write_in);
static_assert(kWriteHeaderBytes == 80);

}  // namespace cofs
