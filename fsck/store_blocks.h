// What is left of the files of a damaged store: which blocks belong to which file.
//
// Every block of the store carries the id of its file and its index in it. When the
// journal can be read it says which files there are; when it can't, the labels do.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "device/block_device.h"
#include "extent_map/superblock.h"

namespace cofs::salvage {

struct StoreFile {
  uint64_t id = 0;
  std::string name;  // empty: not known
  std::map<uint32_t, DeviceOffset> blocks;  // by index
  uint64_t proven_blocks = 0;  // of a log, by the journal: at least so many were durable
};

struct StoreFiles {
  std::vector<StoreFile> files;   // in order of id
  bool from_journal = false;
  std::vector<DeviceRange> used;  // by what is left of the store: nothing may go there
};

// kCorrupt when nothing of a store is found.
Result<StoreFiles> FindStoreFiles(BlockDevice& device, const Superblock& superblock);

// The bytes of a file, with what is not readable marked.
struct FileBytes {
  struct Block {
    size_t begin = 0, length = 0;  // in `bytes`; a lost block is taken for a full one
    bool is_good = false;
    bool last_of_group = false;
    uint64_t sync_group = 0;
  };
  std::string bytes;
  std::vector<Block> blocks;
  uint64_t proven_blocks = 0;
  uint64_t damaged_blocks = 0;
  uint64_t unreadable_blocks = 0;  // of those: the device failed the read
};
FileBytes ReadStoreFile(BlockDevice& device, const StoreFile& file);

}  // namespace cofs::salvage
