#include "fs/core/posix_acl.h"

#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>

#include <algorithm>

#include "base/check.h"
#include "base/codec.h"

namespace cofs {
namespace {

// The order of entries, and which of them stand once.
int RankOf(uint16_t tag) {
  switch (tag) {
    case ACL_USER_OBJ: return 0;
    case ACL_USER: return 1;
    case ACL_GROUP_OBJ: return 2;
    case ACL_GROUP: return 3;
    case ACL_MASK: return 4;
    case ACL_OTHER: return 5;
    default: return -1;
  }
}

bool MayRepeat(uint16_t tag) { return tag == ACL_USER || tag == ACL_GROUP; }

}  // namespace

Result<PosixAcl> PosixAcl::Parse(std::string_view value) {
  const Error invalid(ErrorCode::kInvalidArgument, "access control list");
  ByteReader in(value);
  if (in.Little<uint32_t>() != POSIX_ACL_XATTR_VERSION) return invalid;
  PosixAcl acl;
  while (in.remaining_bytes() > 0) {
    Entry entry;
    entry.tag = in.Little<uint16_t>();
    entry.permissions = in.Little<uint16_t>();
    entry.id = in.Little<uint32_t>();
    if (!in.ok()) return invalid;
    const int rank = RankOf(entry.tag);
    if (rank < 0 || entry.permissions > 7) return invalid;
    if (!acl.entries_.empty()) {
      const int before = RankOf(acl.entries_.back().tag);
      if (rank < before || (rank == before && !MayRepeat(entry.tag))) return invalid;
    }
    acl.entries_.push_back(entry);
  }
  const auto has = [&acl](uint16_t tag) {
    return std::ranges::find(acl.entries_, tag, &Entry::tag) != acl.entries_.end();
  };
  if (!has(ACL_USER_OBJ) || !has(ACL_GROUP_OBJ) || !has(ACL_OTHER)) return invalid;
  if ((has(ACL_USER) || has(ACL_GROUP)) && !has(ACL_MASK)) return invalid;
  return acl;
}

Result<PosixAcl> PosixAcl::ParseStored(std::string_view value, InodeId inode) {
  Result<PosixAcl> acl = Parse(value);
  if (acl.ok()) return acl;
  return Error(ErrorCode::kCorrupt, StrCat("access control list of inode ", inode));
}

std::string PosixAcl::Encode() const {
  std::string value;
  ByteWriter out(value);
  out.Little(uint32_t{POSIX_ACL_XATTR_VERSION});
  for (const Entry& entry : entries_) {
    out.Little(entry.tag);
    out.Little(entry.permissions);
    out.Little(entry.id);
  }
  return value;
}

PosixAcl::Entry& PosixAcl::GroupClass() {
  const auto mask = std::ranges::find(entries_, ACL_MASK, &Entry::tag);
  if (mask != entries_.end()) return *mask;
  const auto group = std::ranges::find(entries_, ACL_GROUP_OBJ, &Entry::tag);
  CHECK(group != entries_.end());
  return *group;
}

uint32_t PosixAcl::PermissionBits() const {
  return uint32_t{entries_.front().permissions} << 6 |
         uint32_t{GroupClass().permissions} << 3 | entries_.back().permissions;
}

void PosixAcl::SetPermissionBits(uint32_t mode) {
  entries_.front().permissions = mode >> 6 & 7;
  GroupClass().permissions = mode >> 3 & 7;
  entries_.back().permissions = mode & 7;
}

void PosixAcl::RestrictTo(uint32_t mode) { SetPermissionBits(mode & PermissionBits()); }

}  // namespace cofs
