// Names: entries that go, with their inodes if they were the last.
#include "base/check.h"
#include "fs/core/inode_locks.h"
#include "fs/core/inode_table.h"
#include "fs/core/names.h"
#include "fs/core/reaper.h"

namespace cofs {

Result<Names::Attempt> Names::TryRemove(InodeId directory_id, std::string_view name,
                                        bool is_directory) {
  TRY_ASSIGN(InodeRef directory, core_.inodes->Get(directory_id));
  TRY_ASSIGN(Glance glance, LookAt(*directory, name, /*for_change=*/false));
  if (!glance.entry()) return Error(ErrorCode::kNotFound, "entry");
  const FoundEntry entry = *glance.entry();
  TRY_ASSIGN(const InodeRef inode, GetTarget(directory_id, entry));
  if (inode == nullptr) return Attempt::kRetry;

  InodeLocks locks({directory.get(), inode.get()});
  TRY_ASSIGN(const NamePlaces now, LookAgain(*directory, name, std::move(glance)));
  if (!IsSameEntry(entry, now.entry)) return Attempt::kRetry;

  if (is_directory != inode->is_directory())
    return Error(is_directory ? ErrorCode::kNotDirectory : ErrorCode::kIsDirectory,
                 StrCat("inode ", inode->id));
  TRY(CheckMayRemoveEntry(directory->record, inode->record));
  if (is_directory && inode->record.size_bytes != 0)
    return Error(ErrorCode::kNotEmpty, StrCat("directory ", inode->id));
  InodeRecord changed = directory->record;
  InodeRecord removed = inode->record;
  if (removed.link_count == 0 || changed.size_bytes == 0 ||
      (is_directory && changed.link_count <= 2))
    return Error(ErrorCode::kCorrupt,
                 StrCat("counts of directory ", directory_id, " or inode ", inode->id));
  removed.link_count = is_directory ? 0 : removed.link_count - 1;
  --changed.size_bytes;
  if (is_directory) --changed.link_count;
  changed.mtime = changed.ctime = removed.ctime = Now();

  Transaction transaction;
  transaction.batch().Delete(DentryKey(directory_id, entry.cookie));
  transaction.PutInode(directory_id, changed);
  transaction.PutInode(inode->id, removed);
  const bool last = removed.link_count == 0;
  if (last) transaction.batch().Put(OrphanKey(inode->id), "");
  TRY(core_.committer->Apply(std::move(transaction)));
  directory->record = std::move(changed);
  ++directory->entries_version;
  inode->record = std::move(removed);
  if (last) {
    reaper_.Add(inode->id, OrphanKind::kUnlinked);
    core_.counters.removed_count.fetch_add(1, std::memory_order_relaxed);
  }
  return Attempt::kDone;
}

Status Names::Unlink(InodeId directory, std::string_view name) {
  TRY(CheckName(name));
  for (;;) {
    TRY_ASSIGN(const Attempt attempt, TryRemove(directory, name, false));
    if (attempt == Attempt::kDone) return core_.committer->CommitIfSync();
  }
}

Status Names::RemoveDirectory(InodeId directory, std::string_view name) {
  TRY(CheckName(name));
  for (;;) {
    TRY_ASSIGN(const Attempt attempt, TryRemove(directory, name, true));
    if (attempt == Attempt::kDone) return core_.committer->CommitIfSync();
  }
}

}  // namespace cofs
