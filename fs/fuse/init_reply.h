// The answer to INIT, and to OPEN and CREATE, as libfuse writes it and as cofs wants
// it: protocol features that the installed libfuse can't express are put into the
// answer on its way to the kernel. Pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "fs/fuse/fuse_api.h"

namespace cofs {

// What kernel and daemon have agreed on.
struct FuseFeatures {
  uint32_t protocol_minor = 0;  // of the kernel
  uint64_t flags = 0;           // INIT flags in force
  uint32_t write_bytes_max = 0;

  bool has(uint64_t flag) const { return (flags & flag) != 0; }
};
// Names of the features in force: "writeback_cache", "parallel_dirops"...
std::vector<std::string> NamesOf(const FuseFeatures& features);

// The kernel's offer.
uint64_t OfferedFlags(const fuse_init_in& in);
// Changes libfuse's answer `out`; returns what it says then.
FuseFeatures AdjustInitReply(const fuse_init_in& in, fuse_init_out& out);

}  // namespace cofs
