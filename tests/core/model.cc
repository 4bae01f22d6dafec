#include "tests/core/model.h"

#include <gtest/gtest.h>
#include <linux/falloc.h>
#include <sys/stat.h>

#include <functional>

#include "base/check.h"
#include "base/siphash.h"
#include "tests/core/test_volume.h"

namespace cofs {

uint64_t HashOf(std::string_view bytes) { return SipHash24({1, 2}, bytes); }

uint64_t Model::Node::size_bytes() const {
  if (is_directory()) return entries.size();
  if (!target.empty()) return target.size();
  return data == nullptr ? 0 : data->size();
}

void Model::Node::SetData(std::string bytes) {
  data_hash = HashOf(bytes);
  data = std::make_shared<const std::string>(std::move(bytes));
}

Model::Model(InodeId root, InodeId shared) : root_(root), shared_(shared) {
  for (InodeId id : {root, shared}) {
    nodes_[id].mode = S_IFDIR | 0755;
    nodes_[id].link_count = 2;
  }
}

const Model::Node* Model::Find(InodeId id) const {
  const auto found = nodes_.find(id);
  return found == nodes_.end() ? nullptr : &found->second;
}

Model::Node* Model::FindMutable(InodeId id) {
  const auto found = nodes_.find(id);
  return found == nodes_.end() ? nullptr : &found->second;
}

Outcome Model::CheckDirectory(InodeId id) const {
  const Node* node = Find(id);
  if (node == nullptr) return ErrorCode::kStale;
  if (!node->is_directory()) return ErrorCode::kNotDirectory;
  if (node->link_count == 0) return ErrorCode::kNotFound;
  return {};
}

Outcome Model::CheckName(const std::string& name) const {
  if (name.size() > 255) return ErrorCode::kNameTooLong;
  if (name.empty() || name == "." || name == ".." ||
      name.find_first_of(std::string("/\0", 2)) != std::string::npos)
    return ErrorCode::kInvalidArgument;
  return {};
}

void Model::DropLink(InodeId id) {
  Node& node = *FindMutable(id);
  node.link_count = node.is_directory() ? 0 : node.link_count - 1;
}

Outcome Model::Create(InodeId directory, const std::string& name, const NewInode& inode,
                      const std::string& target, InodeId made) {
  if (const Outcome bad = CheckName(name)) return bad;
  if (const Outcome bad = CheckDirectory(directory)) return bad;
  Node& parent = *FindMutable(directory);
  if (parent.entries.contains(name)) return ErrorCode::kExists;
  Node node;
  node.mode = inode.mode;
  node.uid = inode.uid;
  node.gid = inode.gid;
  if (S_ISCHR(inode.mode) || S_ISBLK(inode.mode)) node.rdev = inode.rdev;
  node.target = target;
  node.link_count = 1;
  if ((parent.mode & S_ISGID) != 0) {
    node.gid = parent.gid;
    if (node.is_directory()) node.mode |= S_ISGID;
  }
  if (node.is_directory()) {
    node.link_count = 2;
    node.parent = directory;
    ++parent.link_count;
  }
  parent.entries[name] = made;
  nodes_[made] = std::move(node);
  return {};
}

Outcome Model::CreateTemporary(const NewInode& inode, InodeId made) {
  Node node;
  node.mode = inode.mode;
  node.uid = inode.uid;
  node.gid = inode.gid;
  node.temporary = true;
  nodes_[made] = std::move(node);
  return {};
}

Outcome Model::Link(InodeId id, InodeId directory, const std::string& name) {
  if (const Outcome bad = CheckName(name)) return bad;
  if (const Outcome bad = CheckDirectory(directory)) return bad;
  Node* node = FindMutable(id);
  if (node == nullptr) return ErrorCode::kStale;
  if (node->is_directory()) return ErrorCode::kNotPermitted;
  if (node->link_count == 0 && !node->temporary) return ErrorCode::kNotFound;
  Node& parent = *FindMutable(directory);
  if (parent.entries.contains(name)) return ErrorCode::kExists;
  node->temporary = false;
  ++node->link_count;
  parent.entries[name] = id;
  return {};
}

Outcome Model::Unlink(InodeId directory, const std::string& name) {
  if (const Outcome bad = CheckName(name)) return bad;
  if (const Outcome bad = CheckDirectory(directory)) return bad;
  Node& parent = *FindMutable(directory);
  const auto entry = parent.entries.find(name);
  if (entry == parent.entries.end()) return ErrorCode::kNotFound;
  if (Find(entry->second)->is_directory()) return ErrorCode::kIsDirectory;
  DropLink(entry->second);
  parent.entries.erase(entry);
  return {};
}

Outcome Model::RemoveDirectory(InodeId directory, const std::string& name) {
  if (const Outcome bad = CheckName(name)) return bad;
  if (const Outcome bad = CheckDirectory(directory)) return bad;
  Node& parent = *FindMutable(directory);
  const auto entry = parent.entries.find(name);
  if (entry == parent.entries.end()) return ErrorCode::kNotFound;
  if (!Find(entry->second)->is_directory()) return ErrorCode::kNotDirectory;
  if (!Find(entry->second)->entries.empty()) return ErrorCode::kNotEmpty;
  DropLink(entry->second);
  --parent.link_count;
  parent.entries.erase(entry);
  return {};
}

bool Model::IsBelow(InodeId directory, InodeId ancestor) const {
  for (InodeId id = directory;; id = Find(id)->parent) {
    if (id == ancestor) return true;
    if (IsRoot(id)) return false;
  }
}

Outcome Model::Rename(InodeId from, const std::string& from_name, InodeId to,
                      const std::string& to_name, RenameMode mode) {
  if (const Outcome bad = CheckName(from_name)) return bad;
  if (const Outcome bad = CheckName(to_name)) return bad;
  if (const Outcome bad = CheckDirectory(from)) return bad;
  if (const Outcome bad = CheckDirectory(to)) return bad;
  Node& source = *FindMutable(from);
  Node& target = *FindMutable(to);
  const auto entry = source.entries.find(from_name);
  if (entry == source.entries.end()) return ErrorCode::kNotFound;
  const auto other = target.entries.find(to_name);
  const bool exists = other != target.entries.end();
  if (exists && mode == RenameMode::kNoReplace) return ErrorCode::kExists;
  if (!exists && mode == RenameMode::kExchange) return ErrorCode::kNotFound;
  const InodeId moved_id = entry->second;
  Node& moved = *FindMutable(moved_id);
  const InodeId other_id = exists ? other->second : InodeId{};
  Node* const replaced = exists ? FindMutable(other_id) : nullptr;
  if (from != to) {
    if (moved.is_directory() && IsBelow(to, moved_id)) return ErrorCode::kInvalidArgument;
    if (mode == RenameMode::kExchange && replaced->is_directory() &&
        IsBelow(from, other_id))
      return ErrorCode::kInvalidArgument;
  }
  if (moved_id == other_id) return {};
  const auto move_into = [](Node& node, InodeId directory, Node& links) {
    if (!node.is_directory()) return;
    node.parent = directory;
    ++links.link_count;
  };
  if (moved.is_directory()) --source.link_count;
  if (mode == RenameMode::kExchange) {
    if (replaced->is_directory()) --target.link_count;
    move_into(moved, to, target);
    move_into(*replaced, from, source);
    std::swap(entry->second, other->second);
    return {};
  }
  Outcome bad;
  if (exists && moved.is_directory() && !replaced->is_directory())
    bad = ErrorCode::kNotDirectory;
  if (exists && !moved.is_directory() && replaced->is_directory())
    bad = ErrorCode::kIsDirectory;
  if (!bad && exists && !replaced->entries.empty()) bad = ErrorCode::kNotEmpty;
  if (bad) {
    if (moved.is_directory()) ++source.link_count;
    return bad;
  }
  if (exists) {
    if (replaced->is_directory()) --target.link_count;
    DropLink(other_id);
  }
  move_into(moved, to, target);
  source.entries.erase(entry);
  target.entries[to_name] = moved_id;
  return {};
}

Outcome Model::Lookup(InodeId directory, const std::string& name) const {
  if (const Outcome bad = CheckName(name)) return bad;
  if (const Outcome bad = CheckDirectory(directory)) return bad;
  if (!Find(directory)->entries.contains(name)) return ErrorCode::kNotFound;
  return {};
}

Outcome Model::SetAttributes(InodeId id, const AttributeChange& change) {
  Node* node = FindMutable(id);
  if (node == nullptr) return ErrorCode::kStale;
  if (change.size_bytes) {
    if (node->is_directory()) return ErrorCode::kIsDirectory;
    if (!node->is_file()) return ErrorCode::kInvalidArgument;
    std::string data = node->data == nullptr ? "" : *node->data;
    data.resize(*change.size_bytes);
    node->SetData(std::move(data));
  }
  if (change.mode) node->mode = (node->mode & S_IFMT) | (*change.mode & 07777);
  if (change.uid) node->uid = *change.uid;
  if (change.gid) node->gid = *change.gid;
  return {};
}

Outcome Model::SetXattr(InodeId id, const std::string& name, const std::string& value,
                        XattrMode mode) {
  Node* node = FindMutable(id);
  if (node == nullptr) return ErrorCode::kStale;
  const bool exists = node->xattrs.contains(name);
  if (mode == XattrMode::kCreate && exists) return ErrorCode::kExists;
  if (mode == XattrMode::kReplace && !exists) return ErrorCode::kNoAttribute;
  node->xattrs[name] = value;
  return {};
}

Outcome Model::RemoveXattr(InodeId id, const std::string& name) {
  Node* node = FindMutable(id);
  if (node == nullptr) return ErrorCode::kStale;
  return node->xattrs.erase(name) == 0 ? Outcome{ErrorCode::kNoAttribute} : Outcome{};
}

Outcome Model::Write(InodeId id, uint64_t offset, const std::string& bytes) {
  Node* node = FindMutable(id);
  if (node == nullptr) return ErrorCode::kStale;
  if (node->is_directory()) return ErrorCode::kIsDirectory;
  if (!node->is_file()) return ErrorCode::kInvalidArgument;
  std::string data = node->data == nullptr ? "" : *node->data;
  if (data.size() < offset + bytes.size()) data.resize(offset + bytes.size());
  data.replace(offset, bytes.size(), bytes);
  node->SetData(std::move(data));
  return {};
}

Outcome Model::Allocate(InodeId id, int mode, uint64_t offset, uint64_t length) {
  Node* node = FindMutable(id);
  if (node == nullptr) return ErrorCode::kStale;
  if (node->is_directory()) return ErrorCode::kIsDirectory;
  if (!node->is_file()) return ErrorCode::kInvalidArgument;
  std::string data = node->data == nullptr ? "" : *node->data;
  if (mode == FALLOC_FL_COLLAPSE_RANGE || mode == FALLOC_FL_INSERT_RANGE) {
    const bool collapses = mode == FALLOC_FL_COLLAPSE_RANGE;
    if (offset % kBlockBytes != 0 || length % kBlockBytes != 0 || length == 0 ||
        (collapses ? offset + length : offset) >= data.size())
      return ErrorCode::kInvalidArgument;
    if (collapses)
      data.erase(offset, length);
    else
      data.insert(offset, length, '\0');
    node->SetData(std::move(data));
    return {};
  }
  if ((mode & FALLOC_FL_KEEP_SIZE) == 0 && data.size() < offset + length)
    data.resize(offset + length);
  if ((mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) != 0 &&
      offset < data.size()) {
    const uint64_t count = std::min<uint64_t>(length, data.size() - offset);
    data.replace(offset, count, std::string(count, '\0'));
  }
  node->SetData(std::move(data));
  return {};
}

void Model::Node::DropPrivileges() {
  mode &= ~04000u;
  if ((mode & 0010) != 0) mode &= ~02000u;
  xattrs.erase("security.capability");
}

Outcome Model::Copy(InodeId source, uint64_t from, InodeId destination, uint64_t to,
                    uint64_t length) {
  const Node* node = Find(source);
  if (node == nullptr || Find(destination) == nullptr) return ErrorCode::kStale;
  const uint64_t size = node->size_bytes();
  length = from >= size ? 0 : std::min(length, size - from);
  if (length == 0) return {};
  if (source == destination && from < to + length && to < from + length)
    return ErrorCode::kInvalidArgument;
  const std::string bytes = node->data->substr(from, length);
  const Outcome written = Write(destination, to, bytes);
  if (!written) nodes_.at(destination).DropPrivileges();
  return written;
}

Outcome Model::Clone(InodeId source, uint64_t from, InodeId destination, uint64_t to,
                     uint64_t length) {
  const Node* node = Find(source);
  const Node* other = Find(destination);
  if (node == nullptr || other == nullptr) return ErrorCode::kStale;
  const uint64_t size = node->size_bytes();
  if (from > size || from % 4096 != 0 || to % 4096 != 0)
    return ErrorCode::kInvalidArgument;
  if (length == 0) length = size - from;
  if (length > size - from) return ErrorCode::kInvalidArgument;
  if (length % 4096 != 0 && (from + length < size || to + length < other->size_bytes()))
    return ErrorCode::kInvalidArgument;
  const uint64_t rounded = RoundUp(length, 4096);
  if (source == destination && from < to + rounded && to < from + rounded)
    return ErrorCode::kInvalidArgument;
  if (length == 0) return {};
  const std::string bytes = node->data->substr(from, length);
  const Outcome written = Write(destination, to, bytes);
  if (!written) nodes_.at(destination).DropPrivileges();
  return written;
}

void Model::SetData(InodeId id, std::string bytes) {
  FindMutable(id)->SetData(std::move(bytes));
}

void Model::DropOrphans() {
  std::erase_if(nodes_, [](const auto& item) { return item.second.link_count == 0; });
}

std::string Model::TextOf(InodeId id, bool with_data) const {
  const Node& node = nodes_.at(id);
  std::string text;
  const auto add = [&](auto value) {
    text.append(reinterpret_cast<const char*>(&value), sizeof(value));
  };
  add(id.value());
  for (const auto& [name, inode] : node.entries) {
    text += name + '/';
    add(inode.value());
  }
  if (IsRoot(id)) return text;
  for (uint32_t number : {node.mode, node.uid, node.gid, node.rdev, node.link_count})
    add(number);
  if (with_data) {
    add(node.size_bytes());
    add(node.size_bytes() == 0 ? 0 : node.data_hash);
  }
  add(node.parent.value());
  text += node.target;
  for (const auto& [name, value] : node.xattrs) text += name + '=' + value + ';';
  return text;
}

uint64_t Model::Fingerprint(std::optional<InodeId> without_data) const {
  std::string text;
  for (const auto& [id, node] : nodes_)
    if (node.link_count != 0) text += TextOf(id, id != without_data);
  return HashOf(text);
}

size_t Model::DifferenceCount(const Model& other) const {
  const auto has = [](const Model& model, InodeId id) {
    const Node* node = model.Find(id);
    return node != nullptr && node->link_count != 0;
  };
  size_t count = 0;
  for (const auto& [id, node] : nodes_)
    if (has(*this, id))
      count += !has(other, id) || TextOf(id, true) != other.TextOf(id, true);
  for (const auto& [id, node] : other.nodes_) count += has(other, id) && !has(*this, id);
  return count;
}

// ---- what the volume shows ----

namespace {

class TreeReader {
 public:
  TreeReader(Volume& volume, InodeId root, InodeId shared,
             const std::function<bool(std::string_view)>& is_own)
      : volume_(volume), shared_(shared), is_own_(is_own), model_(root, shared) {}

