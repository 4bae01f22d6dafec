// Pass 4: entries against inodes.
#include <sys/stat.h>

#include "base/log.h"
#include "extent_map/records.h"
#include "fsck/check_context.h"

namespace cofs {
namespace {

constexpr uint8_t kTypeDirectory = S_IFDIR >> 12;
constexpr uint64_t kStepLinks = 4096;

// States of the search for cycles.
constexpr uint8_t kNotSeen = 0;
constexpr uint8_t kOnPath = 1;
constexpr uint8_t kLeadsOut = 2;

std::string NameOf(const CheckContext& context, const LinkEntry& link) {
  const auto value = context.store.Get(DentryKey(link.parent, link.cookie));
  if (!value.ok() || !value->has_value()) return "?";
  const auto dentry = DecodeDentry(**value);
  return dentry.ok() ? Printable(dentry->name) : "?";
}

void CheckLink(CheckContext& context, const LinkEntry& link) {
  Report& report = context.report;
  InodeEntry* child = context.tables.Find(link.child);
  if (child == nullptr) {
    report.Add(FindingId::kEntryDangling, link.parent,
               StrCat("entry \"", NameOf(context, link), "\" names inode ", link.child,
                      ", which does not exist"));
    return;
  }
  if (child->is_damaged) return;
  if (link.child == kRootInode) {
    report.Add(FindingId::kRootMissing, link.parent,
               StrCat("entry \"", NameOf(context, link), "\" names the root directory"));
    return;
  }
  ++child->counted_links;
  if (link.type != child->type)
    report.Add(FindingId::kEntryType, link.child,
               StrCat("its type is ", unsigned{child->type}, ", the entry \"",
                      NameOf(context, link), "\" in inode ", link.parent, " says ",
                      unsigned{link.type}));
  if (child->type != kTypeDirectory) return;
  if (child->counted_links == 2)
    report.Add(FindingId::kDirectoryParents, link.child,
               StrCat("is a directory with a second entry \"", NameOf(context, link),
                      "\" in inode ", link.parent));
  if (child->counted_links == 1 && child->parent != link.parent)
    report.Add(FindingId::kDirectoryParent, link.child,
               StrCat("its parent is inode ", child->parent, ", its entry is in inode ",
                      link.parent));
}

void CheckRoot(CheckContext& context) {
  const InodeEntry* root = context.tables.Find(kRootInode);
  if (root == nullptr)
    context.report.Add(FindingId::kRootMissing, "there is no root directory");
  else if (!root->is_damaged && root->type != kTypeDirectory)
    context.report.Add(FindingId::kRootMissing, kRootInode, "the root is no directory");
  else if (!root->is_damaged && root->parent != kRootInode)
    context.report.Add(FindingId::kRootMissing, kRootInode,
                       StrCat("the root's parent is inode ", root->parent));
}

void CheckOrphan(CheckContext& context, const InodeEntry& inode) {
  if (inode.link_count > 0 || inode.counted_links > 0)
    context.report.Add(FindingId::kOrphanLinked, inode.inode,
                       StrCat("is an orphan with link count ", inode.link_count, " and ",
                              inode.counted_links, " entries"));
  else if (inode.has_entries)
    context.report.Add(FindingId::kOrphanNotEmpty, inode.inode,
                       "is a removed directory with entries in it");
}

void CheckInode(CheckContext& context, const InodeEntry& inode) {
  Report& report = context.report;
  if (inode.is_damaged) return;
  if (inode.is_orphan) return CheckOrphan(context, inode);
  if (inode.counted_links == 0 && inode.inode != kRootInode) {
    if (inode.link_count == 0)
      report.Add(FindingId::kOrphanMissing, inode.inode,
                 "has no links and no orphan record");
    else
      report.Add(FindingId::kUnreachable, inode.inode,
                 StrCat("has no entry, its link count is ", inode.link_count));
    return;
  }
  const uint64_t counted = inode.type == kTypeDirectory
                               ? uint64_t{2} + inode.subdirectory_count
                               : inode.counted_links;
  if (inode.link_count != counted)
    report.Add(FindingId::kLinkCount, inode.inode,
               StrCat("link count is ", inode.link_count, ", counted ", counted));
}

// Follows each directory to its parent until it meets one that is known to lead out (to
// the root or to a place reported before), or itself.
void CheckCycles(CheckContext& context) {
  std::vector<InodeEntry*> path;
  for (InodeEntry& start : context.tables.inodes) {
    if (start.type != kTypeDirectory) continue;
    path.clear();
    InodeEntry* at = &start;
    while (at != nullptr && at->walk_state == kNotSeen) {
      at->walk_state = kOnPath;
      path.push_back(at);
      const LinkEntry* link =
          at->inode == kRootInode ? nullptr : context.tables.LinkTo(at->inode);
      at = link == nullptr ? nullptr : context.tables.Find(link->parent);
    }
    if (at != nullptr && at->walk_state == kOnPath)
      context.report.Add(FindingId::kDirectoryCycle, at->inode,
                         "is a directory inside itself");
    for (InodeEntry* done : path) done->walk_state = kLeadsOut;
  }
}

}  // namespace

Status CheckTree(CheckContext& context) {
  const uint64_t total = context.tables.links.size();
  for (uint64_t i = 0; i < total; ++i) {
    if (i % kStepLinks == 0) TRY(context.Step({4, "links", i, total}));
    CheckLink(context, context.tables.links[i]);
  }
  CheckRoot(context);
  for (const InodeEntry& inode : context.tables.inodes) CheckInode(context, inode);
  CheckCycles(context);
  return context.Step({4, "links", total, total});
}

void NameFindings(CheckContext& context) {
  constexpr int kDepthMax = 4096;
  for (Finding& finding : context.report.findings()) {
    if (finding.inode.value() == 0) continue;
    std::string path;
    InodeId at = finding.inode;
    for (int depth = 0; at != kRootInode && depth < kDepthMax; ++depth) {
      const LinkEntry* link = context.tables.LinkTo(at);
      if (link == nullptr) break;
      path.insert(0, NameOf(context, *link));
      path.insert(path.begin(), '/');
      at = link->parent;
    }
    if (at == kRootInode) finding.path = path.empty() ? "/" : path;
  }
}

}  // namespace cofs
