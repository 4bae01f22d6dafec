// Attributes: reading and changing what stat(2) shows, and symlink targets.
//
// Thread-safety: all functions; call them without locks.
#pragma once

#include <string>

#include "base/result.h"
#include "fs/core/core.h"
#include "fs/core/file_data.h"
#include "fs/core/inode.h"
#include "fs/core/volume_types.h"

namespace cofs {

class Attributes {
 public:
  Attributes(Core& core, FileData& data) : core_(core), data_(data) {}

  Result<InodeStat> Get(InodeId id);
  // kIsDirectory and kInvalidArgument for the size of what has none, kNotPermitted for
  // immutable and append-only inodes (their flags may change).
  Result<InodeStat> Set(InodeId id, const AttributeChange& change);
  Result<std::string> ReadLink(InodeId id);

  // It has been read: the access time moves as AtimePolicy says. What stands in the
  // way (a full or read-only volume) is no error of the read. Whether it moved.
  bool Accessed(const InodeRef& inode);

 private:
  Status SetRecord(const InodeRef& inode, const AttributeChange& change);
  // What stands in the way of a change with a size, before anything of it is done.
  Status CheckSize(const InodeRef& inode, const AttributeChange& change);
  Status SetSize(const InodeRef& inode, const AttributeChange& change);

  Core& core_;
  FileData& data_;
};

// What a batch of attributes may add to the store, for Store::AdmitGrowth().
inline constexpr uint64_t kAttributesBatchBytesMax = 8192;

}  // namespace cofs
