// What goes in and out of a Volume.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "copy_engine/copy_engine.h"
#include "device/watched_device.h"
#include "extent_map/records.h"
#include "extent_map/store/store.h"
#include "fs/core/space.h"

namespace cofs {

struct InodeStat {
  InodeId id;
  InodeRecord record;
};

struct NewInode {
  uint32_t mode = 0;          // with the type; S_IFDIR and S_IFREG too
  uint32_t uid = 0, gid = 0;  // of the caller; set-group-ID directories are honoured
  uint32_t rdev = 0;
  // Taken from the mode, unless the directory has a default access control list.
  uint32_t umask = 0;
  // Of an inode without a name: whose default list it inherits, if any.
  std::optional<InodeId> directory{};
};

// Which attributes to change. Unset: unchanged.
struct AttributeChange {
  std::optional<uint32_t> mode{};  // permission bits
  std::optional<uint32_t> uid{}, gid{};
  std::optional<uint64_t> size_bytes{};
  std::optional<Timestamp> atime{}, mtime{}, ctime{};
  // The times are those of now, or of writes that have been done: an append-only inode
  // takes them, and no others.
  bool touches = false;
  // kInodeImmutable, kInodeAppendOnly and kInodeNoDump, as they shall be (chattr).
  std::optional<uint32_t> flags{};
  bool kill_privileges = false;  // as a write by an unprivileged caller does
  bool kill_set_group_id = false;  // also of what its group may not execute
};

enum class RenameMode : uint8_t { kReplace, kNoReplace, kExchange };
struct RenameOptions {
  RenameMode mode = RenameMode::kReplace;
  // What is left at the old place (RENAME_WHITEOUT); not with kExchange.
  std::optional<NewInode> whiteout{};
};
enum class XattrMode : uint8_t { kSet, kCreate, kReplace };

struct DirectoryEntry {
  std::string_view name;
  InodeId inode;
  uint8_t type = 0;     // DT_*
  uint64_t cookie = 0;  // pass it to go on behind this entry
};

struct VolumeUsage {
  SpaceUsage space;
  StoreUsage store;
  // Of a volume that was unmounted cleanly: what has been counted so far by a thread
  // that starts with the mount.
  uint64_t inodes_used = 0;
  size_t inodes_cached = 0;
  uint64_t inodes_looked_up = 0;
  StallTotals stalls;
  bool read_only = false;
  std::string read_only_reason;  // empty when mounted so
  CopyTotals copies;
  std::vector<CopyWayState> copy_ways;  // as CopyEngine::ways(); none when read-only
};

}  // namespace cofs
