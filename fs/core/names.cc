#include "fs/core/names.h"

#include <sys/stat.h>

#include <algorithm>

#include "base/check.h"
#include "fs/core/attributes.h"
#include "fs/core/census.h"
#include "fs/core/inode_locks.h"
#include "fs/core/inode_numbers.h"
#include "fs/core/inode_table.h"
#include "fs/core/posix_acl.h"
#include "fs/core/reaper.h"

namespace cofs {
namespace {

constexpr uint64_t kSelfCookie = 1;
constexpr uint64_t kParentCookie = 2;

Status CheckNewInode(const NewInode& inode, std::string_view symlink_target) {
  if ((inode.mode & ~(S_IFMT | 07777u)) != 0)
    return Error(ErrorCode::kInvalidArgument, "mode of a new inode");
  switch (inode.mode & S_IFMT) {
    case S_IFLNK:
      if (symlink_target.empty())
        return Error(ErrorCode::kNotFound, "empty symlink target");
      if (symlink_target.size() > kSymlinkBytesMax)
        return Error(ErrorCode::kNameTooLong, "symlink target");
      if (symlink_target.find('\0') != std::string_view::npos)
        return Error(ErrorCode::kInvalidArgument, "symlink target");
      return OkStatus();
    case S_IFREG:
    case S_IFDIR:
    case S_IFCHR:
    case S_IFBLK:
    case S_IFIFO:
    case S_IFSOCK:
      return OkStatus();
    default:
      return Error(ErrorCode::kInvalidArgument, "type of a new inode");
  }
}

InodeRecord RecordOfNew(const NewInode& inode, std::string_view symlink_target) {
  InodeRecord record;
  record.mode = inode.mode;
  record.uid = inode.uid;
  record.gid = inode.gid;
  record.link_count = 1;
  if (S_ISCHR(inode.mode) || S_ISBLK(inode.mode)) record.rdev = inode.rdev;
  record.size_bytes = symlink_target.size();
  record.symlink_target = symlink_target;
  record.atime = record.mtime = record.ctime = record.btime = Now();
  return record;
}

// What a new inode takes from its directory, and the directory from it.
Status Attach(InodeRecord& directory, InodeId directory_id, InodeRecord& inode) {
  if ((directory.mode & S_ISGID) != 0) {
    inode.gid = directory.gid;
    if (S_ISDIR(inode.mode)) inode.mode |= S_ISGID;
  }
  if (S_ISDIR(inode.mode)) {
    if (directory.link_count == kLinkCountMax)
      return Error(ErrorCode::kTooManyLinks, StrCat("directory ", directory_id));
    ++directory.link_count;
    inode.link_count = 2;
    inode.parent = directory_id;
  }
  ++directory.size_bytes;
  directory.mtime = directory.ctime = inode.ctime;
  return OkStatus();
}

// The access control lists that a new inode inherits.
struct InheritedAcls {
  std::optional<std::string> access, of_directory;
  size_t bytes() const {
    return (access ? access->size() : 0) + (of_directory ? of_directory->size() : 0);
  }
};

// Sets the permission bits of `record`, which is new, by the default list of
// `directory` or else by the umask.
Result<InheritedAcls> InheritAcls(const Store& store, InodeId directory_id,
                                  const InodeRecord& directory, uint32_t umask,
                                  InodeRecord& record) {
  InheritedAcls inherited;
  if (S_ISLNK(record.mode)) return inherited;
  std::optional<std::string> value;
  if ((directory.flags & kInodeHasXattr) != 0) {
    TRY_ASSIGN(value, store.Get(XattrKey(directory_id, kDefaultAclXattr)));
  }
  if (!value) {
    record.mode &= ~(umask & 0777);
    return inherited;
  }
  TRY_ASSIGN(PosixAcl acl, PosixAcl::ParseStored(*value, directory_id));
  acl.RestrictTo(record.mode);
  record.mode = (record.mode & ~0777u) | acl.PermissionBits();
  if (!acl.IsMinimal()) inherited.access = acl.Encode();
  if (S_ISDIR(record.mode)) inherited.of_directory = std::move(value);
  if (inherited.bytes() > 0) record.flags |= kInodeHasXattr;
  return inherited;
}

void PutAcls(Batch& batch, InodeId id, const InheritedAcls& acls) {
  if (acls.access) batch.Put(XattrKey(id, kAccessAclXattr), *acls.access);
  if (acls.of_directory) batch.Put(XattrKey(id, kDefaultAclXattr), *acls.of_directory);
}

}  // namespace

Status CheckLiveDirectory(const InodeRecord& record, InodeId id) {
  if (!IsDirectoryMode(record.mode))
    return Error(ErrorCode::kNotDirectory, StrCat("inode ", id));
  if (record.link_count == 0)
    return Error(ErrorCode::kNotFound, StrCat("directory ", id));
  return OkStatus();
}

Status CheckMayAddEntry(const InodeRecord& directory) {
  if ((directory.flags & kInodeImmutable) != 0)
    return Error(ErrorCode::kNotPermitted, "immutable directory");
  // Only a damaged one has come so far.
  if (directory.size_bytes >= INT64_MAX)
    return Error(ErrorCode::kCorrupt, "number of entries of the directory");
  return OkStatus();
}

Status CheckMayRemoveEntry(const InodeRecord& directory, const InodeRecord& target) {
  if (((directory.flags | target.flags) & (kInodeImmutable | kInodeAppendOnly)) != 0)
    return Error(ErrorCode::kNotPermitted, "immutable or append-only");
  return OkStatus();
}

Names::Names(const NamesContext& context)
    : core_(*context.core),
      numbers_(*context.numbers),
      census_(*context.census),
      reaper_(*context.reaper),
      attributes_(*context.attributes),
      dentries_(*context.core->store, *context.census, context.name_hash_key) {}

Result<InodeRef> Names::GetDirectory(InodeId id) {
  TRY_ASSIGN(InodeRef directory, core_.inodes->Get(id));
  SharedLock lock(directory->mutex);
  TRY(CheckLiveDirectory(directory->record, id));
  return directory;
}

Result<InodeStat> Names::StatOf(const InodeRef& inode) {
  SharedLock lock(inode->mutex);
  return InodeStat{inode->id, inode->record};
}

Result<Names::Glance> Names::LookAt(Inode& directory, std::string_view name,
                                    bool for_change) {
  SharedLock lock(directory.mutex);
  TRY(CheckLiveDirectory(directory.record, directory.id));
  Glance glance;
  glance.entries_version = directory.entries_version;
  if (for_change) {
    TRY_ASSIGN(glance.places, dentries_.FindPlaces(directory.id, name));
  } else {
    TRY_ASSIGN(glance.places.entry, dentries_.Find(directory.id, name));
  }
  return glance;
}

Result<NamePlaces> Names::LookAgain(Inode& directory, std::string_view name,
                                    Glance&& glance) {
  TRY(CheckLiveDirectory(directory.record, directory.id));
  if (directory.entries_version == glance.entries_version)
    return std::move(glance.places);
  return dentries_.FindPlaces(directory.id, name);
}

void Names::PutEntry(Batch& batch, InodeId directory, uint64_t cookie,
                     std::string_view name, InodeId inode, uint32_t mode) {
  if (IsCollision(cookie)) census_.NoteCollision();
  batch.Put(DentryKey(directory, cookie),
            EncodeDentry({std::string(name), inode, EntryTypeOf(mode)}));
}

Result<InodeRef> Names::GetTarget(InodeId directory, const FoundEntry& entry) {
  Result<InodeRef> inode = core_.inodes->Get(entry.record.inode);
  if (!inode.Is(ErrorCode::kStale)) return inode;
  // Gone since the entry was read, or damage.
  TRY_ASSIGN(auto value, core_.store->Get(DentryKey(directory, entry.cookie)));
  if (value) {
    TRY_ASSIGN(const DentryRecord record,
               DecodeDentryAt(directory, entry.cookie, *value));
    if (record.inode == entry.record.inode)
      return Error(ErrorCode::kCorrupt,
                   StrCat("directory ", directory, ", entry ", entry.cookie, ": inode ",
                          record.inode, " is missing"));
  }
  return InodeRef();
}

Result<InodeStat> Names::Lookup(InodeId directory_id, std::string_view name) {
  TRY(CheckName(name));
  TRY_ASSIGN(InodeRef directory, core_.inodes->Get(directory_id));
  InodeRef inode;
  {
    // The entry keeps its inode alive until the look-up has been counted.
    SharedLock lock(directory->mutex);
    TRY(CheckLiveDirectory(directory->record, directory_id));
    TRY_ASSIGN(std::optional<FoundEntry> entry, dentries_.Find(directory_id, name));
    if (!entry) return Error(ErrorCode::kNotFound, "entry");
    TRY_ASSIGN(inode, GetTarget(directory_id, *entry));
    CHECK(inode != nullptr, "an entry changed under its directory's lock");
    core_.inodes->AddLookup(inode->id);
  }
  return StatOf(inode);
}

Result<InodeStat> Names::LookupParent(InodeId directory_id) {
  TRY_ASSIGN(InodeRef directory, core_.inodes->Get(directory_id));
  InodeId parent;
  {
    SharedLock lock(directory->mutex);
    TRY(CheckLiveDirectory(directory->record, directory_id));
    parent = directory->record.parent;
  }
  return LookupById(parent);
}

Result<InodeStat> Names::LookupById(InodeId id) {
  TRY_ASSIGN(InodeRef inode, core_.inodes->Get(id));
  SharedLock lock(inode->mutex);
  if (inode->reaped) return Error(ErrorCode::kStale, StrCat("inode ", id));
  core_.inodes->AddLookup(id);
  return InodeStat{id, inode->record};
}

Result<InodeStat> Names::Create(InodeId directory_id, std::string_view name,
                                const NewInode& inode, std::string_view symlink_target) {
  TRY(CheckName(name));
  TRY(CheckNewInode(inode, symlink_target));
  TRY_ASSIGN(InodeRef directory, core_.inodes->Get(directory_id));
  TRY(core_.committer->CheckWritable());
  TRY(core_.store->AdmitGrowth(kNamesBatchBytesMax + symlink_target.size()));
  TRY_ASSIGN(const InodeId id, numbers_.Take());
  InodeRecord record = RecordOfNew(inode, symlink_target);
  {
    ExclusiveLock lock(directory->mutex);
    TRY(CheckLiveDirectory(directory->record, directory_id));
    TRY_ASSIGN(const NamePlaces places, dentries_.FindPlaces(directory_id, name));
    if (places.entry) return Error(ErrorCode::kExists, "entry");
    TRY(CheckMayAddEntry(directory->record));
    if (!places.free_cookie)
      return Error(ErrorCode::kNoSpace, "places for names of one hash");
    InodeRecord changed = directory->record;
    TRY(Attach(changed, directory_id, record));
    TRY_ASSIGN(const InheritedAcls acls,
               InheritAcls(*core_.store, directory_id, directory->record, inode.umask, record));
    if (acls.bytes() > 0) TRY(core_.store->AdmitGrowth(kNamesBatchBytesMax + acls.bytes()));

    Transaction transaction;
    transaction.PutInode(id, record);
    PutAcls(transaction.batch(), id, acls);
    PutEntry(transaction.batch(), directory_id, *places.free_cookie, name, id,
             record.mode);
    transaction.PutInode(directory_id, changed);
    TRY(core_.committer->Apply(std::move(transaction)));
    directory->record = std::move(changed);
    ++directory->entries_version;
    core_.inodes->Insert(id, record);
    core_.inodes->AddLookup(id);
  }
  census_.AddInode();
  core_.counters.created_count.fetch_add(1, std::memory_order_relaxed);
  TRY(core_.committer->CommitIfSync());
  return InodeStat{id, std::move(record)};
}

Result<Names::Whiteout> Names::NewWhiteout(const NewInode& inode) {
  TRY(CheckNewInode(inode, {}));
  if (S_ISDIR(inode.mode)) return Error(ErrorCode::kInvalidArgument, "type of a whiteout");
  TRY_ASSIGN(const InodeId id, numbers_.Take());
  return Whiteout{id, RecordOfNew(inode, {})};
}

Result<InodeStat> Names::CreateTemporary(const NewInode& inode) {
  TRY(CheckNewInode(inode, {}));
  if (!S_ISREG(inode.mode))
    return Error(ErrorCode::kInvalidArgument, "type of a temporary inode");
  TRY(core_.committer->CheckWritable());
  TRY(core_.store->AdmitGrowth(kNamesBatchBytesMax));
  TRY_ASSIGN(const InodeId id, numbers_.Take());
  InodeRecord record = RecordOfNew(inode, {});
  record.link_count = 0;
  InheritedAcls acls;
  if (inode.directory) {
    TRY_ASSIGN(const InodeRef directory, GetDirectory(*inode.directory));
    SharedLock lock(directory->mutex);
    if ((directory->record.mode & S_ISGID) != 0) record.gid = directory->record.gid;
    TRY_ASSIGN(acls, InheritAcls(*core_.store, directory->id, directory->record,
                                 inode.umask, record));
  } else {
    record.mode &= ~(inode.umask & 0777);
  }
  if (acls.bytes() > 0) TRY(core_.store->AdmitGrowth(kNamesBatchBytesMax + acls.bytes()));
  Transaction transaction;
  transaction.PutInode(id, record);
  PutAcls(transaction.batch(), id, acls);
  transaction.batch().Put(OrphanKey(id), "");
  TRY(core_.committer->Apply(std::move(transaction)));
  core_.inodes->Insert(id, record);
  core_.inodes->AddLookup(id);
  reaper_.Add(id, OrphanKind::kTemporary);
  census_.AddInode();
  core_.counters.created_count.fetch_add(1, std::memory_order_relaxed);
  TRY(core_.committer->CommitIfSync());
  return InodeStat{id, std::move(record)};
}

Result<InodeStat> Names::Link(InodeId id, InodeId directory_id, std::string_view name) {
  TRY(CheckName(name));
  TRY_ASSIGN(InodeRef directory, GetDirectory(directory_id));
  TRY_ASSIGN(InodeRef inode, core_.inodes->Get(id));
  TRY(core_.committer->CheckWritable());
  TRY(core_.store->AdmitGrowth(kNamesBatchBytesMax));
  InodeRecord record;
  {
    InodeLocks locks({directory.get(), inode.get()});
    TRY(CheckLiveDirectory(directory->record, directory_id));
    record = inode->record;
    if (IsDirectoryMode(record.mode))
      return Error(ErrorCode::kNotPermitted, "link to a directory");
    if (inode->reaped || (record.link_count == 0 && !reaper_.IsTemporary(id)))
      return Error(ErrorCode::kNotFound, StrCat("inode ", id, " is unlinked"));
    TRY_ASSIGN(const NamePlaces places, dentries_.FindPlaces(directory_id, name));
    if (places.entry) return Error(ErrorCode::kExists, "entry");
    TRY(CheckMayAddEntry(directory->record));
    if ((record.flags & (kInodeImmutable | kInodeAppendOnly)) != 0)
      return Error(ErrorCode::kNotPermitted, "immutable or append-only");
    if (record.link_count == kLinkCountMax)
      return Error(ErrorCode::kTooManyLinks, StrCat("inode ", id));
    if (!places.free_cookie)
      return Error(ErrorCode::kNoSpace, "places for names of one hash");

    const bool was_temporary = record.link_count == 0;
    ++record.link_count;
    record.ctime = Now();
    InodeRecord changed = directory->record;
    ++changed.size_bytes;
    changed.mtime = changed.ctime = record.ctime;
    Transaction transaction;
    transaction.PutInode(id, record);
    PutEntry(transaction.batch(), directory_id, *places.free_cookie, name, id,
             record.mode);
    transaction.PutInode(directory_id, changed);
    if (was_temporary) transaction.batch().Delete(OrphanKey(id));
    TRY(core_.committer->Apply(std::move(transaction)));
    directory->record = std::move(changed);
    ++directory->entries_version;
    inode->record = record;
    core_.inodes->AddLookup(id);
    if (was_temporary) reaper_.Remove(id);
  }
  TRY(core_.committer->CommitIfSync());
  return InodeStat{id, std::move(record)};
}

Status Names::ReadDirectory(InodeId directory_id, uint64_t cookie,
                            const std::function<bool(const DirectoryEntry&)>& visit) {
  TRY_ASSIGN(InodeRef directory, core_.inodes->Get(directory_id));
  InodeId parent;
  std::unique_ptr<Cursor> cursor;
  const std::string first = DentryKey(
      directory_id, std::max(cookie < UINT64_MAX ? cookie + 1 : cookie, kCookieMin));
  {
    SharedLock lock(directory->mutex);
    if (!directory->is_directory())
      return Error(ErrorCode::kNotDirectory, StrCat("inode ", directory_id));
    // A removed directory has no entries, not even "." and "..".
    if (directory->record.link_count == 0) return OkStatus();
    parent = directory->record.parent;
    cursor = core_.store->NewCursor(first, DentryKeys(directory_id).last);
  }
  if (cookie == 0) attributes_.Accessed(directory);
  if (cookie < kSelfCookie && !visit({".", directory_id, S_IFDIR >> 12, kSelfCookie}))
    return OkStatus();
  if (cookie < kParentCookie && !visit({"..", parent, S_IFDIR >> 12, kParentCookie}))
    return OkStatus();
  for (cursor->Seek(first); cursor->valid(); cursor->Next()) {
    TRY_ASSIGN(const ParsedKey key, ParseKey(cursor->key()));
    TRY_ASSIGN(const DentryRecord record,
               DecodeDentryAt(directory_id, key.position, cursor->value()));
    if (!visit({record.name, record.inode, record.type, key.position})) return OkStatus();
  }
  return cursor->status();
}

}  // namespace cofs
