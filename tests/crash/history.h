// History: operations carried out on a volume and, when they succeed, on its model; in
// the order in which a crash has to keep them.
//
// Belongs to one thread. An operation whose answer differs from the model's is a test
// failure, except for errors of a device that is made to fail (Options::device_fails).
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "device/recording_device.h"
#include "tests/core/model.h"
#include "tests/core/model_driver.h"

namespace cofs {

// `length` bytes, none of them zero, that depend on `seed` and on the position.
std::string CrashBytes(uint64_t seed, uint64_t length);

class History {
 public:
  using Change = ModelDriver::Change;
  struct Options {
    RecordingDevice* recorder = nullptr;  // marks what is durable in its log
    bool device_fails = false;
  };
  History(Volume& volume, const Options& options);

  Volume& volume() { return *volume_; }
  // The same volume after a clean unmount and a mount.
  void Continue(Volume& volume) { volume_ = &volume; }
  const Model& base() const { return base_; }
  const Model& model() const { return model_; }
  // Those that succeeded.
  const std::vector<Change>& changes() const { return changes_; }
  // The last operation, when it failed and left the volume read-only: its batch may have
  // reached the device.
  const std::optional<Change>& last_gasp() const { return last_gasp_; }
  uint64_t failed_count() const { return failed_count_; }
  // How many changes are known to be durable.
  size_t durable_count() const { return durable_count_; }

  // Everything so far is durable.
  void Durable();

  // ---- operations, as of Volume; the new number or 0 ----
  InodeId Create(InodeId directory, const std::string& name, const NewInode& inode);
  InodeId MakeSymlink(InodeId directory, const std::string& name,
                      const std::string& target);
  // O_TMPFILE, written to, linked.
  void CreateUnnamed(InodeId directory, const std::string& name);
  void Link(InodeId inode, InodeId directory, const std::string& name);
  void Unlink(InodeId directory, const std::string& name);
  void RemoveDirectory(InodeId directory, const std::string& name);
  void Rename(InodeId from, const std::string& from_name, InodeId to,
              const std::string& to_name, RenameMode mode);
  void SetAttributes(InodeId inode, const AttributeChange& change);
  void Truncate(InodeId inode, uint64_t size_bytes);
  void SetXattr(InodeId inode, const std::string& name, const std::string& value);
  void RemoveXattr(InodeId inode, const std::string& name);
  // Bytes that no other write has written. `sync`: as through O_SYNC.
  void Write(InodeId inode, uint64_t offset, uint64_t length, bool sync = false);
  void Append(InodeId inode, uint64_t length);
  void Allocate(InodeId inode, int mode, uint64_t offset, uint64_t length);
  void Copy(InodeId source, uint64_t from, InodeId destination, uint64_t to,
            uint64_t length);
  void Clone(InodeId source, uint64_t from, InodeId destination, uint64_t to,
             uint64_t length);
  void Sync(InodeId inode);
  void SyncAll();

 private:
  void Did(std::string what, const Outcome& got, std::function<Outcome(Model&)> apply,
           std::optional<InodeId> torn = {});
  InodeId Made(const Result<InodeStat>& made);

  Volume* volume_;
  const Options options_;
  Model base_, model_;
  std::vector<Change> changes_;
  std::optional<Change> last_gasp_;
  bool was_read_only_ = false;
  uint64_t failed_count_ = 0;
  size_t durable_count_ = 0;
  uint64_t next_bytes_ = 1;
};

}  // namespace cofs
