#include "fs/core/attributes.h"

#include <sys/stat.h>

#include "base/check.h"
#include "fs/core/inode_table.h"
#include "fs/core/posix_acl.h"
#include "fs/core/xattrs.h"

namespace cofs {
namespace {

// A relative access time is never older than that.
constexpr int64_t kRelativeAtimeSeconds = 24 * 60 * 60;
constexpr uint32_t kSettableFlags = kInodeImmutable | kInodeAppendOnly | kInodeNoDump;

bool IsAtimeDue(const InodeRecord& record, const Timestamp& now, AtimePolicy policy) {
  switch (policy) {
    case AtimePolicy::kNone:
      return false;
    case AtimePolicy::kStrict:
      return record.atime != now;
    case AtimePolicy::kRelative:
      return record.atime <= record.mtime || record.atime <= record.ctime ||
             now.seconds - record.atime.seconds >= kRelativeAtimeSeconds;
  }
  return false;
}

uint32_t WithoutPrivileges(uint32_t mode) {
  if (S_ISDIR(mode)) return mode;
  mode &= ~uint32_t{S_ISUID};
  // Without execute permission for the group the bit once meant mandatory locks.
  if ((mode & S_IXGRP) != 0) mode &= ~uint32_t{S_ISGID};
  return mode;
}

Status CheckChange(const InodeRecord& record, const AttributeChange& change) {
  for (const auto& time : {change.atime, change.mtime, change.ctime})
    if (time && time->nanoseconds >= 1'000'000'000)
      return Error(ErrorCode::kInvalidArgument, "nanoseconds of a time");
  if (change.mode && (*change.mode & ~(S_IFMT | 07777u)) != 0)
    return Error(ErrorCode::kInvalidArgument, "mode");
  if (change.flags && (*change.flags & ~kSettableFlags) != 0)
    return Error(ErrorCode::kNotSupported, "inode flags");
  const bool changes = change.mode || change.uid || change.gid || change.size_bytes;
  const bool sets_times = change.atime || change.mtime;
  if ((changes || sets_times) && (record.flags & kInodeImmutable) != 0)
    return Error(ErrorCode::kNotPermitted, "immutable");
  if ((changes || (sets_times && !change.touches)) &&
      (record.flags & kInodeAppendOnly) != 0)
    return Error(ErrorCode::kNotPermitted, "append-only");
  return OkStatus();
}

// Everything but the size.
void ApplyChange(const AttributeChange& change, const Timestamp& now,
                 InodeRecord& record) {
  if (change.mode) record.mode = (record.mode & S_IFMT) | (*change.mode & 07777u);
  if (change.kill_privileges) record.mode = WithoutPrivileges(record.mode);
  if (change.kill_set_group_id) record.mode &= ~uint32_t{S_ISGID};
  if (change.uid) record.uid = *change.uid;
  if (change.gid) record.gid = *change.gid;
  if (change.atime) record.atime = *change.atime;
  if (change.mtime) record.mtime = *change.mtime;
  if (change.flags) record.flags = (record.flags & ~kSettableFlags) | *change.flags;
  record.ctime = change.ctime.value_or(now);
}

// Adds the removal of the file's capabilities, if it has any; true if it has.
Result<bool> RemoveCapability(const Store& store, InodeId id, const InodeRecord& record,
                              Transaction& transaction) {
  if ((record.flags & kInodeHasXattr) == 0) return false;
  const std::string key = XattrKey(id, kCapabilityXattr);
  TRY_ASSIGN(const std::optional<std::string> value, store.Get(key));
  if (value) transaction.batch().Delete(key);
  return value.has_value();
}

// The access control list, if there is one, follows the permission bits.
Status FollowMode(const Store& store, InodeId id, const InodeRecord& record,
                  Transaction& transaction) {
  if ((record.flags & kInodeHasXattr) == 0) return OkStatus();
  const std::string key = XattrKey(id, kAccessAclXattr);
  TRY_ASSIGN(const std::optional<std::string> value, store.Get(key));
  if (!value) return OkStatus();
  TRY_ASSIGN(PosixAcl acl, PosixAcl::ParseStored(*value, id));
  acl.SetPermissionBits(record.mode);
  transaction.batch().Put(key, acl.Encode());
  return OkStatus();
}

// Everything but the size, with the attributes that go with it; without the record.
Status AddChange(const Store& store, InodeId id, const AttributeChange& change,
                 const Timestamp& now, InodeRecord& record, Transaction& transaction) {
  ApplyChange(change, now, record);
  if (change.kill_privileges && !S_ISDIR(record.mode))
    TRY(RemoveCapability(store, id, record, transaction));
  if (change.mode) TRY(FollowMode(store, id, record, transaction));
  return OkStatus();
}

}  // namespace

Result<InodeStat> Attributes::Get(InodeId id) {
  TRY_ASSIGN(const InodeRef inode, core_.inodes->Get(id));
  SharedLock lock(inode->mutex);
  if (inode->reaped) return StaleInode(id);
  return InodeStat{id, inode->record};
}

Result<std::string> Attributes::ReadLink(InodeId id) {
  TRY_ASSIGN(const InodeRef inode, core_.inodes->Get(id));
  std::string target;
  {
    SharedLock lock(inode->mutex);
    if (inode->reaped) return StaleInode(id);
    if (!S_ISLNK(inode->record.mode))
      return Error(ErrorCode::kInvalidArgument, StrCat("inode ", id, " is no symlink"));
    target = inode->record.symlink_target;
  }
  Accessed(inode);
  return target;
}

Result<InodeStat> Attributes::Set(InodeId id, const AttributeChange& change) {
  TRY(core_.committer->CheckWritable());
  TRY_ASSIGN(const InodeRef inode, core_.inodes->Get(id));
  if (change.size_bytes) {
    TRY(CheckSize(inode, change));
    TRY(SetSize(inode, change));
  } else {
    TRY(SetRecord(inode, change));
  }
  TRY(core_.committer->CommitIfSync());
  return Get(id);
}

Status Attributes::SetRecord(const InodeRef& inode, const AttributeChange& change) {
  TRY(core_.store->AdmitGrowth(kAttributesBatchBytesMax));
  ExclusiveLock lock(inode->mutex);
  if (inode->reaped) return StaleInode(inode->id);
  TRY(CheckChange(inode->record, change));
  InodeRecord record = inode->record;
  Transaction transaction;
  TRY(AddChange(*core_.store, inode->id, change, Now(), record, transaction));
  transaction.PutInode(inode->id, record);
  TRY(core_.committer->Apply(std::move(transaction)));
  inode->record = std::move(record);
  return OkStatus();
}

Status Attributes::CheckSize(const InodeRef& inode, const AttributeChange& change) {
  SharedLock lock(inode->mutex);
  if (inode->reaped) return StaleInode(inode->id);
  if (inode->is_directory())
    return Error(ErrorCode::kIsDirectory, StrCat("inode ", inode->id));
  if (!inode->is_regular())
    return Error(ErrorCode::kInvalidArgument, StrCat("inode ", inode->id));
  TRY(CheckChange(inode->record, change));
  // Shrinking gives space back and works on a full volume.
  if (*change.size_bytes > inode->record.size_bytes)
    TRY(core_.store->AdmitGrowth(kAttributesBatchBytesMax));
  if (*change.size_bytes > kFileBytesMax)
    return Error(ErrorCode::kFileTooLarge, StrCat("inode ", inode->id));
  return OkStatus();
}

Status Attributes::SetSize(const InodeRef& inode, const AttributeChange& change) {
  const Timestamp now = Now();
  return data_.Truncate(inode, *change.size_bytes,
                        [&](InodeRecord& record, Transaction& transaction) {
                          record.mtime = now;
                          return AddChange(*core_.store, inode->id, change, now, record,
                                           transaction);
                        },
                        change.kill_privileges);
}

bool Attributes::Accessed(const InodeRef& inode) {
  const AtimePolicy policy = core_.options.atime;
  if (policy == AtimePolicy::kNone || core_.committer->read_only()) return false;
  const Timestamp now = Now();
  {
    SharedLock lock(inode->mutex);
    if (inode->reaped || !IsAtimeDue(inode->record, now, policy)) return false;
  }
  if (!core_.store->AdmitGrowth(kAttributesBatchBytesMax).ok()) return false;
  ExclusiveLock lock(inode->mutex);
  if (inode->reaped || !IsAtimeDue(inode->record, now, policy)) return false;
  InodeRecord record = inode->record;
  record.atime = now;
  Transaction transaction;
  transaction.PutInode(inode->id, record);
  if (!core_.committer->Apply(std::move(transaction)).ok()) return false;
  inode->record = std::move(record);
  return true;
}

}  // namespace cofs
