// Model: a file system in memory, as naive as it can be, that says what a Volume should
// answer. Inodes are known by the numbers that the volume gave them.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fs/core/volume.h"

namespace cofs {

// What an operation answered: nothing for success.
using Outcome = std::optional<ErrorCode>;
inline Outcome OutcomeOf(const Status& status) {
  return status.ok() ? Outcome{} : Outcome{status.error().code()};
}
template <typename T>
Outcome OutcomeOf(const Result<T>& result) {
  return result.ok() ? Outcome{} : Outcome{result.error().code()};
}
inline std::string Describe(const Outcome& outcome) {
  return outcome ? std::string(MeaningOf(*outcome)) : "ok";
}

class Model {
 public:
  struct Node {
    uint32_t mode = 0, uid = 0, gid = 0, rdev = 0;
    uint32_t link_count = 0;
    std::string target;
    // Contents, shared between copies of a model; its hash goes with it.
    std::shared_ptr<const std::string> data;
    uint64_t data_hash = 0;
    std::map<std::string, std::string> xattrs;
    std::map<std::string, InodeId> entries;
    InodeId parent;
    bool temporary = false;

    bool is_directory() const { return (mode & 0170000) == 0040000; }
    bool is_file() const { return (mode & 0170000) == 0100000; }
    uint64_t size_bytes() const;
    void SetData(std::string bytes);
    // As a write by an unprivileged caller does.
    void DropPrivileges();
  };

  // `roots` are directories that exist: their modes count, their other attributes
  // don't, because others may change them.
  Model(InodeId root, InodeId shared);

  const std::map<InodeId, Node>& nodes() const { return nodes_; }
  const Node* Find(InodeId id) const;
  bool IsRoot(InodeId id) const { return id == root_ || id == shared_; }
  InodeId root() const { return root_; }
  InodeId shared() const { return shared_; }

  // Errors as the volume's, effects only without one. `made` is the new number.
  Outcome Create(InodeId directory, const std::string& name, const NewInode& inode,
                 const std::string& target, InodeId made);
  Outcome CreateTemporary(const NewInode& inode, InodeId made);
  Outcome Link(InodeId id, InodeId directory, const std::string& name);
  Outcome Unlink(InodeId directory, const std::string& name);
  Outcome RemoveDirectory(InodeId directory, const std::string& name);
  Outcome Rename(InodeId from, const std::string& from_name, InodeId to,
                 const std::string& to_name, RenameMode mode);
  Outcome Lookup(InodeId directory, const std::string& name) const;
  Outcome SetAttributes(InodeId id, const AttributeChange& change);
  Outcome SetXattr(InodeId id, const std::string& name, const std::string& value,
                   XattrMode mode);
  Outcome RemoveXattr(InodeId id, const std::string& name);
  Outcome Write(InodeId id, uint64_t offset, const std::string& bytes);
  Outcome Allocate(InodeId id, int mode, uint64_t offset, uint64_t length);
  Outcome Copy(InodeId source, uint64_t from, InodeId destination, uint64_t to,
               uint64_t length);
  Outcome Clone(InodeId source, uint64_t from, InodeId destination, uint64_t to,
                uint64_t length);
  // The contents as a crash in the middle of an operation left them.
  void SetData(InodeId id, std::string bytes);
  // Inodes without links are gone.
  void DropOrphans();
  void Drop(InodeId id) { nodes_.erase(id); }

  // Of all that has links, without the contents of `without_data`.
  uint64_t Fingerprint(std::optional<InodeId> without_data = {}) const;
  // How many inodes with links are not the same in both.
  size_t DifferenceCount(const Model& other) const;

 private:
  Node* FindMutable(InodeId id);
  // All that Fingerprint() is made of.
  std::string TextOf(InodeId id, bool with_data) const;
  Outcome CheckDirectory(InodeId id) const;
  Outcome CheckName(const std::string& name) const;
  bool IsBelow(InodeId directory, InodeId ancestor) const;
  void DropLink(InodeId id);

  InodeId root_, shared_;
  std::map<InodeId, Node> nodes_;
};

// A tree as a volume shows it, for comparison with a model: the nodes that can be
// reached from `root` and `shared`, of the latter only entries that `is_own` accepts.
// Failures to read are test failures.
Model ReadTree(Volume& volume, InodeId root, InodeId shared,
               const std::function<bool(std::string_view)>& is_own);
// Every difference is a test failure.
void ExpectSame(const Model& expected, const Model& found);

uint64_t HashOf(std::string_view bytes);

}  // namespace cofs
