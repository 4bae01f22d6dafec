#include "fs/core/inode_paths.h"

#include <sys/stat.h>

#include <optional>

#include "base/check.h"
#include "extent_map/records.h"

namespace cofs {
namespace {

// A damaged tree may have a cycle.
constexpr int kPathDepthMax = 4096;
constexpr uint64_t kRecordsPerQuestion = 1024;

// Paths of directories, upwards from each by its record's parent.
class DirectoryPaths {
 public:
  explicit DirectoryPaths(const Store& store) : store_(store) {}

  // With a slash at its end; nullopt: it has lost its place in the tree.
  Result<std::optional<std::string>> PathOf(InodeId directory) {
    std::vector<std::pair<InodeId, std::string>> below;
    std::string path = "/";
    InodeId at = directory;
    for (int depth = 0; at != kRootInode; ++depth) {
      if (const auto known = known_.find(at); known != known_.end()) {
        path = known->second;
        break;
      }
      if (depth == kPathDepthMax) return std::optional<std::string>();
      TRY_ASSIGN(const auto value, store_.Get(InodeKey(at)));
      if (!value) return std::optional<std::string>();
      TRY_ASSIGN(const InodeRecord record, DecodeInode(*value));
      TRY_ASSIGN(auto name, NameIn(record.parent, at));
      if (!name) return std::optional<std::string>();
      below.emplace_back(at, std::move(*name));
      at = record.parent;
    }
    for (auto step = below.rbegin(); step != below.rend(); ++step) {
      path += step->second + "/";
      known_[step->first] = path;
    }
    return std::optional(path);
  }

 private:
  Result<std::optional<std::string>> NameIn(InodeId parent, InodeId child) const {
    if (parent.value() == 0) return std::optional<std::string>();
    const KeyRange keys = DentryKeys(parent);
    const auto cursor = store_.NewCursor(keys.first, keys.last);
    for (cursor->Seek(keys.first); cursor->valid(); cursor->Next()) {
      const auto dentry = DecodeDentry(cursor->value());
      if (dentry.ok() && dentry->inode == child) return std::optional(dentry->name);
    }
    TRY(cursor->status());
    return std::optional<std::string>();
  }

  const Store& store_;
  std::map<InodeId, std::string> known_;
};

}  // namespace

Result<std::map<InodeId, std::vector<std::string>>> FindPaths(
    const Store& store, const std::set<InodeId>& inodes, size_t paths_max,
    const std::function<bool()>& is_stopped) {
  std::map<InodeId, std::vector<std::string>> paths;
  if (inodes.contains(kRootInode)) paths[kRootInode].push_back("/");
  DirectoryPaths directories(store);
  const KeyRange all = AllFileRecords();
  const auto cursor = store.NewCursor();
  uint64_t record_count = 0;
  for (cursor->Seek(all.first); cursor->valid() && cursor->key() < all.last;
       cursor->Next()) {
    if (++record_count % kRecordsPerQuestion == 0 && is_stopped()) return paths;
    const auto key = ParseKey(cursor->key());
    if (!key.ok() || key->kind != RecordKind::kDentry) continue;
    const auto dentry = DecodeDentry(cursor->value());
    if (!dentry.ok() || !inodes.contains(dentry->inode)) continue;
    std::vector<std::string>& found = paths[dentry->inode];
    if (found.size() == paths_max) continue;
    TRY_ASSIGN(const auto parent, directories.PathOf(key->inode));
    if (parent) found.push_back(*parent + dentry->name);
  }
  TRY(cursor->status());
  return paths;
}

}  // namespace cofs
