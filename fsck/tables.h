// What the walk over the records leaves for the checks that look across inodes: compact
// arrays, about 100 bytes for a file with one link and one extent.
#pragma once

#include <sys/stat.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/types.h"
#include "extent_map/shared_ranges.h"

namespace cofs {

inline constexpr uint8_t kTypeDirectory = S_IFDIR >> 12;  // of a directory entry

struct InodeEntry {
  InodeId inode;
  InodeId parent;  // directories
  uint32_t link_count = 0;
  uint32_t counted_links = 0;        // entries that name it
  uint32_t subdirectory_count = 0;   // entries in it of type directory
  uint8_t type = 0;                  // as in directory entries
  bool is_damaged : 1 = false;       // there, and unreadable: no more is said about it
  bool is_orphan : 1 = false;
  bool has_entries : 1 = false;
  uint8_t walk_state = 0;            // of the search for cycles
};
static_assert(sizeof(InodeEntry) == 32);

struct LinkEntry {
  InodeId child;
  InodeId parent;
  uint64_t cookie = 0;
  uint8_t type = 0;
};

inline constexpr uint8_t kPlacedUnwritten = 1;
inline constexpr uint8_t kPlacedShared = 2;
inline constexpr uint8_t kPlacedReported = 4;  // one finding for each extent is enough

struct PlacedExtent {
  DeviceOffset device_offset;
  FileOffset file_offset;
  uint64_t length_bytes = 0;
  uint32_t inode_index = 0;
  uint8_t flags = 0;

  DeviceOffset end() const { return device_offset + length_bytes; }
};
static_assert(sizeof(PlacedExtent) == 32);

struct Tables {
  std::vector<InodeEntry> inodes;     // in order of inode number
  std::vector<LinkEntry> links;       // in order of child, once the walk is over
  std::vector<PlacedExtent> extents;  // in order of place, once the walk is over
  std::vector<SharedRange> shared;    // in order of place
  uint64_t longest_extent_bytes = 0;

  InodeEntry* Find(InodeId inode) {
    const auto it = std::ranges::lower_bound(inodes, inode, {}, &InodeEntry::inode);
    return it != inodes.end() && it->inode == inode ? &*it : nullptr;
  }
  // The first entry that names `inode`, nullptr when there is none.
  const LinkEntry* LinkTo(InodeId inode) const {
    const auto it = std::ranges::lower_bound(links, inode, {}, &LinkEntry::child);
    return it != links.end() && it->child == inode ? &*it : nullptr;
  }
};

}  // namespace cofs
