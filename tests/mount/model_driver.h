// MountDriver: random system calls on a mounted directory and on its model, compared one
// by one. The counterpart of tests/core/model_driver.h on the other side of the kernel.
//
// Belongs to one thread. Several may work on one mount: each in a tree of its own, and in
// a shared directory under names of its own.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "base/file_descriptor.h"
#include "tests/core/model.h"
#include "tests/core/model_driver.h"

namespace cofs {

class MountDriver {
 public:
  struct Options {
    std::string root, shared;  // directories, as paths
    std::string mount_point;
    std::string prefix;  // of its names in `shared`
    uint64_t seed = 1;
    uint64_t file_bytes_max = 200'000;
    size_t inode_count_max = 100;
  };
  explicit MountDriver(const Options& options);

  // False when the mount's daemon is gone, or after a difference, which is a test failure.
  bool Step();
  bool failed() const { return failed_; }

  // Dirty pages are kept by the kernel and lost with the daemon: the contents of files
  // are written through, and mapped files left alone.
  void set_writes_through(bool value) { writes_through_ = value; }
  // The whole tree is compared.
  void Check();
  // Closes all files.
  void CloseAll();
  // The mount is another one and everything is there.
  void Remounted();
  // The daemon was killed: the tree is as after some of the operations since everything
  // was durable, not before the last fsync.
  void Recovered();

  uint64_t operation_count() const { return operation_count_; }
  uint64_t copy_count() const { return copy_count_; }
  uint64_t clone_count() const { return clone_count_; }
  uint64_t sync_count() const { return sync_count_; }

 private:
  using Picker = std::function<bool(const Model::Node&)>;

  uint64_t Random(uint64_t count) { return count == 0 ? 0 : random_() % count; }
  bool Chance(uint64_t percent) { return Random(100) < percent; }
  std::optional<InodeId> Pick(const Picker& accepts);
  std::optional<InodeId> PickFile();
  InodeId PickDirectory();
  std::string PickName(InodeId directory);
  std::string PickEntry(InodeId directory);
  uint64_t PickOffset();
  uint64_t PickLength();
  std::string PickBytes(uint64_t length);

  std::string DirectoryPath(InodeId directory) const;
  std::string Path(InodeId directory, const std::string& name) const;
  bool IsAtOrBelow(InodeId directory, InodeId ancestor) const;
  // Some path of an inode that has links.
  std::string PathOf(InodeId inode) const;
  // A descriptor of the file, open for reading and writing: one that is held, or a new one.
  int Use(InodeId file, Fd& opened);

  // `result` of a system call, errno after it.
  void Did(std::string what, long result, std::function<Outcome(Model&)> apply,
           std::optional<InodeId> torn = {});
  void Made(std::string what, int result, InodeId directory, const std::string& name,
            const NewInode& inode, const std::string& target);
  void Fail(const std::string& what);
  Model ReadTree() const;

  void Create();
  void MakeSymlink();
  void Link();
  void Unlink();
  void RemoveDirectory();
  void Rename();
  void ChangeMode();
  void Truncate();
  void Xattr();
  void Write();
  void WriteMapped();
  void Read();
  void Allocate();
  void Seek();
  void Copy();
  void Clone();
  void ListDirectory();
  void CheckAttributes();
  void Sync();
  void HoldOrClose();

  const Options options_;
  std::mt19937_64 random_;
  std::vector<void (MountDriver::*)()> operations_;
  Model model_, base_;
  std::vector<ModelDriver::Change> history_;
  size_t durable_count_ = 0;
  std::map<InodeId, Fd> held_;  // open files, which live without a name
  // The last inode that was made when the daemon was killed.
  struct Unknown {
    InodeId directory;
    std::string name;
    std::shared_ptr<InodeId> id;
  };
  std::optional<Unknown> unknown_;
  bool writes_through_ = false;
  bool gone_ = false, failed_ = false;
  uint64_t operation_count_ = 0, copy_count_ = 0, clone_count_ = 0, sync_count_ = 0;
};

}  // namespace cofs
