// Xattrs: extended attributes.
//
// Names start with "user.", "trusted." or "security." and go on, or are those of the two
// access control lists (posix_acl.h); others are kNotSupported. Who may read and set which
// is the kernel's affair.
// Thread-safety: all functions; call them without locks.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "fs/core/core.h"
#include "fs/core/inode.h"
#include "fs/core/volume_types.h"

namespace cofs {

// File capabilities: asked for by the kernel before every write.
inline constexpr std::string_view kCapabilityXattr = "security.capability";

class Xattrs {
 public:
  explicit Xattrs(Core& core) : core_(core) {}

  // kNoAttribute.
  Result<std::string> Get(InodeId id, std::string_view name);
  // kExists and kNoAttribute as `mode` says; kTooBig over 64 KiB; kOutOfRange for a
  // name over 255 bytes; kInvalidArgument for what is no access control list, and
  // kNotPermitted for a default one of what is no directory.
  // An access list sets the permission bits; one that says no more than they do is not
  // kept. `kill_set_group_id` clears that bit with it.
  Status Set(InodeId id, std::string_view name, std::string_view value, XattrMode mode,
             bool kill_set_group_id = false);
  // kNoAttribute, but not for access control lists.
  Status Remove(InodeId id, std::string_view name);
  // In byte order.
  Result<std::vector<std::string>> List(InodeId id);

 private:
  Status SetAcl(Inode& inode, std::string_view name, std::string_view value,
                bool kill_set_group_id) REQUIRES(inode.mutex);

  Core& core_;
};

}  // namespace cofs
