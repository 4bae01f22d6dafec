#include <linux/xattr.h>
#include <sys/xattr.h>

#include <cerrno>
#include <string_view>

#include "fs/core/posix_acl.h"
#include "fs/fuse/attributes.h"
#include "fs/fuse/operations.h"

namespace cofs {
namespace {

// Of the system's own there are the access control lists, which the kernel enforces.
bool IsRefusedXattr(std::string_view name) {
  return name.starts_with(XATTR_SYSTEM_PREFIX) && !IsAclXattr(name);
}

}  // namespace

void Operations::GetAttributes(Reply& reply, fuse_ino_t inode, fuse_file_info* file) {
  // With a handle this is no stat(2): the kernel asks before it writes into its page
  // cache, or looks for the end of the file.
  if (file != nullptr && (file->fh & kHandleWrites) != 0 &&
      writers_.TakeNoSpace(InodeId(inode)))
    return reply.Errno(ENOSPC);
  const Result<InodeStat> stat = volume_.GetAttributes(InodeId(inode));
  if (!stat.ok()) return reply.Fail(stat.error());
  reply.Attributes(StatOf(*stat), AttributeTimeout(stat->id));
}

void Operations::SetAttributes(Reply& reply, fuse_ino_t inode, struct stat* attributes,
                               int to_set, fuse_file_info*) {
  const AttributeChange change =
      ChangeOf(*attributes, to_set, CurrentRequest()->setattr_valid, Now());
  const Result<InodeStat> stat = volume_.SetAttributes(InodeId(inode), change);
  if (!stat.ok()) return reply.Fail(stat.error());
  reply.Attributes(StatOf(*stat), AttributeTimeout(stat->id));
}

void Operations::Statfs(Reply& reply, fuse_ino_t) { reply.Space(StatvfsOf(volume_.usage())); }

void Operations::SetXattr(Reply& reply, fuse_ino_t inode, const char* name,
                          const char* value, size_t size, int flags) {
  reply.Done(ChangeXattr(InodeId(inode), name, {value, size}, flags, 0));
}

Status Operations::ChangeXattr(InodeId inode, std::string_view name, std::string_view value,
                               int flags, uint32_t setxattr_flags) {
  if (IsRefusedXattr(name)) return Error(ErrorCode::kNotSupported, "attribute");
  XattrMode mode = XattrMode::kSet;
  if (flags == XATTR_CREATE)
    mode = XattrMode::kCreate;
  else if (flags == XATTR_REPLACE)
    mode = XattrMode::kReplace;
  else if (flags != 0)
    return Error(ErrorCode::kInvalidArgument, "flags of an attribute");
  return volume_.SetXattr(inode, name, value, mode,
                          (setxattr_flags & FUSE_SETXATTR_ACL_KILL_SGID) != 0);
}

void Operations::GetXattr(Reply& reply, fuse_ino_t inode, const char* name, size_t size) {
  if (IsRefusedXattr(name)) return reply.Errno(EOPNOTSUPP);
  const Result<std::string> value = volume_.GetXattr(InodeId(inode), name);
  if (!value.ok()) return reply.Fail(value.error());
  if (size == 0) return reply.XattrSize(value->size());
  if (size < value->size()) return reply.Errno(ERANGE);
  reply.Data(*value);
}

void Operations::ListXattrs(Reply& reply, fuse_ino_t inode, size_t size) {
  const Result<std::vector<std::string>> names = volume_.ListXattrs(InodeId(inode));
  if (!names.ok()) return reply.Fail(names.error());
  // As on other file systems, only the superuser sees that there are trusted ones.
  const bool privileged = reply.caller().uid == 0;
  std::string list;
  for (const std::string& name : *names) {
    if (!privileged && name.starts_with(XATTR_TRUSTED_PREFIX)) continue;
    list.append(name).push_back('\0');
  }
  if (size == 0) return reply.XattrSize(list.size());
  if (size < list.size()) return reply.Errno(ERANGE);
  reply.Data(list);
}

void Operations::RemoveXattr(Reply& reply, fuse_ino_t inode, const char* name) {
  if (IsRefusedXattr(name)) return reply.Errno(EOPNOTSUPP);
  reply.Done(volume_.RemoveXattr(InodeId(inode), name));
}

}  // namespace cofs
