#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <new>

#include "base/log.h"
#include "fs/fuse/attributes.h"
#include "fs/fuse/operations.h"

namespace cofs {
namespace {

// An answer without libfuse. False when the kernel no longer wants it.
bool WriteAnswer(const Request& request, int error_number, std::span<const char> payload) {
  fuse_out_header header{};
  header.len = static_cast<uint32_t>(sizeof(header) + payload.size());
  header.error = -error_number;
  header.unique = request.unique;
  const std::array<iovec, 2> parts{
      iovec{&header, sizeof(header)},
      iovec{const_cast<char*>(payload.data()), payload.size()}};
  const ssize_t written = ::writev(request.device_fd, parts.data(), payload.empty() ? 1 : 2);
  return written == static_cast<ssize_t>(header.len);
}

void WriteError(const Request& request, const Error& error) {
  WriteAnswer(request, error.errno_value(), {});
}

// What takes back what the kernel holds, or only looks.
bool IsServedAfterShutDown(uint32_t opcode) {
  return opcode == FUSE_FORGET || opcode == FUSE_BATCH_FORGET || opcode == FUSE_RELEASE ||
         opcode == FUSE_RELEASEDIR || opcode == FUSE_DESTROY || opcode == FUSE_INTERRUPT ||
         opcode == FUSE_STATFS;
}

template <typename T>
bool ReadStruct(std::span<const char> in, T* out) {
  if (in.size() < sizeof(T)) return false;
  std::memcpy(out, in.data(), sizeof(T));
  return true;
}

}  // namespace

bool Operations::HandleRaw(const fuse_in_header& header, std::span<const char> argument,
                           Request& request) {
  if (shut_down_.load(std::memory_order_relaxed) && !IsServedAfterShutDown(header.opcode)) {
    WriteAnswer(request, EIO, {});
    return true;
  }
  try {
    switch (header.opcode) {
      case FUSE_INTERRUPT: {
        fuse_interrupt_in in;
        if (ReadStruct(argument, &in)) interrupts_.Interrupt(in.unique);
        return true;  // wants no answer
      }
      case FUSE_SETXATTR:
        if (!setxattr_extended_) return false;
        RawSetXattr(header, argument, request);
        return true;
      case FUSE_SYNCFS:
        RawSyncFileSystem(request);
        return true;
      case FUSE_TMPFILE:
        RawTemporaryFile(header, argument, request);
        return true;
      case kFuseOpStatx:
        RawStatx(header, argument, request);
        return true;
      default:
        return false;
    }
  } catch (const std::bad_alloc&) {
    WriteAnswer(request, ENOMEM, {});
    return true;
  } catch (const std::exception& e) {
    LogError(StrCat("FUSE request of kind ", header.opcode, " failed: ", e.what()));
    WriteAnswer(request, EIO, {});
    return true;
  }
}

void Operations::RawSyncFileSystem(Request& request) {
  const Status status = volume_.SyncAll();
  WriteAnswer(request, status.ok() ? 0 : status.error().errno_value(), {});
}

void Operations::RawSetXattr(const fuse_in_header& header, std::span<const char> argument,
                             Request& request) {
  fuse_setxattr_in in;
  const bool has_head = ReadStruct(argument, &in);
  const std::string_view rest =
      has_head ? std::string_view(argument.data() + sizeof(in), argument.size() - sizeof(in))
               : std::string_view();
  const size_t name_bytes = rest.find('\0');
  if (name_bytes == std::string_view::npos || rest.size() - name_bytes - 1 < in.size) {
    WriteAnswer(request, EIO, {});
    return;
  }
  const Status status = ChangeXattr(InodeId(header.nodeid), rest.substr(0, name_bytes),
                                    rest.substr(name_bytes + 1, in.size),
                                    static_cast<int>(in.flags), in.setxattr_flags);
  WriteAnswer(request, status.ok() ? 0 : status.error().errno_value(), {});
}

void Operations::RawTemporaryFile(const fuse_in_header& header,
                                  std::span<const char> argument, Request& request) {
  fuse_create_in in;
  if (!ReadStruct(argument, &in)) {
    WriteAnswer(request, EIO, {});
    return;
  }
  NewInode inode;
  inode.mode = S_IFREG | (in.mode & 07777);
  inode.uid = header.uid;
  inode.gid = header.gid;
  inode.umask = in.umask;
  inode.directory = InodeId(header.nodeid);
  const Result<InodeStat> created = volume_.CreateTemporary(inode);
  if (!created.ok()) return WriteError(request, created.error());
  const uint64_t handle = Opened(created->id, static_cast<int>(in.flags));
  struct {
    fuse_entry_out entry;
    fuse_open_out open;
  } out;
  std::memset(&out, 0, sizeof(out));
  out.entry = RawEntryOf(*created, AttributeTimeout(created->id));
  out.open.fh = handle;
  out.open.open_flags = FOPEN_KEEP_CACHE | OpenFlagsFor(static_cast<int>(in.flags));
  if (WriteAnswer(request, 0, {reinterpret_cast<const char*>(&out), sizeof(out)})) return;
  Released(created->id, handle);
  volume_.Forget(created->id, 1);
}

void Operations::RawStatx(const fuse_in_header& header, std::span<const char>,
                          Request& request) {
  const Result<InodeStat> inode = volume_.GetAttributes(InodeId(header.nodeid));
  if (!inode.ok()) return WriteError(request, inode.error());
  const FuseStatxOut out = RawStatxOf(*inode, AttributeTimeout(inode->id));
  WriteAnswer(request, 0, {reinterpret_cast<const char*>(&out), sizeof(out)});
}

}  // namespace cofs
