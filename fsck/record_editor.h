// RecordEditor: changes the records of a volume under repair.
//
// Changes are collected in a step, which is written whole or not at all; steps are joined
// to batches of a bounded size. Reads see all that was changed. A written batch is durable
// before the next one is written: an interrupted repair has done a number of whole steps.
// Belongs to one thread.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>

#include "base/result.h"
#include "extent_map/records.h"
#include "extent_map/store/store.h"

namespace cofs {

class RecordEditor {
 public:
  explicit RecordEditor(Store& store) : store_(store) {}

  Result<std::optional<std::string>> Get(const std::string& key) const;
  // kNotFound when there is none, kCorrupt when it can't be decoded.
  Result<InodeRecord> GetInode(InodeId inode) const;

  void Put(std::string key, std::string value);
  void Delete(std::string key);
  void PutInode(InodeId inode, const InodeRecord& record);
  Status EditInode(InodeId inode, const std::function<void(InodeRecord&)>& change);
  // Every record of the range, in as many steps as it takes.
  Status DeleteAll(const KeyRange& range);
  // Puts `crc32c` of the block at `place` into its checksum record.
  Status PutChecksum(DeviceOffset place, uint32_t crc32c);

  // The step is complete; writes a batch when enough has come together.
  Status EndStep();
  void AbandonStep() { step_.clear(); }
  // Writes what there is; durable on return.
  Status Commit();

 private:
  // nullopt: deleted.
  using Changes = std::map<std::string, std::optional<std::string>, std::less<>>;

  Store& store_;
  Changes step_, batch_;
  size_t batch_bytes_ = 0;
};

}  // namespace cofs
