// Operations: what each FUSE request means for the volume. One function for each
// request of libfuse's low-level API, and for those that libfuse does not know.
//
// Thread-safety: all functions, from the session's workers at once.
// No exception leaves: every call from libfuse goes through a trampoline that answers
// ENOMEM or EIO. Permissions are the kernel's business (default_permissions).
#pragma once

#include <atomic>
#include <functional>
#include <string>

#include "base/mutex.h"
#include "fs/core/volume.h"
#include "fs/fuse/copy_arms.h"
#include "fs/fuse/copy_reports.h"
#include "fs/fuse/fuse_api.h"
#include "fs/fuse/interrupts.h"
#include "fs/fuse/open_writers.h"
#include "fs/fuse/read_tickets.h"
#include "fs/fuse/reply.h"
#include "fs/fuse/request.h"
#include "fs/fuse/text_pages.h"

namespace cofs {

class Operations {
 public:
  struct Options {
    bool writeback_cache = true;
    // The text that COFS_IOC_STATS hands out.
    std::function<std::string()> stats_text;
    // COFS_IOC_SET: options of a live mount, as behind -o. One call at a time.
    std::function<Status(std::string_view options)> change_options;
    // See write_back_thread.h. Takes over the request of the calling worker.
    std::function<void(InodeId inode, FileOffset begin, fuse_req_t request,
                       std::function<void(Reply&)> answer)>
        after_write_back;
    // Makes the kernel ask for the attributes of an inode again.
    std::function<void(InodeId inode)> invalidate_attributes;
  };
  // `volume` outlives the operations.
  explicit Operations(Volume& volume)
      : volume_(volume),
        copy_arms_([this](InodeId snapshot) { volume_.Forget(snapshot, 1); }) {}
  void set_options(Options options) { options_ = std::move(options); }
  // FOPEN_DIRECT_IO for O_DIRECT opens, and mmap(2) of such files: from the kernel's
  // answer to INIT.
  void set_direct_io_allowed(bool allowed) { direct_io_allowed_ = allowed; }
  // SETXATTR comes with FUSE_SETXATTR_EXT's longer head, which libfuse 3.14 can't read.
  void set_setxattr_extended(bool extended) { setxattr_extended_ = extended; }

  // The callbacks for fuse_session_new(), whose user data is an Operations.
  static fuse_lowlevel_ops Table();

  Interrupts& interrupts() { return interrupts_; }

  // ---- requests that libfuse does not know (raw_operations.cc) ----
  // Writes the answer itself. False: not one of these.
  bool HandleRaw(const fuse_in_header& header, std::span<const char> argument,
                 Request& request);

 private:
  template <auto kMethod>
  friend struct Trampoline;

  // Bits of a file's handle: what it is open for.
  static constexpr uint64_t kHandleWrites = 1;
  static constexpr uint64_t kHandleReads = 2;

  void Init(fuse_conn_info* connection);

  // name_operations.cc
  void Lookup(Reply& reply, fuse_ino_t parent, const char* name);
  void Forget(Reply& reply, fuse_ino_t inode, uint64_t count);
  void ForgetMany(Reply& reply, size_t count, fuse_forget_data* forgets);
  void ReadLink(Reply& reply, fuse_ino_t inode);
  void MakeNode(Reply& reply, fuse_ino_t parent, const char* name, mode_t mode, dev_t rdev);
  void MakeDirectory(Reply& reply, fuse_ino_t parent, const char* name, mode_t mode);
  void Unlink(Reply& reply, fuse_ino_t parent, const char* name);
  void RemoveDirectory(Reply& reply, fuse_ino_t parent, const char* name);
  void MakeSymlink(Reply& reply, const char* target, fuse_ino_t parent, const char* name);
  void Rename(Reply& reply, fuse_ino_t parent, const char* name, fuse_ino_t new_parent,
              const char* new_name, unsigned flags);
  void Link(Reply& reply, fuse_ino_t inode, fuse_ino_t new_parent, const char* new_name);
  void Create(Reply& reply, fuse_ino_t parent, const char* name, mode_t mode,
              fuse_file_info* file);
  void OpenDirectory(Reply& reply, fuse_ino_t inode, fuse_file_info* file);
  void ReadDirectory(Reply& reply, fuse_ino_t inode, size_t size, off_t offset,
                     fuse_file_info* file);
  void ReadDirectoryPlus(Reply& reply, fuse_ino_t inode, size_t size, off_t offset,
                         fuse_file_info* file);

  // attribute_operations.cc
  void GetAttributes(Reply& reply, fuse_ino_t inode, fuse_file_info* file);
  void SetAttributes(Reply& reply, fuse_ino_t inode, struct stat* attributes, int to_set,
                     fuse_file_info* file);
  void Statfs(Reply& reply, fuse_ino_t inode);
  void SetXattr(Reply& reply, fuse_ino_t inode, const char* name, const char* value,
                size_t size, int flags);
  // `setxattr_flags` has FUSE_SETXATTR_... bits.
  Status ChangeXattr(InodeId inode, std::string_view name, std::string_view value, int flags,
                     uint32_t setxattr_flags);
  void GetXattr(Reply& reply, fuse_ino_t inode, const char* name, size_t size);
  void ListXattrs(Reply& reply, fuse_ino_t inode, size_t size);
  void RemoveXattr(Reply& reply, fuse_ino_t inode, const char* name);