  Model Read() {
    ReadDirectory(model_.root());
    if (shared_ != model_.root()) ReadDirectory(shared_);
    return std::move(model_);
  }

 private:
  Model::Node& NodeOf(InodeId id) {
    // Only this reader fills the model, which hands out its nodes as constants.
    return const_cast<Model::Node&>(*model_.Find(id));
  }

  void ReadDirectory(InodeId directory) {
    uint64_t last = 0;
    std::map<std::string, DirectoryEntry> entries;
    EXPECT_OK(volume_.ReadDirectory(directory, 0, [&](const DirectoryEntry& entry) {
      EXPECT_GT(entry.cookie, last);
      last = entry.cookie;
      const std::string name(entry.name);
      if (name == "." || name == "..") return true;
      if (directory != shared_ || is_own_(name)) {
        EXPECT_TRUE(entries.emplace(name, entry).second) << name;
      }
      return true;
    }));
    for (const auto& [name, entry] : entries) {
      const auto found = volume_.Lookup(directory, name);
      if (!found.ok()) {
        ADD_FAILURE() << name << ": " << found.error().ToString();
        continue;
      }
      EXPECT_EQ(entry.inode, found->id) << name;
      EXPECT_EQ(entry.type, (found->record.mode & S_IFMT) >> 12) << name;
      ReadInode(directory, name, *found);
      volume_.Forget(found->id, 1);
    }
  }

