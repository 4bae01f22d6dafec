// Repairs of names: what has none goes to lost+found.
#include <sys/stat.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "base/log.h"
#include "fsck/repairer.h"

namespace cofs {
namespace {

constexpr int kSuffixMax = 1000;

// "NAME~N", the name cut so that it fits.
std::string WithSuffix(std::string_view name, int number) {
  const std::string suffix = StrCat("~", number);
  return std::string(name.substr(0, kNameBytesMax - suffix.size())) + suffix;
}

}  // namespace

Result<uint64_t> Repairer::FreeCookie(InodeId directory, std::string_view name) {
  const uint64_t base = CookieBase(superblock().name_hash_key, name);
  uint64_t free = 0;
  for (unsigned index = 0; index < kCollisionIndexCount; ++index) {
    TRY_ASSIGN(const auto value, records_.Get(DentryKey(directory, base + index)));
    if (!value) {
      if (free == 0) free = base + index;
      continue;
    }
    const auto dentry = DecodeDentry(*value);
    if (dentry.ok() && dentry->name == name) return uint64_t{0};
  }
  return free;
}

Status Repairer::AddEntry(InodeId directory, const std::string& name, InodeId inode,
                          uint8_t type) {
  for (int number = 0; number <= kSuffixMax; ++number) {
    const std::string tried = number == 0 ? name : WithSuffix(name, number);
    TRY_ASSIGN(const uint64_t cookie, FreeCookie(directory, tried));
    if (cookie == 0) continue;
    records_.Put(DentryKey(directory, cookie), EncodeDentry({tried, inode, type}));
    return records_.EditInode(directory, [&](InodeRecord& record) {
      ++record.size_bytes;
      if (type == kTypeDirectory) ++record.link_count;
    });
  }
  return Error(ErrorCode::kNoSpace, StrCat("no name for inode ", inode));
}

Result<InodeId> Repairer::LostAndFound() {
  if (lost_and_found_.value() != 0) return lost_and_found_;
  for (int number = 0; number <= kSuffixMax; ++number) {
    const std::string name = number == 0 ? "lost+found" : WithSuffix("lost+found", number);
    const uint64_t base = CookieBase(superblock().name_hash_key, name);
    bool is_taken = false;
    for (unsigned index = 0; index < kCollisionIndexCount && !is_taken; ++index) {
      TRY_ASSIGN(const auto value, records_.Get(DentryKey(kRootInode, base + index)));
      if (!value) continue;
      const auto dentry = DecodeDentry(*value);
      if (!dentry.ok() || dentry->name != name) continue;
      const auto record = records_.GetInode(dentry->inode);
      if (record.ok() && S_ISDIR(record->mode))
        return lost_and_found_ = dentry->inode;
      if (record.Is(ErrorCode::kIo)) return record.error();
      is_taken = true;
    }
    if (is_taken) continue;
    TRY_ASSIGN(const auto counter, records_.Get(InodeCounterKey()));
    if (!counter) return Error(ErrorCode::kCorrupt, "no inode counter");
    TRY_ASSIGN(const InodeId inode, DecodeInodeCounter(*counter));
    TRY_ASSIGN(InodeRecord record, records_.GetInode(kRootInode));
    records_.Put(InodeCounterKey(), EncodeInodeCounter(inode + 1));
    record.mode = S_IFDIR | 0700;
    record.uid = record.gid = 0;
    record.link_count = 2;
    record.size_bytes = 0;
    record.flags = 0;
    record.parent = kRootInode;
    records_.PutInode(inode, record);
    TRY(AddEntry(kRootInode, name, inode, kTypeDirectory));
    return lost_and_found_ = inode;
  }
  return Error(ErrorCode::kNoSpace, "no name for lost+found");
}

Status Repairer::Reconnect(InodeId inode) {
  const auto found = LostAndFound();
  if (!found.ok()) {
    lost_and_found_ = InodeId{};
    return found.error();
  }
  // It is there now, whatever becomes of the rest.
  TRY(records_.EndStep());
  TRY_ASSIGN(InodeRecord record, records_.GetInode(inode));
  const auto entry = std::ranges::lower_bound(tables().inodes, inode, {},
                                              &InodeEntry::inode);
  const bool is_directory = S_ISDIR(record.mode);
  record.link_count = 1;
  if (is_directory) {
    record.link_count = 2;
    if (entry != tables().inodes.end() && entry->inode == inode)
      record.link_count += entry->subdirectory_count;
    record.parent = *found;
  }
  records_.PutInode(inode, record);
  records_.Delete(OrphanKey(inode));
  return AddEntry(*found, StrCat("#", inode), inode,
                  static_cast<uint8_t>(record.mode >> 12));
}

Status Repairer::MoveEntry(InodeId directory, uint64_t cookie, bool suffixed) {
  TRY_ASSIGN(const auto value, records_.Get(DentryKey(directory, cookie)));
  if (!value) return OkStatus();
  TRY_ASSIGN(const DentryRecord dentry, DecodeDentry(*value));
  records_.Delete(DentryKey(directory, cookie));
  for (int number = suffixed ? 1 : 0; number <= kSuffixMax; ++number) {
    const std::string name =
        number == 0 ? dentry.name : WithSuffix(dentry.name, number);
    TRY_ASSIGN(const uint64_t free, FreeCookie(directory, name));
    if (free == 0) continue;
    records_.Put(DentryKey(directory, free),
                 EncodeDentry({name, dentry.inode, dentry.type}));
    return OkStatus();
  }
  return Error(ErrorCode::kNoSpace, StrCat("no name for inode ", dentry.inode));
}

namespace {

// Those of one child; they are sorted by it. (std::ranges::equal_range is more than clang
// 14 can take.)
auto RangeOfLinks(const std::vector<LinkEntry>& links, InodeId child) {
  return std::pair(std::ranges::lower_bound(links, child, {}, &LinkEntry::child),
                   std::ranges::upper_bound(links, child, {}, &LinkEntry::child));
}

}  // namespace

Status Repairer::KeepOneEntry(InodeId directory) {
  TRY_ASSIGN(const InodeRecord record, records_.GetInode(directory));
  const auto [first, last] = RangeOfLinks(tables().links, directory);
  const auto named = std::ranges::find(first, last, record.parent, &LinkEntry::parent);
  const auto kept = named != last ? named : first;
  for (auto link = first; link != last; ++link)
    if (link != kept) records_.Delete(DentryKey(link->parent, link->cookie));
  return records_.EditInode(
      directory, [&](InodeRecord& changed) { changed.parent = kept->parent; });
}

Status Repairer::CutCycle(InodeId directory) {
  const auto [first, last] = RangeOfLinks(tables().links, directory);
  for (auto link = first; link != last; ++link)
    records_.Delete(DentryKey(link->parent, link->cookie));
  const Status step = records_.EndStep();
  return step.ok() ? Reconnect(directory) : step;
}

Status Repairer::RebuildRoot() {
  InodeRecord root;
  const auto before = records_.GetInode(kRootInode);
  if (before.ok()) {
    root = *before;
  } else if (before.Is(ErrorCode::kNotFound)) {
    root.mode = 0755;
    root.atime = root.mtime = root.ctime = root.btime = {superblock().created_s, 0};
  } else {
    return before.error();
  }
  root.mode = S_IFDIR | (root.mode & 07777);
  if (!before.ok() || !S_ISDIR(before->mode)) {
    root.link_count = 2;
    root.size_bytes = 0;
    root.allocated_bytes = 0;
    root.rdev = 0;
    root.symlink_target.clear();
  }
  root.parent = kRootInode;
  records_.PutInode(kRootInode, root);
  return OkStatus();
}

}  // namespace cofs