  // data_operations.cc
  void Open(Reply& reply, fuse_ino_t inode, fuse_file_info* file);
  void Release(Reply& reply, fuse_ino_t inode, fuse_file_info* file);
  void Read(Reply& reply, fuse_ino_t inode, size_t size, off_t offset, fuse_file_info* file);
  void ReadNow(Reply& reply, InodeId inode, FileOffset offset, size_t size);
  void Write(Reply& reply, fuse_ino_t inode, const char* data, size_t size, off_t offset,
             fuse_file_info* file);
  void Sync(Reply& reply, fuse_ino_t inode, int data_only, fuse_file_info* file);
  void Allocate(Reply& reply, fuse_ino_t inode, int mode, off_t offset, off_t length,
                fuse_file_info* file);
  // As a change of the contents by an unprivileged caller does.
  Status KillPrivileges(const fuse_ctx& caller, InodeId inode);
  void Seek(Reply& reply, fuse_ino_t inode, off_t offset, int whence, fuse_file_info* file);
  void SeekNow(Reply& reply, InodeId inode, FileOffset offset, int whence);
  void BlockMap(Reply& reply, fuse_ino_t inode, size_t block_bytes, uint64_t index);
  // The handle of a file that is opened so (its kHandle... bits); counts writers.
  uint64_t Opened(InodeId inode, int flags);
  void Released(InodeId inode, uint64_t handle);

  // copy_operations.cc
  void CopyRange(Reply& reply, fuse_ino_t source, off_t source_offset,
                 fuse_file_info* source_file, fuse_ino_t destination,
                 off_t destination_offset, fuse_file_info* destination_file, size_t length,
                 int flags);
  // The copy as armed; what is left of the arm goes back into the table.
  Result<uint64_t> CopyArmed(CopyArm arm, pid_t thread, const Volume::CopyCall& call);
  // The next piece of an armed copy.
  Result<uint64_t> CopyPiece(CopyArm& arm, const Volume::CopyCall& call);

  // ioctl_operations.cc
  void Ioctl(Reply& reply, fuse_ino_t inode, unsigned command, void* argument,
             fuse_file_info* file, unsigned flags, const void* in, size_t in_bytes,
             size_t out_bytes);
  void IoctlStats(Reply& reply, std::span<const char> in);
  void IoctlMap(Reply& reply, InodeId inode, std::span<const char> in);
  void IoctlTrim(Reply& reply, std::span<const char> in);
  void IoctlShutDown(Reply& reply);
  void IoctlSet(Reply& reply, std::span<const char> in) EXCLUDES(set_mutex_);
  void IoctlGetFlags(Reply& reply, InodeId inode, unsigned command, size_t out_bytes);
  void IoctlSetFlags(Reply& reply, InodeId inode, unsigned command,
                     std::span<const char> in);
  // scrub_operations.cc
  void IoctlScrub(Reply& reply, std::span<const char> in);
  void IoctlScrubReport(Reply& reply, std::span<const char> in);
  // copy_ioctls.cc. False: not one of these.
  bool IoctlForCopies(Reply& reply, InodeId inode, unsigned command, uint64_t handle,
                      std::span<const char> in);
  void IoctlWriteBack(Reply& reply, InodeId inode, std::span<const char> in);
  void IoctlCopyArm(Reply& reply, InodeId inode, uint64_t handle, std::span<const char> in);
  void IoctlCopyReport(Reply& reply, InodeId inode, uint64_t handle,
                       std::span<const char> in);
  void IoctlTicket(Reply& reply, InodeId inode, uint64_t handle);
  void IoctlDedupe(Reply& reply, InodeId inode, uint64_t handle, std::span<const char> in);
  void IoctlUnshare(Reply& reply, InodeId inode, uint64_t handle, std::span<const char> in);
  void IoctlShift(Reply& reply, InodeId inode, uint64_t handle, std::span<const char> in);

  // raw_operations.cc
  void RawSyncFileSystem(Request& request);
  void RawSetXattr(const fuse_in_header& header, std::span<const char> argument,
                   Request& request);
  void RawTemporaryFile(const fuse_in_header& header, std::span<const char> argument,
                        Request& request);
  void RawStatx(const fuse_in_header& header, std::span<const char> argument,
                Request& request);

  // Whether the kernel may have data of the file that the volume has not heard of.
  // Without the writeback cache, too: mapped memory is written back late.
  bool MayHaveDirtyPages(InodeId inode) const;
  // Whether a change of contents by a user takes set-ID bits away. The kernel must then be
  // told: it asks again for what it knows to have changed, and the mode is not of it.
  bool HasSetIdBits(InodeId inode) const;
  double AttributeTimeout(InodeId inode) const;
  // Answers with an entry that counts a look-up, which is taken back when the kernel
  // does not want it any more.
  void ReplyEntry(Reply& reply, const Result<InodeStat>& inode);
  NewInode NewInodeFor(const Reply& reply, uint32_t mode, uint32_t rdev = 0) const;
  uint32_t OpenFlagsFor(int flags) const;

  Volume& volume_;
  Options options_;
  bool direct_io_allowed_ = false;
  bool setxattr_extended_ = false;
  std::atomic<bool> shut_down_{false};  // by IoctlShutDown(): every request fails
  bool opens_directories_ = false;  // kernels before 5.1 insist on it
  Interrupts interrupts_;
  OpenWriters writers_;
  CopyArms copy_arms_;
  CopyReports copy_reports_;
  ReadTickets read_tickets_;

  Mutex set_mutex_;
  TextPages stats_pages_;
  TextPages scrub_pages_;
};

}  // namespace cofs
