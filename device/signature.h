// Signatures of other file systems, partition tables, RAID members and the like on a
// device or image, found by libblkid.
//
// Blocks; I/O goes through the page cache of the node.
#pragma once

#include <string>

#include "base/result.h"

namespace cofs {

// What is there: "xfs", "ext4", "gpt partition table", several joined by ", "; empty
// when there is nothing that libblkid knows. It does not know cofs.
Result<std::string> FindForeignSignature(const std::string& path);

// Overwrites the magic bytes of everything that FindForeignSignature() finds (backups
// too), so that nothing mistakes the device for what it was. Durable on return. The
// data stays. Returns what was wiped, as above.
Result<std::string> WipeSignatures(const std::string& path);

}  // namespace cofs
