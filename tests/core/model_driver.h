// ModelDriver: random operations on a volume and on its model, compared one by one.
//
// Belongs to one thread. Several may work on one volume: each in a tree of its own, and
// in a shared directory under names of its own.
#pragma once

#include <functional>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "tests/core/model.h"

namespace cofs {

class ModelDriver {
 public:
  struct Options {
    InodeId root, shared;  // may be the same
    std::string prefix;    // of its names in `shared`
    uint64_t seed = 1;
    uint64_t file_bytes_max = 96 << 10;
    size_t inode_count_max = 120;
    bool may_be_full = false;  // copies may end early
    // Called after a synchronous write: all of history() is durable.
    std::function<void()> on_durable = {};
  };
  // One successful operation. A crash may leave `torn`'s contents between before and
  // after, because the operation is more than one batch.
  struct Change {
    std::string what;
    std::function<Outcome(Model&)> apply;
    std::optional<InodeId> torn;
  };

  ModelDriver(Volume& volume, const Options& options);

  void Step();
  // A difference was found; the model is of no use any more.
  bool failed() const { return failed_; }
  const Model& model() const { return model_; }

  // All that was done is durable: Sync has returned.
  void Synced();
  const Model& base() const { return base_; }
  const std::vector<Change>& history() const { return history_; }
  // The volume has been mounted anew, after an unmount: everything is there.
  void Remounted(Volume& volume);
  // After a crash: some prefix of the operations, at least those before Synced(), is
  // there, and becomes the model.
  void Recovered(Volume& volume);
  // The whole tree is compared.
  void Check();
  // Returns all look-ups.
  void ForgetAll();

  uint64_t step_count() const { return step_count_; }
  uint64_t no_space_count() const { return no_space_count_; }
  std::function<bool(std::string_view)> is_own() const;

 private:
  using Picker = std::function<bool(const Model::Node&)>;

  uint64_t Random(uint64_t count) { return count == 0 ? 0 : random_() % count; }
  bool Chance(uint64_t percent) { return Random(100) < percent; }
  std::optional<InodeId> Pick(const Picker& accepts);
  std::optional<InodeId> PickFile();
  InodeId PickDirectory();
  std::string PickName(InodeId directory);
  // One that is there, or else any.
  std::string PickEntry(InodeId directory);
  uint64_t PickOffset();
  uint64_t PickLength();
  std::string PickBytes(uint64_t length);

  void Do(const std::string& what, const Outcome& got,
          std::function<Outcome(Model&)> expected, std::optional<InodeId> torn = {});
  void Fail(const std::string& what);
  void Count(InodeId id) { ++look_ups_[id]; }
  void CheckStat(const std::string& what, const InodeStat& stat);
  void DropUnused();

  void Create();
  void CreateTemporary();
  void MakeSymlink();
  void Link();
  void Unlink();
  void RemoveDirectory();
  void Rename();
  void Lookup();
  void ForgetSome();
  void SetAttributes();
  void Truncate();
  void Xattr();
  void Write();
  void Read();
  void Allocate();
  void Seek();
  void Copy();
  void Clone();
  void ReadDirectory();
  void LookupParent();

  Volume* volume_;
  const Options options_;
  std::mt19937_64 random_;
  std::vector<void (ModelDriver::*)()> operations_;  // as often as they weigh
  Model model_, base_;
  std::vector<Change> history_;
  std::map<InodeId, uint64_t> look_ups_;
  bool failed_ = false;
  uint64_t step_count_ = 0, no_space_count_ = 0;
};

// Which prefix of `history`, at least `from` long, leads from `base` to what is found;
// nullopt: none. `reached` becomes the model of it.
std::optional<size_t> FindPrefix(const Model& base,
                                 const std::vector<ModelDriver::Change>& history,
                                 size_t from, const Model& found, Model& reached);

}  // namespace cofs
