// Attributes: inode records as the kernel wants to see them, and the kernel's changes
// as the volume wants to see them. Pure functions.
#pragma once

#include <sys/stat.h>
#include <sys/statvfs.h>

#include "fs/core/volume.h"
#include "fs/fuse/fuse_api.h"

namespace cofs {

// Nobody changes a mounted volume but its kernel, which updates what it caches itself.
inline constexpr double kTimeoutForever_s = 365.0 * 86400;
// Blocks of a file being written change behind the kernel, when it writes back.
inline constexpr double kTimeoutWhileWritten_s = 1;

struct stat StatOf(const InodeStat& inode);
fuse_entry_param EntryOf(const InodeStat& inode, double attribute_timeout_s);
fuse_entry_param NegativeEntry();
// The protocol's structures, for the requests that are answered without libfuse.
fuse_attr RawAttributesOf(const InodeStat& inode);
fuse_entry_out RawEntryOf(const InodeStat& inode, double attribute_timeout_s);
FuseStatxOut RawStatxOf(const InodeStat& inode, double attribute_timeout_s);

// `to_set` has libfuse's FUSE_SET_ATTR_* bits, `raw_valid` the protocol's FATTR_* bits
// as they came.
AttributeChange ChangeOf(const struct stat& attributes, int to_set, uint32_t raw_valid,
                         Timestamp now);

struct statvfs StatvfsOf(const VolumeUsage& usage);

}  // namespace cofs
