// Names: rename, in its three modes.
#include "base/check.h"
#include "fs/core/census.h"
#include "fs/core/inode_locks.h"
#include "fs/core/inode_table.h"
#include "fs/core/names.h"
#include "fs/core/reaper.h"

namespace cofs {
namespace {

// A walk to the root that takes more steps goes in circles.
constexpr uint64_t kDepthMax = 1 << 24;

bool IsDirectoryEntry(const FoundEntry& entry) {
  return IsDirectoryMode(uint32_t{entry.record.type} << 12);
}

// kTooManyLinks or kCorrupt when `delta` subdirectories more are impossible.
Status AddSubdirectories(InodeRecord& record, int delta, InodeId id) {
  const int64_t links = int64_t{record.link_count} + delta;
  if (links > kLinkCountMax)
    return Error(ErrorCode::kTooManyLinks, StrCat("directory ", id));
  if (links < 2) return Error(ErrorCode::kCorrupt, StrCat("links of directory ", id));
  record.link_count = static_cast<uint32_t>(links);
  return OkStatus();
}

}  // namespace

struct Names::RenameRequest {
  InodeRef from, to;  // directories
  std::string_view from_name, to_name;
  RenameMode mode;
  std::optional<Whiteout> whiteout;
  bool same_directory() const { return from == to; }
};

// All locked.
struct Names::RenameInodes {
  Inode& from;
  Inode& to;
  Inode& moved;
  Inode* other;  // what has the new name; may be null
};

Result<bool> Names::IsBelow(InodeId directory, InodeId ancestor) {
  InodeId id = directory;
  for (uint64_t depth = 0; depth < kDepthMax; ++depth) {
    if (id == ancestor) return true;
    if (id == kRootInode) return false;
    const Result<InodeRef> inode = core_.inodes->Get(id);
    // Removed since it was named; what is above a live directory is live.
    if (inode.Is(ErrorCode::kStale))
      return Error(ErrorCode::kNotFound, StrCat("inode ", id));
    if (!inode.ok()) return inode.error();
    SharedLock lock((*inode)->mutex);
    TRY(CheckLiveDirectory((*inode)->record, id));
    id = (*inode)->record.parent;
  }
  return Error(ErrorCode::kCorrupt,
               StrCat("directory ", directory, " has no way to the root"));
}

Status Names::CheckNoLoop(const RenameRequest& request, const FoundEntry& source,
                          const std::optional<FoundEntry>& target) {
  if (IsDirectoryEntry(source)) {
    TRY_ASSIGN(const bool below, IsBelow(request.to->id, source.record.inode));
    if (below) return Error(ErrorCode::kInvalidArgument, "a directory below itself");
  }
  if (request.mode == RenameMode::kExchange && IsDirectoryEntry(*target)) {
    TRY_ASSIGN(const bool below, IsBelow(request.from->id, target->record.inode));
    if (below) return Error(ErrorCode::kInvalidArgument, "a directory below itself");
  }
  return OkStatus();
}

Status Names::Rename(InodeId from_directory, std::string_view from_name,
                     InodeId to_directory, std::string_view to_name,
                     const RenameOptions& options) {
  TRY(CheckName(from_name));
  TRY(CheckName(to_name));
  if (options.whiteout && options.mode == RenameMode::kExchange)
    return Error(ErrorCode::kInvalidArgument, "an exchange leaves nothing behind");
  TRY_ASSIGN(InodeRef from, GetDirectory(from_directory));
  TRY_ASSIGN(InodeRef to, GetDirectory(to_directory));
  TRY(core_.committer->CheckWritable());
  TRY(core_.store->AdmitGrowth(kNamesBatchBytesMax));
  std::optional<Whiteout> whiteout;
  if (options.whiteout) {
    TRY_ASSIGN(whiteout, NewWhiteout(*options.whiteout));
  }
  const RenameRequest request{std::move(from), std::move(to), from_name,
                              to_name,         options.mode,  std::move(whiteout)};
  for (;;) {
    TRY_ASSIGN(const Attempt attempt, TryRename(request));
    if (attempt == Attempt::kDone) return core_.committer->CommitIfSync();
  }
}

Result<Names::Attempt> Names::TryRename(const RenameRequest& request) {
  TRY_ASSIGN(Glance source_glance,
             LookAt(*request.from, request.from_name, /*for_change=*/false));
  if (!source_glance.entry()) return Error(ErrorCode::kNotFound, "entry");
  TRY_ASSIGN(Glance target_glance,
             LookAt(*request.to, request.to_name, /*for_change=*/true));
  const FoundEntry source = *source_glance.entry();
  const std::optional<FoundEntry> target = target_glance.entry();
  if (target && request.mode == RenameMode::kNoReplace)
    return Error(ErrorCode::kExists, "entry");
  if (!target && request.mode == RenameMode::kExchange)
    return Error(ErrorCode::kNotFound, "entry");
  TRY_ASSIGN(const InodeRef moved, GetTarget(request.from->id, source));
  if (moved == nullptr) return Attempt::kRetry;
  InodeRef other;
  if (target) {
    TRY_ASSIGN(other, GetTarget(request.to->id, *target));
    if (other == nullptr) return Attempt::kRetry;
  }

  std::optional<MutexLock> tree;
  if (!request.same_directory() &&
      (IsDirectoryEntry(source) ||
       (request.mode == RenameMode::kExchange && IsDirectoryEntry(*target)))) {
    tree.emplace(rename_mutex_);
    TRY(CheckNoLoop(request, source, target));
  }

  InodeLocks locks({request.from.get(), request.to.get(), moved.get(), other.get()});
  TRY_ASSIGN(const NamePlaces source_now,
             LookAgain(*request.from, request.from_name, std::move(source_glance)));
  TRY_ASSIGN(const NamePlaces target_now,
             LookAgain(*request.to, request.to_name, std::move(target_glance)));
  const bool target_is_same =
      target ? IsSameEntry(*target, target_now.entry) : !target_now.entry.has_value();
  if (!IsSameEntry(source, source_now.entry) || !target_is_same) return Attempt::kRetry;
  // Two names of one inode, or twice the same name.
  if (moved == other) return Attempt::kDone;

  const RenameInodes inodes{*request.from, *request.to, *moved, other.get()};
  if (request.mode == RenameMode::kExchange) {
    TRY(ExchangeLocked(inodes, source, *target));
  } else {
    TRY(ReplaceLocked(request, inodes, source, target_now));
  }
  return Attempt::kDone;
}

Status Names::ReplaceLocked(const RenameRequest& request, const RenameInodes& inodes,
                            const FoundEntry& source, const NamePlaces& target) {
  const bool is_directory = inodes.moved.is_directory();
  TRY(CheckMayRemoveEntry(inodes.from.record, inodes.moved.record));
  TRY(CheckMayAddEntry(inodes.to.record));
  if (inodes.other != nullptr) {
    const bool onto_directory = inodes.other->is_directory();
    if (is_directory && !onto_directory)
      return Error(ErrorCode::kNotDirectory, StrCat("inode ", inodes.other->id));
    if (!is_directory && onto_directory)
      return Error(ErrorCode::kIsDirectory, StrCat("inode ", inodes.other->id));
    if (onto_directory && inodes.other->record.size_bytes != 0)
      return Error(ErrorCode::kNotEmpty, StrCat("directory ", inodes.other->id));
    TRY(CheckMayRemoveEntry(inodes.to.record, inodes.other->record));
    if (inodes.other->record.link_count == 0)
      return Error(ErrorCode::kCorrupt, StrCat("links of inode ", inodes.other->id));
  } else if (!target.free_cookie) {
    return Error(ErrorCode::kNoSpace, "places for names of one hash");
  }

  InodeRecord from = inodes.from.record;
  InodeRecord to_of_two = inodes.to.record;
  InodeRecord& to = request.same_directory() ? from : to_of_two;
  InodeRecord moved = inodes.moved.record;
  const Timestamp now = Now();
  if (from.size_bytes == 0)
    return Error(ErrorCode::kCorrupt, StrCat("size of directory ", inodes.from.id));
  if (!request.whiteout) --from.size_bytes;
  if (inodes.other == nullptr) ++to.size_bytes;
  if (is_directory) {
    // Gone from the one, come to the other, instead of the directory that it replaces.
    if (!request.same_directory()) TRY(AddSubdirectories(from, -1, inodes.from.id));
    const int delta =
        (request.same_directory() ? 0 : 1) - (inodes.other != nullptr ? 1 : 0);
    TRY(AddSubdirectories(to, delta, inodes.to.id));
    moved.parent = inodes.to.id;
  }
  from.mtime = from.ctime = to.mtime = to.ctime = moved.ctime = now;

  Transaction transaction;
  Batch& batch = transaction.batch();
  if (request.whiteout) {
    transaction.PutInode(request.whiteout->id, request.whiteout->record);
    PutEntry(batch, inodes.from.id, source.cookie, request.from_name, request.whiteout->id,
             request.whiteout->record.mode);
  } else {
    batch.Delete(DentryKey(inodes.from.id, source.cookie));
  }
  const uint64_t cookie = target.entry ? target.entry->cookie : *target.free_cookie;
  PutEntry(batch, inodes.to.id, cookie, request.to_name, inodes.moved.id, moved.mode);
  transaction.PutInode(inodes.from.id, from);
  if (!request.same_directory()) transaction.PutInode(inodes.to.id, to);
  transaction.PutInode(inodes.moved.id, moved);
  InodeRecord replaced;
  if (inodes.other != nullptr) {
    replaced = inodes.other->record;
    replaced.link_count = IsDirectoryMode(replaced.mode) ? 0 : replaced.link_count - 1;
    replaced.ctime = now;
    transaction.PutInode(inodes.other->id, replaced);
    if (replaced.link_count == 0) batch.Put(OrphanKey(inodes.other->id), "");
  }
  TRY(core_.committer->Apply(std::move(transaction)));

  if (request.whiteout) census_.AddInode();
  ++inodes.from.entries_version;
  ++inodes.to.entries_version;
  inodes.from.record = std::move(from);
  if (!request.same_directory()) inodes.to.record = std::move(to_of_two);
  inodes.moved.record = std::move(moved);
  if (inodes.other != nullptr) {
    const bool last = replaced.link_count == 0;
    inodes.other->record = std::move(replaced);
    if (last) {
      reaper_.Add(inodes.other->id, OrphanKind::kUnlinked);
      core_.counters.removed_count.fetch_add(1, std::memory_order_relaxed);
    }
  }
  return OkStatus();
}

Status Names::ExchangeLocked(const RenameInodes& inodes, const FoundEntry& source,
                             const FoundEntry& target) {
  const bool same_directory = &inodes.from == &inodes.to;
  TRY(CheckMayRemoveEntry(inodes.from.record, inodes.moved.record));
  TRY(CheckMayRemoveEntry(inodes.to.record, inodes.other->record));
  InodeRecord from = inodes.from.record;
  InodeRecord to = inodes.to.record;
  InodeRecord moved = inodes.moved.record;
  InodeRecord other = inodes.other->record;
  const Timestamp now = Now();
  const int moved_directories = IsDirectoryMode(moved.mode) ? 1 : 0;
  const int other_directories = IsDirectoryMode(other.mode) ? 1 : 0;
  if (!same_directory) {
    TRY(AddSubdirectories(from, other_directories - moved_directories, inodes.from.id));
    TRY(AddSubdirectories(to, moved_directories - other_directories, inodes.to.id));
    if (moved_directories != 0) moved.parent = inodes.to.id;
    if (other_directories != 0) other.parent = inodes.from.id;
  }
  from.mtime = from.ctime = to.mtime = to.ctime = now;
  moved.ctime = other.ctime = now;

  // The names and their places stay, the inodes behind them change.
  Transaction transaction;
  PutEntry(transaction.batch(), inodes.from.id, source.cookie, source.record.name,
           inodes.other->id, other.mode);
  PutEntry(transaction.batch(), inodes.to.id, target.cookie, target.record.name,
           inodes.moved.id, moved.mode);
  transaction.PutInode(inodes.from.id, from);
  if (!same_directory) transaction.PutInode(inodes.to.id, to);
  transaction.PutInode(inodes.moved.id, moved);
  transaction.PutInode(inodes.other->id, other);
  TRY(core_.committer->Apply(std::move(transaction)));

  ++inodes.from.entries_version;
  ++inodes.to.entries_version;
  inodes.from.record = std::move(from);
  if (!same_directory) inodes.to.record = std::move(to);
  inodes.moved.record = std::move(moved);
  inodes.other->record = std::move(other);
  return OkStatus();
}

}  // namespace cofs
