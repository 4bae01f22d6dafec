// Names: directories: what Volume's functions of the same name promise.
//
// Every change: inode mutexes in the order of their numbers, the state read, the batch
// built and applied, memory updated, in this order. A change that fails has changed
// nothing. A change of several inodes first looks up their numbers without holding
// more than one lock, locks all, verifies that the entries are still the same, or
// starts again.
//
// Thread-safety: all functions; call them without locks.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/mutex.h"
#include "base/result.h"
#include "fs/core/core.h"
#include "fs/core/dentries.h"
#include "fs/core/inode.h"
#include "fs/core/volume_types.h"

namespace cofs {

class Attributes;
class Census;
class InodeNumbers;
class Reaper;

// What Names works with, besides Core. All outlive it.
struct NamesContext {
  Core* core = nullptr;
  InodeNumbers* numbers = nullptr;
  Census* census = nullptr;
  Reaper* reaper = nullptr;
  Attributes* attributes = nullptr;
  SipHashKey name_hash_key{};
};

class Names {
 public:
  explicit Names(const NamesContext& context);

  Result<InodeStat> Lookup(InodeId directory, std::string_view name);
  Result<InodeStat> LookupParent(InodeId directory);
  Result<InodeStat> LookupById(InodeId id);

  // An empty `symlink_target` for everything but symlinks.
  Result<InodeStat> Create(InodeId directory, std::string_view name,
                           const NewInode& inode, std::string_view symlink_target = {});
  Result<InodeStat> CreateTemporary(const NewInode& inode);
  Result<InodeStat> Link(InodeId inode, InodeId directory,
                         std::string_view name) NO_THREAD_SAFETY_ANALYSIS;

  // In names_remove.cc.
  Status Unlink(InodeId directory, std::string_view name);
  Status RemoveDirectory(InodeId directory, std::string_view name);

  // In names_rename.cc.
  Status Rename(InodeId from_directory, std::string_view from_name, InodeId to_directory,
                std::string_view to_name, const RenameOptions& options);

  Status ReadDirectory(InodeId directory, uint64_t cookie,
                       const std::function<bool(const DirectoryEntry&)>& visit);

 private:
  // Whether an entry was still under its locks as it had been found.
  enum class Attempt : uint8_t { kDone, kRetry };
  struct RenameRequest;
  struct RenameInodes;

  Result<InodeRef> GetDirectory(InodeId id);
  // The inode of an entry that was found without holding its directory: empty when
  // inode and entry have gone meanwhile.
  Result<InodeRef> GetTarget(InodeId directory, const FoundEntry& entry);
  Result<InodeStat> StatOf(const InodeRef& inode);
  // What was found under a directory's lock, and which entries it had then.
  struct Glance {
    NamePlaces places;
    uint64_t entries_version = 0;
    const std::optional<FoundEntry>& entry() const { return places.entry; }
  };
  // `for_change`: the free place, too.
  Result<Glance> LookAt(Inode& directory, std::string_view name, bool for_change);
  // What is there once the directory has been locked for the change.
  Result<NamePlaces> LookAgain(Inode& directory, std::string_view name,
                               Glance&& glance) NO_THREAD_SAFETY_ANALYSIS;
  // What RENAME_WHITEOUT leaves: an inode that exists under its old name alone.
  struct Whiteout {
    InodeId id;
    InodeRecord record;
  };
  Result<Whiteout> NewWhiteout(const NewInode& inode);
  // The entry of a new name.
  void PutEntry(Batch& batch, InodeId directory, uint64_t cookie, std::string_view name,
                InodeId inode, uint32_t mode);

  // The functions without analysis hold InodeLocks, which it can't follow.
  Result<Attempt> TryRemove(InodeId directory_id, std::string_view name,
                            bool is_directory) NO_THREAD_SAFETY_ANALYSIS;
  Result<Attempt> TryRename(const RenameRequest& request) NO_THREAD_SAFETY_ANALYSIS;
  // Whether `directory` is `ancestor` or lies below it. Under rename_mutex_.
  Result<bool> IsBelow(InodeId directory, InodeId ancestor);
  // kInvalidArgument when a directory would come to lie below itself.
  Status CheckNoLoop(const RenameRequest& request, const FoundEntry& source,
                     const std::optional<FoundEntry>& target);
  Status ReplaceLocked(const RenameRequest& request, const RenameInodes& inodes,
                       const FoundEntry& source,
                       const NamePlaces& target) NO_THREAD_SAFETY_ANALYSIS;
  Status ExchangeLocked(const RenameInodes& inodes, const FoundEntry& source,
                        const FoundEntry& target) NO_THREAD_SAFETY_ANALYSIS;

  Core& core_;
  InodeNumbers& numbers_;
  Census& census_;
  Reaper& reaper_;
  Attributes& attributes_;
  const Dentries dentries_;

  // Held while a directory moves from one parent to another, outside of all inode
  // locks: what is above a directory then stays above it.
  Mutex rename_mutex_;
};

inline bool IsDirectoryMode(uint32_t mode) { return (mode & 0170000) == 0040000; }
inline uint8_t EntryTypeOf(uint32_t mode) {
  return static_cast<uint8_t>((mode & 0170000) >> 12);
}

// kNotDirectory; kNotFound when it has been removed.
Status CheckLiveDirectory(const InodeRecord& record, InodeId id);
// kNotPermitted: entries of an immutable directory don't change, those of an
// append-only one are not removed; immutable and append-only inodes keep their names.
Status CheckMayAddEntry(const InodeRecord& directory);
Status CheckMayRemoveEntry(const InodeRecord& directory, const InodeRecord& target);
// What a batch of names may add to the store, for Store::AdmitGrowth().
inline constexpr uint64_t kNamesBatchBytesMax = 2048;

}  // namespace cofs
