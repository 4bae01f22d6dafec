#include "fs/fuse/operations.h"

#include <sys/stat.h>

#include <cerrno>
#include <new>

#include "base/log.h"
#include "fs/fuse/attributes.h"

namespace cofs {

// The boundary between C and C++: one instance for each request.
template <auto kMethod>
struct Trampoline;

template <typename... Args, void (Operations::*kMethod)(Reply&, Args...)>
struct Trampoline<kMethod> {
  static void Call(fuse_req_t request, Args... args) noexcept {
    Reply reply(request);
    int error_number = EIO;
    try {
      auto* operations = static_cast<Operations*>(fuse_req_userdata(request));
      (operations->*kMethod)(reply, args...);
      return;
    } catch (const std::bad_alloc&) {
      error_number = ENOMEM;
    } catch (const std::exception& e) {
      LogError(StrCat("FUSE request failed: ", e.what()));
    } catch (...) {
      LogError("FUSE request failed");
    }
    if (!reply.answered()) reply.Errno(error_number);
  }
};

template <void (Operations::*kMethod)(fuse_conn_info*)>
struct Trampoline<kMethod> {
  static void Call(void* operations, fuse_conn_info* connection) noexcept {
    (static_cast<Operations*>(operations)->*kMethod)(connection);
  }
};

fuse_lowlevel_ops Operations::Table() {
  fuse_lowlevel_ops ops{};
  ops.init = &Trampoline<&Operations::Init>::Call;
  ops.lookup = &Trampoline<&Operations::Lookup>::Call;
  ops.forget = &Trampoline<&Operations::Forget>::Call;
  ops.forget_multi = &Trampoline<&Operations::ForgetMany>::Call;
  ops.getattr = &Trampoline<&Operations::GetAttributes>::Call;
  ops.setattr = &Trampoline<&Operations::SetAttributes>::Call;
  ops.readlink = &Trampoline<&Operations::ReadLink>::Call;
  ops.mknod = &Trampoline<&Operations::MakeNode>::Call;
  ops.mkdir = &Trampoline<&Operations::MakeDirectory>::Call;
  ops.unlink = &Trampoline<&Operations::Unlink>::Call;
  ops.rmdir = &Trampoline<&Operations::RemoveDirectory>::Call;
  ops.symlink = &Trampoline<&Operations::MakeSymlink>::Call;
  ops.rename = &Trampoline<&Operations::Rename>::Call;
  ops.link = &Trampoline<&Operations::Link>::Call;
  ops.open = &Trampoline<&Operations::Open>::Call;
  ops.create = &Trampoline<&Operations::Create>::Call;
  ops.release = &Trampoline<&Operations::Release>::Call;
  ops.read = &Trampoline<&Operations::Read>::Call;
  ops.write = &Trampoline<&Operations::Write>::Call;
  // No flush: the kernel hears ENOSYS once and saves a request for each close(2).
  // Closing makes nothing durable, and what writing back met is reported without it.
  ops.fsync = &Trampoline<&Operations::Sync>::Call;
  ops.fsyncdir = &Trampoline<&Operations::Sync>::Call;
  ops.opendir = &Trampoline<&Operations::OpenDirectory>::Call;
  ops.readdir = &Trampoline<&Operations::ReadDirectory>::Call;
  ops.readdirplus = &Trampoline<&Operations::ReadDirectoryPlus>::Call;
  ops.statfs = &Trampoline<&Operations::Statfs>::Call;
  ops.setxattr = &Trampoline<&Operations::SetXattr>::Call;
  ops.getxattr = &Trampoline<&Operations::GetXattr>::Call;
  ops.listxattr = &Trampoline<&Operations::ListXattrs>::Call;
  ops.removexattr = &Trampoline<&Operations::RemoveXattr>::Call;
  ops.bmap = &Trampoline<&Operations::BlockMap>::Call;
  ops.ioctl = &Trampoline<&Operations::Ioctl>::Call;
  ops.fallocate = &Trampoline<&Operations::Allocate>::Call;
  ops.copy_file_range = &Trampoline<&Operations::CopyRange>::Call;
  ops.lseek = &Trampoline<&Operations::Seek>::Call;
  return ops;
}

void Operations::Init(fuse_conn_info* connection) {
  const auto wish = [connection](unsigned capability, bool wanted) {
    if (wanted && (connection->capable & capability) != 0)
      connection->want |= capability;
    else
      connection->want &= ~capability;
  };
  wish(FUSE_CAP_WRITEBACK_CACHE, options_.writeback_cache);
  wish(FUSE_CAP_ASYNC_READ, true);
  wish(FUSE_CAP_ASYNC_DIO, true);
  wish(FUSE_CAP_ATOMIC_O_TRUNC, true);
  wish(FUSE_CAP_EXPORT_SUPPORT, true);
  wish(FUSE_CAP_IOCTL_DIR, true);
  wish(FUSE_CAP_PARALLEL_DIROPS, true);
  wish(FUSE_CAP_READDIRPLUS, true);
  wish(FUSE_CAP_READDIRPLUS_AUTO, true);
  wish(FUSE_CAP_CACHE_SYMLINKS, true);
  wish(FUSE_CAP_NO_OPENDIR_SUPPORT, true);
  opens_directories_ = (connection->capable & FUSE_CAP_NO_OPENDIR_SUPPORT) == 0;
  // Only this kernel changes files: what it has cached is right.
  wish(FUSE_CAP_AUTO_INVAL_DATA, false);
  wish(FUSE_CAP_EXPLICIT_INVAL_DATA, true);
  // Requests are read into memory of ours, placed for direct I/O: nothing to splice.
  wish(FUSE_CAP_SPLICE_READ, false);
  wish(FUSE_CAP_SPLICE_WRITE, false);
  wish(FUSE_CAP_SPLICE_MOVE, false);
  // Locks are kept by the kernel: nobody else could hold one.
  wish(FUSE_CAP_POSIX_LOCKS, false);
  wish(FUSE_CAP_FLOCK_LOCKS, false);
  // The kernel enforces access control lists; what new inodes inherit is our business,
  // and so is the umask, which a default list replaces.
  wish(FUSE_CAP_POSIX_ACL, true);
  wish(FUSE_CAP_DONT_MASK, true);
  wish(FUSE_CAP_HANDLE_KILLPRIV, false);  // the second version is: see init_reply.h
  connection->max_write = 1u << 20;
  connection->max_readahead = 1u << 20;
  connection->max_background = 128;
  connection->congestion_threshold = 96;
  connection->time_gran = 1;
}

bool Operations::MayHaveDirtyPages(InodeId inode) const {
  return writers_.IsOpen(inode);
}

bool Operations::HasSetIdBits(InodeId inode) const {
  const Result<InodeStat> stat = volume_.GetAttributes(inode);
  return stat.ok() && (stat->record.mode & (S_ISUID | S_ISGID)) != 0;
}

double Operations::AttributeTimeout(InodeId inode) const {
  return MayHaveDirtyPages(inode) ? kTimeoutWhileWritten_s : kTimeoutForever_s;
}

void Operations::ReplyEntry(Reply& reply, const Result<InodeStat>& inode) {
  if (!inode.ok()) return reply.Fail(inode.error());
  if (!reply.Entry(EntryOf(*inode, AttributeTimeout(inode->id))))
    volume_.Forget(inode->id, 1);
}

NewInode Operations::NewInodeFor(const Reply& reply, uint32_t mode, uint32_t rdev) const {
  NewInode inode;
  inode.mode = mode;
  inode.uid = reply.caller().uid;
  inode.gid = reply.caller().gid;
  inode.rdev = rdev;
  inode.umask = reply.caller().umask;
  return inode;
}

}  // namespace cofs