  void ReadInode(InodeId directory, const std::string& name, const InodeStat& stat) {
    const InodeRecord& record = stat.record;
    const bool is_new = model_.Find(stat.id) == nullptr;
    const NewInode inode{
        .mode = record.mode, .uid = record.uid, .gid = record.gid, .rdev = record.rdev};
    if (!is_new) {
      NodeOf(directory).entries[name] = stat.id;
      return;
    }
    model_.Create(directory, name, inode, record.symlink_target, stat.id);
    Model::Node& node = NodeOf(stat.id);
    node.mode = record.mode;  // as they are, not as a creation would make them
    node.gid = record.gid;
    node.link_count = record.link_count;
    node.parent = record.parent;
    const auto names = volume_.ListXattrs(stat.id);
    EXPECT_OK(names);
    if (names.ok()) {
      for (const std::string& xattr : *names) {
        const auto value = volume_.GetXattr(stat.id, xattr);
        EXPECT_OK(value);
        if (value.ok()) node.xattrs[xattr] = *value;
      }
    }
    if (node.is_file()) {
      AlignedBuffer buffer;
      const auto data =
          volume_.Read(stat.id, FileOffset{0}, record.size_bytes + 1, buffer);
      EXPECT_OK(data);
      if (data.ok()) {
        EXPECT_EQ(record.size_bytes, data->size());
        node.SetData(std::string(data->begin(), data->end()));
      }
    } else if (S_ISLNK(node.mode)) {
      const auto target = volume_.ReadLink(stat.id);
      EXPECT_OK(target);
    } else if (node.is_directory()) {
      ReadDirectory(stat.id);
      EXPECT_EQ(record.size_bytes, NodeOf(stat.id).entries.size()) << name;
      NodeOf(stat.id).link_count = record.link_count;
    }
  }

