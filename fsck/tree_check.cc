// Pass 4: entries against inodes.
#include <sys/stat.h>

#include "base/log.h"
#include "extent_map/records.h"
#include "fsck/check_context.h"

namespace cofs {
namespace {

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

Fix DeletionOf(const LinkEntry& link) {
  return [directory = link.parent, cookie = link.cookie](Repairer& repairer) {
    repairer.records().Delete(DentryKey(directory, cookie));
    return OkStatus();
  };
}

Fix InodeEdit(InodeId inode, std::function<void(InodeRecord&)> change) {
  return [inode, change = std::move(change)](Repairer& repairer) {
    return repairer.records().EditInode(inode, change);
  };
}

// Puts another type into an entry.
Fix TypeEdit(const LinkEntry& link, uint8_t type) {
  return [directory = link.parent, cookie = link.cookie, type](Repairer& repairer) -> Status {
    const std::string key = DentryKey(directory, cookie);
    TRY_ASSIGN(const auto value, repairer.records().Get(key));
    auto dentry = DecodeDentry(value.value_or(""));
    if (!dentry.ok()) return OkStatus();
    dentry->type = type;
    repairer.records().Put(key, EncodeDentry(*dentry));
    return OkStatus();
  };
}

void CheckLink(CheckContext& context, const LinkEntry& link) {
  InodeEntry* child = context.tables.Find(link.child);
  if (child == nullptr) {
    context.Find(FindingId::kEntryDangling, link.parent,
                 StrCat("entry \"", NameOf(context, link), "\" names inode ", link.child,
                        ", which does not exist"),
                 FixStage::kTree, DeletionOf(link));
    return;
  }
  if (child->is_damaged) return;
  if (link.child == kRootInode) {
    context.Find(FindingId::kRootMissing, link.parent,
                 StrCat("entry \"", NameOf(context, link), "\" names the root directory"),
                 FixStage::kTree, DeletionOf(link));
    return;
  }
  ++child->counted_links;
  if (link.type != child->type)
    context.Find(FindingId::kEntryType, link.child,
                 StrCat("its type is ", unsigned{child->type}, ", the entry \"",
                        NameOf(context, link), "\" in inode ", link.parent, " says ",
                        unsigned{link.type}),
                 FixStage::kTree, TypeEdit(link, child->type));
  if (child->type != kTypeDirectory) return;
  if (child->counted_links == 2)
    context.Find(FindingId::kDirectoryParents, link.child,
                 StrCat("is a directory with a second entry \"", NameOf(context, link),
                        "\" in inode ", link.parent),
                 FixStage::kTree, [inode = link.child](Repairer& repairer) {
                   return repairer.KeepOneEntry(inode);
                 });
  if (child->counted_links == 1 && child->parent != link.parent)
    context.Find(FindingId::kDirectoryParent, link.child,
                 StrCat("its parent is inode ", child->parent, ", its entry is in inode ",
                        link.parent),
                 FixStage::kTree, [inode = link.child](Repairer& repairer) {
                   return repairer.KeepOneEntry(inode);
                 });
}

void CheckRoot(CheckContext& context) {
  const InodeEntry* root = context.tables.Find(kRootInode);
  std::string text;
  if (root == nullptr)
    text = "there is no root directory";
  else if (!root->is_damaged && root->type != kTypeDirectory)
    text = "the root is no directory";
  else if (!root->is_damaged && root->parent != kRootInode)
    text = StrCat("the root's parent is inode ", root->parent);
  // In the first stage: lost+found of the next one is in it.
  if (!text.empty())
    context.Find(FindingId::kRootMissing, root == nullptr ? InodeId{} : kRootInode, text,
                 FixStage::kRecords,
                 [](Repairer& repairer) { return repairer.RebuildRoot(); });
}

Fix ReconnectionOf(InodeId inode) {
  return [inode](Repairer& repairer) { return repairer.Reconnect(inode); };
}

void CheckOrphan(CheckContext& context, const InodeEntry& inode) {
  if (inode.link_count > 0 || inode.counted_links > 0)
    context.Find(FindingId::kOrphanLinked, inode.inode,
                 StrCat("is an orphan with link count ", inode.link_count, " and ",
                        inode.counted_links, " entries"),
                 FixStage::kTree,
                 inode.counted_links == 0 ? ReconnectionOf(inode.inode)
                                          : Fix([id = inode.inode](Repairer& repairer) {
                                              repairer.records().Delete(OrphanKey(id));
                                              return OkStatus();
                                            }));
  else if (inode.has_entries)
    context.Find(FindingId::kOrphanNotEmpty, inode.inode,
                 "is a removed directory with entries in it", FixStage::kTree,
                 ReconnectionOf(inode.inode));
}

void CheckInode(CheckContext& context, const InodeEntry& inode) {
  if (inode.is_damaged) return;
  if (inode.is_orphan) return CheckOrphan(context, inode);
  if (inode.counted_links == 0 && inode.inode != kRootInode) {
    if (inode.link_count == 0)
      context.Find(FindingId::kOrphanMissing, inode.inode,
                   "has no links and no orphan record", FixStage::kTree,
                   ReconnectionOf(inode.inode));
    else
      context.Find(FindingId::kUnreachable, inode.inode,
                   StrCat("has no entry, its link count is ", inode.link_count),
                   FixStage::kTree, ReconnectionOf(inode.inode));
    return;
  }
  const uint64_t counted = inode.type == kTypeDirectory
                               ? uint64_t{2} + inode.subdirectory_count
                               : inode.counted_links;
  if (inode.link_count != counted)
    context.Find(FindingId::kLinkCount, inode.inode,
                 StrCat("link count is ", inode.link_count, ", counted ", counted),
                 FixStage::kCounts, InodeEdit(inode.inode, [counted](InodeRecord& changed) {
                   changed.link_count = static_cast<uint32_t>(
                       std::min<uint64_t>(counted, kLinkCountMax));
                 }));
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
      context.Find(FindingId::kDirectoryCycle, at->inode, "is a directory inside itself",
                   FixStage::kTree, [inode = at->inode](Repairer& repairer) {
                     return repairer.CutCycle(inode);
                   });
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
