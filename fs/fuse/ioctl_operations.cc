#include <linux/fs.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>

#include "fs/fuse/caller_rights.h"
#include "fs/fuse/ioctl_argument.h"
#include "fs/fuse/operations.h"

namespace cofs {
namespace {

static_assert(sizeof(cofs_ioc_map) == 8192);

// FS_IOC_SHUTDOWN of newer linux/fs.h, XFS_IOC_GOINGDOWN before.
constexpr unsigned kIoctlShutDown = _IOR('X', 125, uint32_t);

// The flags of an inode in the words of the two interfaces for them.
struct FlagNames {
  uint32_t inode;   // kInode...
  uint32_t ioctl;   // FS_..._FL of FS_IOC_GETFLAGS
  uint32_t xflags;  // FS_XFLAG_... of FS_IOC_FSGETXATTR
};
constexpr FlagNames kFlags[] = {
    {kInodeImmutable, FS_IMMUTABLE_FL, FS_XFLAG_IMMUTABLE},
    {kInodeAppendOnly, FS_APPEND_FL, FS_XFLAG_APPEND},
    {kInodeNoDump, FS_NODUMP_FL, FS_XFLAG_NODUMP},
};

template <uint32_t FlagNames::*kName>
uint32_t FlagsOf(uint32_t inode_flags) {
  uint32_t out = 0;
  for (const FlagNames& flag : kFlags)
    if ((inode_flags & flag.inode) != 0) out |= flag.*kName;
  return out;
}

// nullopt: a flag that cofs does not have.
template <uint32_t FlagNames::*kName>
std::optional<uint32_t> InodeFlagsOf(uint32_t flags) {
  uint32_t out = 0;
  for (const FlagNames& flag : kFlags) {
    if ((flags & flag.*kName) != 0) out |= flag.inode;
    flags &= ~(flag.*kName);
  }
  if (flags != 0) return std::nullopt;
  return out;
}

// Room that the caller has given for the answer, as the kernel takes it from the number.
size_t OutBytesOf(unsigned command) {
  return (_IOC_DIR(command) & _IOC_READ) != 0 ? _IOC_SIZE(command) : 0;
}

}  // namespace

void Operations::Ioctl(Reply& reply, fuse_ino_t inode, unsigned command, void*,
                       fuse_file_info* file, unsigned flags, const void* in, size_t in_bytes,
                       size_t out_bytes) {
  if ((flags & FUSE_IOCTL_COMPAT) != 0 && _IOC_TYPE(command) != COFS_IOC_MAGIC)
    return reply.Errno(ENOTTY);  // sizes of 32-bit programs; ours are the same
  const std::span<const char> argument(static_cast<const char*>(in), in_bytes);
  switch (command) {
    case COFS_IOC_STATS:
      if (out_bytes < sizeof(cofs_ioc_stats)) return reply.Errno(EINVAL);
      return IoctlStats(reply, argument);
    case COFS_IOC_MAP:
      if (out_bytes < sizeof(cofs_ioc_map)) return reply.Errno(EINVAL);
      return IoctlMap(reply, InodeId(inode), argument);
    case COFS_IOC_SCRUB:
      return IoctlScrub(reply, argument);
    case COFS_IOC_SCRUB_REPORT:
      if (out_bytes < sizeof(cofs_ioc_stats)) return reply.Errno(EINVAL);
      return IoctlScrubReport(reply, argument);
    case COFS_IOC_SET:
      return IoctlSet(reply, argument);
    case FITRIM:
      if (out_bytes < sizeof(fstrim_range)) return reply.Errno(EINVAL);
      return IoctlTrim(reply, argument);
    case kIoctlShutDown:
      return IoctlShutDown(reply);
    case FS_IOC_GETFLAGS:
    case FS_IOC_FSGETXATTR:
      return IoctlGetFlags(reply, InodeId(inode), command, out_bytes);
    case FS_IOC_SETFLAGS:
    case FS_IOC_FSSETXATTR:
      return IoctlSetFlags(reply, InodeId(inode), command, argument);
    default:
      break;
  }
  // The library has checked neither: a call on a directory carries no handle of a file.
  const uint64_t handle = file != nullptr && (flags & FUSE_IOCTL_DIR) == 0 ? file->fh : 0;
  if (_IOC_TYPE(command) == COFS_IOC_MAGIC && out_bytes >= OutBytesOf(command) &&
      IoctlForCopies(reply, InodeId(inode), command, handle, argument))
    return;
  reply.Errno(ENOTTY);
}

void Operations::IoctlStats(Reply& reply, std::span<const char> in) {
  if (!options_.stats_text) return reply.Errno(EINVAL);
  AnswerPage(reply, in, stats_pages_, options_.stats_text);
}

void Operations::IoctlMap(Reply& reply, InodeId inode, std::span<const char> in) {
  cofs_ioc_map map;
  if (!ReadArgument(in, &map)) return reply.Errno(EINVAL);
  const uint64_t begin = map.begin;
  const uint64_t end = std::min<uint64_t>(map.end, kFileBytesMax);
  std::memset(&map, 0, sizeof(map));
  map.begin = begin;
  map.end = end;
  if (begin < end) {
    const Result<std::vector<Extent>> extents =
        volume_.Map(inode, FileOffset(begin), FileOffset(end), COFS_MAP_EXTENTS);
    if (!extents.ok()) return reply.Fail(extents.error());
    for (const Extent& extent : *extents) {
      if (map.count == COFS_MAP_EXTENTS) break;
      cofs_map_extent& out = map.extents[map.count++];
      out.file_offset = extent.file_offset.value();
      out.device_offset = extent.device_offset.value();
      out.length = extent.length_bytes;
      if (extent.unwritten()) out.flags |= COFS_EXTENT_UNWRITTEN;
      if (extent.shared()) out.flags |= COFS_EXTENT_SHARED;
    }
    if (map.count == COFS_MAP_EXTENTS) map.flags |= COFS_MAP_MORE;
  }
  reply.Ioctl(BytesOf(map));
}

void Operations::IoctlGetFlags(Reply& reply, InodeId inode, unsigned command,
                               size_t out_bytes) {
  const Result<InodeStat> stat = volume_.GetAttributes(inode);
  if (!stat.ok()) return reply.Fail(stat.error());
  if (command == FS_IOC_FSGETXATTR) {
    fsxattr out{};
    out.fsx_xflags = FlagsOf<&FlagNames::xflags>(stat->record.flags);
    if (out_bytes < sizeof(out)) return reply.Errno(EINVAL);
    return reply.Ioctl(BytesOf(out));
  }
  // Programs pass a long, the kernel's own calls an int.
  const uint64_t out = FlagsOf<&FlagNames::ioctl>(stat->record.flags);
  if (out_bytes < sizeof(uint32_t)) return reply.Errno(EINVAL);
  reply.Ioctl(BytesOf(out).first(std::min(out_bytes, sizeof(out))));
}

void Operations::IoctlSetFlags(Reply& reply, InodeId inode, unsigned command,
                               std::span<const char> in) {
  std::optional<uint32_t> flags;
  if (command == FS_IOC_FSSETXATTR) {
    fsxattr wanted;
    if (!ReadArgument(in, &wanted)) return reply.Errno(EINVAL);
    if (wanted.fsx_extsize == 0 && wanted.fsx_projid == 0 && wanted.fsx_cowextsize == 0)
      flags = InodeFlagsOf<&FlagNames::xflags>(wanted.fsx_xflags);
  } else {
    uint32_t wanted = 0;
    if (!ReadArgument(in, &wanted)) return reply.Errno(EINVAL);
    flags = InodeFlagsOf<&FlagNames::ioctl>(wanted);
  }
  if (!flags.has_value()) return reply.Errno(EOPNOTSUPP);
  const Result<InodeStat> stat = volume_.GetAttributes(inode);
  if (!stat.ok()) return reply.Fail(stat.error());
  // Kernels before 5.13 don't check who may do this.
  const uint32_t changed = (stat->record.flags ^ *flags) & kInodeFlagsKnown;
  const uid_t caller = reply.caller().uid;
  if (caller != 0 && (caller != stat->record.uid ||
                      (changed & (kInodeImmutable | kInodeAppendOnly)) != 0))
    return reply.Errno(EPERM);
  AttributeChange change;
  change.flags = *flags;
  const Result<InodeStat> done = volume_.SetAttributes(inode, change);
  if (!done.ok()) return reply.Fail(done.error());
  reply.Ioctl({});
}

void Operations::IoctlTrim(Reply& reply, std::span<const char> in) {
  if (!MayAdminister(reply.caller())) return reply.Errno(EPERM);
  fstrim_range range;
  if (!ReadArgument(in, &range)) return reply.Errno(EINVAL);
  const uint64_t volume_bytes = volume_.superblock().volume_bytes;
  if (range.start >= volume_bytes || range.len < kBlockBytes) return reply.Errno(EINVAL);
  const uint64_t length = std::min<uint64_t>(range.len, volume_bytes - range.start);
  const Result<uint64_t> discarded =
      volume_.Trim(DeviceOffset(range.start), DeviceOffset(range.start + length),
                   std::max<uint64_t>(range.minlen, kBlockBytes));
  if (!discarded.ok()) return reply.Fail(discarded.error());
  range.len = *discarded;
  reply.Ioctl(BytesOf(range));
}

// Everything from here on fails, as if the device had gone; recovery is for the next
// mount. The number of this ioctl says that it hands nothing in, so the wish to lose what
// is not committed does not get through: what the kernel has handed over is committed.
void Operations::IoctlShutDown(Reply& reply) {
  if (!MayAdminister(reply.caller())) return reply.Errno(EPERM);
  const Status status = volume_.ShutDown();
  if (!status.ok()) return reply.Fail(status.error());
  shut_down_.store(true);
  reply.Ioctl({});
}

}  // namespace cofs
