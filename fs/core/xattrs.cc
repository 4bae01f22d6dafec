#include "fs/core/xattrs.h"

#include <sys/stat.h>

#include "base/check.h"
#include "fs/core/inode_table.h"
#include "fs/core/posix_acl.h"

namespace cofs {
namespace {

Status CheckXattrName(std::string_view name) {
  if (name.empty() || name.size() > kXattrNameBytesMax)
    return Error(ErrorCode::kOutOfRange, "name of an attribute");
  if (name.find('\0') != std::string_view::npos)
    return Error(ErrorCode::kInvalidArgument, "name of an attribute");
  if (IsAclXattr(name)) return OkStatus();
  for (std::string_view prefix : {"user.", "trusted.", "security."}) {
    if (!name.starts_with(prefix)) continue;
    if (name.size() == prefix.size())
      return Error(ErrorCode::kInvalidArgument, "name of an attribute");
    return OkStatus();
  }
  return Error(ErrorCode::kNotSupported, "kind of attribute");
}

Error NoAttribute(InodeId id) {
  return Error(ErrorCode::kNoAttribute, StrCat("inode ", id));
}
bool MayHaveXattrs(const InodeRecord& record) {
  return (record.flags & kInodeHasXattr) != 0;
}

Status CheckMayChange(const InodeRecord& record, InodeId id) {
  if ((record.flags & (kInodeImmutable | kInodeAppendOnly)) != 0)
    return Error(ErrorCode::kNotPermitted, StrCat("inode ", id));
  return OkStatus();
}

Result<bool> HasOtherThan(const Store& store, InodeId id, std::string_view key) {
  const KeyRange range = XattrKeys(id);
  const auto cursor = store.NewCursor(range.first, range.last);
  for (cursor->Seek(range.first); cursor->valid(); cursor->Next())
    if (cursor->key() != key) return true;
  TRY(cursor->status());
  return false;
}

}  // namespace

Result<std::string> Xattrs::Get(InodeId id, std::string_view name) {
  TRY(CheckXattrName(name));
  TRY_ASSIGN(const InodeRef inode, core_.inodes->Get(id));
  SharedLock lock(inode->mutex);
  if (inode->reaped) return StaleInode(id);
  if (!MayHaveXattrs(inode->record)) return NoAttribute(id);
  TRY_ASSIGN(std::optional<std::string> value, core_.store->Get(XattrKey(id, name)));
  if (!value) return NoAttribute(id);
  return std::move(*value);
}

// Keeps an access control list, or sets what permission bits can say as well.
Status Xattrs::SetAcl(Inode& inode, std::string_view name, std::string_view value,
                      bool kill_set_group_id) {
  const bool is_access = name == kAccessAclXattr;
  if (!is_access && !inode.is_directory())
    return Error(ErrorCode::kNotPermitted, StrCat("default list of inode ", inode.id));
  TRY_ASSIGN(const PosixAcl acl, PosixAcl::Parse(value));
  const std::string key = XattrKey(inode.id, name);
  InodeRecord record = inode.record;
  Transaction transaction;
  if (is_access) {
    record.mode = (record.mode & ~0777u) | acl.PermissionBits();
    if (kill_set_group_id) record.mode &= ~uint32_t{S_ISGID};
  }
  if (is_access && acl.IsMinimal()) {
    transaction.batch().Delete(key);
    TRY_ASSIGN(const bool has_others, HasOtherThan(*core_.store, inode.id, key));
    if (!has_others) record.flags &= ~kInodeHasXattr;
  } else {
    transaction.batch().Put(key, value);
    record.flags |= kInodeHasXattr;
  }
  record.ctime = Now();
  transaction.PutInode(inode.id, record);
  TRY(core_.committer->Apply(std::move(transaction)));
  inode.record = std::move(record);
  return OkStatus();
}

Status Xattrs::Set(InodeId id, std::string_view name, std::string_view value,
                   XattrMode mode, bool kill_set_group_id) {
  TRY(CheckXattrName(name));
  if (value.size() > kXattrValueBytesMax)
    return Error(ErrorCode::kTooBig, "value of an attribute");
  TRY_ASSIGN(const InodeRef inode, core_.inodes->Get(id));
  TRY(core_.committer->CheckWritable());
  TRY(core_.store->AdmitGrowth(1024 + value.size()));
  {
    ExclusiveLock lock(inode->mutex);
    if (inode->reaped) return StaleInode(id);
    TRY(CheckMayChange(inode->record, id));
    const std::string key = XattrKey(id, name);
    if (mode != XattrMode::kSet) {
      std::optional<std::string> old;
      if (MayHaveXattrs(inode->record)) {
        TRY_ASSIGN(old, core_.store->Get(key));
      }
      if (mode == XattrMode::kCreate && old)
        return Error(ErrorCode::kExists, "attribute");
      if (mode == XattrMode::kReplace && !old) return NoAttribute(id);
    }
    if (IsAclXattr(name)) {
      TRY(SetAcl(*inode, name, value, kill_set_group_id));
    } else {
      InodeRecord record = inode->record;
      record.flags |= kInodeHasXattr;
      record.ctime = Now();
      Transaction transaction;
      transaction.batch().Put(key, value);
      transaction.PutInode(id, record);
      TRY(core_.committer->Apply(std::move(transaction)));
      inode->record = std::move(record);
    }
  }
  return core_.committer->CommitIfSync();
}

Status Xattrs::Remove(InodeId id, std::string_view name) {
  TRY(CheckXattrName(name));
  TRY_ASSIGN(const InodeRef inode, core_.inodes->Get(id));
  {
    ExclusiveLock lock(inode->mutex);
    if (inode->reaped) return StaleInode(id);
    TRY(CheckMayChange(inode->record, id));
    const std::string key = XattrKey(id, name);
    std::optional<std::string> old;
    if (MayHaveXattrs(inode->record)) {
      TRY_ASSIGN(old, core_.store->Get(key));
    }
    // No list is what is wanted, and permission bits stand for it.
    if (!old) return IsAclXattr(name) ? OkStatus() : NoAttribute(id);
    TRY_ASSIGN(const bool has_others, HasOtherThan(*core_.store, id, key));
    InodeRecord record = inode->record;
    if (!has_others) record.flags &= ~kInodeHasXattr;
    record.ctime = Now();
    Transaction transaction;
    transaction.batch().Delete(key);
    transaction.PutInode(id, record);
    TRY(core_.committer->Apply(std::move(transaction)));
    inode->record = std::move(record);
  }
  return core_.committer->CommitIfSync();
}

Result<std::vector<std::string>> Xattrs::List(InodeId id) {
  TRY_ASSIGN(const InodeRef inode, core_.inodes->Get(id));
  SharedLock lock(inode->mutex);
  if (inode->reaped) return StaleInode(id);
  std::vector<std::string> names;
  if (!MayHaveXattrs(inode->record)) return names;
  const KeyRange range = XattrKeys(id);
  const auto cursor = core_.store->NewCursor(range.first, range.last);
  for (cursor->Seek(range.first); cursor->valid(); cursor->Next()) {
    TRY_ASSIGN(ParsedKey key, ParseKey(cursor->key()));
    names.push_back(std::move(key.xattr_name));
  }
  TRY(cursor->status());
  return names;
}

}  // namespace cofs
