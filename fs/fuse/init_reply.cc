#include "fs/fuse/init_reply.h"

#include <algorithm>

namespace cofs {
namespace {

constexpr uint16_t kPagesMax = 256;
constexpr uint32_t kWriteBytesMax = 1u << 20;

// Wanted whenever the kernel has them.
constexpr uint64_t kAdded =
    // Look-ups and readdir in one directory at once; libfuse 3.14 does not pass it on.
    FUSE_PARALLEL_DIROPS |
    // We clear set-user-ID and set-group-ID ourselves, at the right moments. It also
    // lets the kernel remember that a file has no capabilities: without it each
    // write(2) is preceded by a look for security.capability.
    FUSE_HANDLE_KILLPRIV_V2 |
    // Files in FOPEN_DIRECT_IO mode stay coherent with the page cache.
    kFuseDirectIoAllowMmap |
    // SETXATTR says when a new access control list takes set-group-ID away. libfuse
    // does not pass that on: see raw_operations.cc.
    FUSE_SETXATTR_EXT;

// Not wanted, whatever libfuse may think.
constexpr uint64_t kRemoved = FUSE_HANDLE_KILLPRIV | FUSE_POSIX_LOCKS | FUSE_FLOCK_LOCKS |
                              FUSE_SPLICE_READ | FUSE_SPLICE_WRITE | FUSE_SPLICE_MOVE |
                              FUSE_AUTO_INVAL_DATA | FUSE_SECURITY_CTX;

struct NamedFlag {
  uint64_t flag;
  const char* name;
};
constexpr NamedFlag kNames[] = {
    {FUSE_ASYNC_READ, "async_read"},
    {FUSE_ATOMIC_O_TRUNC, "atomic_o_trunc"},
    {FUSE_EXPORT_SUPPORT, "export_support"},
    {FUSE_DO_READDIRPLUS, "readdirplus"},
    {FUSE_READDIRPLUS_AUTO, "readdirplus_auto"},
    {FUSE_ASYNC_DIO, "async_dio"},
    {FUSE_WRITEBACK_CACHE, "writeback_cache"},
    {FUSE_PARALLEL_DIROPS, "parallel_dirops"},
    {FUSE_CACHE_SYMLINKS, "cache_symlinks"},
    {FUSE_EXPLICIT_INVAL_DATA, "explicit_inval_data"},
    {FUSE_POSIX_ACL, "posix_acl"},
    {FUSE_HANDLE_KILLPRIV_V2, "handle_killpriv_v2"},
    {kFuseDirectIoAllowMmap, "direct_io_allow_mmap"},
};

}  // namespace

std::vector<std::string> NamesOf(const FuseFeatures& features) {
  std::vector<std::string> names;
  for (const NamedFlag& named : kNames)
    if (features.has(named.flag)) names.emplace_back(named.name);
  return names;
}

uint64_t OfferedFlags(const fuse_init_in& in) {
  uint64_t flags = in.flags;
  if ((flags & FUSE_INIT_EXT) != 0) flags |= static_cast<uint64_t>(in.flags2) << 32;
  return flags;
}

FuseFeatures AdjustInitReply(const fuse_init_in& in, fuse_init_out& out) {
  const uint64_t offered = OfferedFlags(in);
  uint64_t flags = out.flags | static_cast<uint64_t>(out.flags2) << 32;
  flags &= ~kRemoved;
  flags |= kAdded & offered;
  if ((offered & FUSE_MAX_PAGES) != 0) {
    flags |= FUSE_MAX_PAGES;
    out.max_pages = kPagesMax;
  }
  if ((flags >> 32) != 0) flags |= FUSE_INIT_EXT;
  out.flags = static_cast<uint32_t>(flags);
  out.flags2 = static_cast<uint32_t>(flags >> 32);
  out.max_write = std::min(out.max_write, kWriteBytesMax);
  out.max_readahead = std::max(out.max_readahead, in.max_readahead);
  out.time_gran = 1;
  FuseFeatures features;
  features.protocol_minor = in.minor;
  features.flags = flags;
  features.write_bytes_max = out.max_write;
  return features;
}

}  // namespace cofs
