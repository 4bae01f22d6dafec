// PosixAcl: an access control list (POSIX.1e draft 17), as the attributes
// system.posix_acl_access and system.posix_acl_default hold it: Linux's format, version 2
// (linux/posix_acl_xattr.h). The kernel enforces it; here is what ties it to modes.
// Thread-safety: a value.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/types.h"

namespace cofs {

inline constexpr std::string_view kAccessAclXattr = "system.posix_acl_access";
inline constexpr std::string_view kDefaultAclXattr = "system.posix_acl_default";

inline bool IsAclXattr(std::string_view name) {
  return name == kAccessAclXattr || name == kDefaultAclXattr;
}

class PosixAcl {
 public:
  // kInvalidArgument: not in that format, or entries that make no list (out of order, one
  // of the three obligatory ones or a needed mask missing).
  static Result<PosixAcl> Parse(std::string_view value);
  // Of one that the volume holds: kCorrupt, with the inode.
  static Result<PosixAcl> ParseStored(std::string_view value, InodeId inode);
  std::string Encode() const;

  // Whether permission bits say it all.
  bool IsMinimal() const { return entries_.size() == 3; }
  // Its nine permission bits: those of the group are the mask's where there is one.
  uint32_t PermissionBits() const;
  // chmod(2): the entries that the nine bits stand for take them over.
  void SetPermissionBits(uint32_t mode);
  // As the list of a new inode that was asked for with `mode`: what either of the two
  // denies is denied. Its PermissionBits() are then those of the inode.
  void RestrictTo(uint32_t mode);

 private:
  struct Entry {
    uint16_t tag = 0;
    uint16_t permissions = 0;
    uint32_t id = 0;
  };
  // The entry that the group's bits of the mode stand for.
  Entry& GroupClass();
  const Entry& GroupClass() const { return const_cast<PosixAcl*>(this)->GroupClass(); }

  std::vector<Entry> entries_;  // valid, in order: the owner is first, others are last
};

}  // namespace cofs