  Volume& volume_;
  const InodeId shared_;
  const std::function<bool(std::string_view)>& is_own_;
  Model model_;
};

}  // namespace

Model ReadTree(Volume& volume, InodeId root, InodeId shared,
               const std::function<bool(std::string_view)>& is_own) {
  return TreeReader(volume, root, shared, is_own).Read();
}

void ExpectSame(const Model& expected, const Model& found) {
  for (const auto& [id, node] : expected.nodes()) {
    if (node.link_count == 0) continue;
    SCOPED_TRACE(StrCat("inode ", id));
    const Model::Node* other = found.Find(id);
    if (other == nullptr) {
      ADD_FAILURE() << "is missing";
      continue;
    }
    EXPECT_EQ(node.entries, other->entries);
    if (expected.IsRoot(id)) continue;
    EXPECT_EQ(node.mode, other->mode);
    EXPECT_EQ(node.uid, other->uid);
    EXPECT_EQ(node.gid, other->gid);
    EXPECT_EQ(node.rdev, other->rdev);
    EXPECT_EQ(node.link_count, other->link_count);
    EXPECT_EQ(node.target, other->target);
    EXPECT_EQ(node.xattrs, other->xattrs);
    if (node.is_directory()) {
      EXPECT_EQ(node.parent, other->parent);
    }
    EXPECT_EQ(node.size_bytes(), other->size_bytes());
    if (node.size_bytes() == other->size_bytes() && node.is_file() &&
        node.size_bytes() > 0) {
      size_t at = 0;
      while (at < node.data->size() && (*node.data)[at] == (*other->data)[at]) ++at;
      EXPECT_EQ(node.data->size(), at) << "first wrong byte of the contents";
    }
  }
  for (const auto& [id, node] : found.nodes())
    EXPECT_TRUE(expected.Find(id) != nullptr) << "inode " << id << " should be gone";
}

}  // namespace cofs
