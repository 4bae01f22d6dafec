// Pass 3: every record by itself and against its inode, in one walk in key order.
#include <sys/stat.h>

#include <tuple>

#include "base/log.h"
#include "extent_map/records.h"
#include "fsck/check_context.h"

namespace cofs {
namespace {

constexpr uint32_t kTypeDirectory = S_IFDIR >> 12;
constexpr uint32_t kTypeFile = S_IFREG >> 12;
constexpr uint64_t kStepRecords = 1024;

class RecordWalk {
 public:
  explicit RecordWalk(CheckContext& context)
      : report_(context.report), tables_(context.tables), context_(context) {}

  Status Run();

 private:
  // What is known of the inode whose records the walk is at. In key order its entries
  // and extents come before the inode record, its attributes after it.
  struct Group {
    InodeId inode;
    bool has_record = false;
    bool is_damaged = false;
    bool has_damaged_extent = false;
    InodeRecord record;
    uint64_t entry_count = 0;
    uint32_t subdirectory_count = 0;
    uint64_t xattr_count = 0;
    uint64_t extent_count = 0;
    uint64_t extent_bytes = 0;
    FileOffset extents_end;
    FileOffset written_end;
    // Names whose cookies are of one hash: duplicates can only be among them.
    uint64_t bucket = 0;
    std::vector<std::string> bucket_names;
  };

  Status WalkTo(Cursor& cursor, std::string_view end);
  void Visit(const ParsedKey& key, std::string_view value);
  void VisitDentry(const ParsedKey& key, std::string_view value);
  void VisitExtent(const ParsedKey& key, std::string_view value);
  void VisitInode(std::string_view value);
  void VisitOrphan(const ParsedKey& key, std::string_view value);
  void VisitShared(const ParsedKey& key, std::string_view value);
  void BeginGroup(InodeId inode);
  void EndGroup();
  void CheckGroup();
  void CheckFileGroup();
  void CheckCounter();

  Report& report_;
  Tables& tables_;
  CheckContext& context_;
  Group group_;
  bool has_counter_ = false;
  InodeId next_inode_;  // 0: not known
  uint64_t record_count_ = 0;
};

Status RecordWalk::Run() {
  const auto cursor = context_.store.NewCursor();
  cursor->Seek("");
  TRY(WalkTo(*cursor, AllChecksums().first));
  EndGroup();
  CheckCounter();
  // The checksums in between are of pass 5.
  cursor->Seek(AllChecksums().last);
  TRY(WalkTo(*cursor, ""));

  std::ranges::sort(tables_.links, [](const LinkEntry& a, const LinkEntry& b) {
    return std::tie(a.child, a.parent, a.cookie) < std::tie(b.child, b.parent, b.cookie);
  });
  std::ranges::sort(tables_.extents, [](const PlacedExtent& a, const PlacedExtent& b) {
    return std::tie(a.device_offset, a.inode_index, a.file_offset) <
           std::tie(b.device_offset, b.inode_index, b.file_offset);
  });
  report_.totals.entries = tables_.links.size();
  report_.totals.extents = tables_.extents.size();
  return context_.Step({3, "records", next_inode_.value(), next_inode_.value()});
}

// Up to the first key that is not below `end`; to the last one if that is empty.
Status RecordWalk::WalkTo(Cursor& cursor, std::string_view end) {
  for (; cursor.valid() && (end.empty() || cursor.key() < end); cursor.Next()) {
    const auto key = ParseKey(cursor.key());
    if (key.ok())
      Visit(*key, cursor.value());
    else
      report_.Add(FindingId::kUnknownRecord, key.error().context());
    if (++record_count_ % kStepRecords == 0)
      TRY(context_.Step({3, "records", std::min(group_.inode, next_inode_).value(),
                         next_inode_.value()}));
  }
  return cursor.valid() ? OkStatus() : cursor.status();
}

void RecordWalk::Visit(const ParsedKey& key, std::string_view value) {
  switch (key.kind) {
    case RecordKind::kInodeCounter: {
      has_counter_ = true;
      const auto next = DecodeInodeCounter(value);
      if (next.ok())
        next_inode_ = *next;
      else
        report_.Add(FindingId::kCounterDamaged, next.error().context());
      return;
    }
    case RecordKind::kInode:
      BeginGroup(key.inode);
      return VisitInode(value);
    case RecordKind::kDentry:
      BeginGroup(key.inode);
      return VisitDentry(key, value);
    case RecordKind::kExtent:
      BeginGroup(key.inode);
      return VisitExtent(key, value);
    case RecordKind::kXattr:
      BeginGroup(key.inode);
      ++group_.xattr_count;
      if (value.size() > kXattrValueBytesMax)
        report_.Add(FindingId::kXattrDamaged, key.inode,
                    StrCat("attribute \"", Printable(key.xattr_name), "\" has ",
                           value.size(), " bytes"));
      return;
    case RecordKind::kOrphan:
      EndGroup();
      return VisitOrphan(key, value);
    case RecordKind::kShared:
      return VisitShared(key, value);
    case RecordKind::kChecksums:
      return;  // pass 5
  }
}

void RecordWalk::VisitDentry(const ParsedKey& key, std::string_view value) {
  ++group_.entry_count;
  const auto dentry = DecodeDentry(value);
  if (!dentry.ok()) {
    report_.Add(FindingId::kDentryDamaged, key.inode,
                StrCat("entry at cookie ", key.position, ": ", dentry.error().context()));
    return;
  }
  tables_.links.push_back({dentry->inode, key.inode, key.position, dentry->type});
  if (dentry->type == kTypeDirectory) ++group_.subdirectory_count;

  const uint64_t base = CookieBase(context_.superblock.name_hash_key, dentry->name);
  if (key.position - key.position % kCollisionIndexCount != base)
    report_.Add(FindingId::kEntryCookie, key.inode,
                StrCat("entry \"", Printable(dentry->name), "\" is at cookie ",
                       key.position, ", its hash begins at ", base));
  if (base != group_.bucket) {
    group_.bucket = base;
    group_.bucket_names.clear();
  }
  if (std::ranges::find(group_.bucket_names, dentry->name) != group_.bucket_names.end())
    report_.Add(FindingId::kEntryDuplicate, key.inode,
                StrCat("two entries \"", Printable(dentry->name), "\""));
  group_.bucket_names.push_back(dentry->name);
}

void RecordWalk::VisitExtent(const ParsedKey& key, std::string_view value) {
  ++group_.extent_count;
  const auto extent = DecodeExtent(FileOffset{key.position}, value);
  if (!extent.ok()) {
    group_.has_damaged_extent = true;
    report_.Add(FindingId::kExtentDamaged, key.inode,
                StrCat("extent at ", key.position, ": ", extent.error().context()));
    return;
  }
  if (extent->file_offset < group_.extents_end)
    report_.Add(FindingId::kExtentOverlap, key.inode,
                StrCat("extent at ", key.position, " begins inside the one before it"));
  group_.extents_end = std::max(group_.extents_end, extent->file_end());
  group_.extent_bytes += extent->length_bytes;
  if (!extent->unwritten())
    group_.written_end = std::max(group_.written_end, extent->file_end());

  PlacedExtent placed;
  placed.device_offset = extent->device_offset;
  placed.file_offset = extent->file_offset;
  placed.length_bytes = extent->length_bytes;
  placed.inode_index = static_cast<uint32_t>(tables_.inodes.size());  // as EndGroup adds it
  placed.flags = static_cast<uint8_t>((extent->unwritten() ? kPlacedUnwritten : 0) |
                                      (extent->shared() ? kPlacedShared : 0));
  tables_.extents.push_back(placed);
  tables_.longest_extent_bytes =
      std::max(tables_.longest_extent_bytes, placed.length_bytes);
}

void RecordWalk::VisitInode(std::string_view value) {
  group_.has_record = true;
  auto record = DecodeInode(value);
  if (record.ok()) {
    group_.record = std::move(*record);
  } else {
    group_.is_damaged = true;
    report_.Add(FindingId::kInodeDamaged, group_.inode, record.error().context());
  }
}

void RecordWalk::VisitOrphan(const ParsedKey& key, std::string_view value) {
  ++report_.totals.orphans;
  if (!value.empty())
    report_.Add(FindingId::kOrphanDamaged, key.inode,
                StrCat("orphan record with ", value.size(), " bytes"));
  InodeEntry* inode = tables_.Find(key.inode);
  if (inode == nullptr)
    report_.Add(FindingId::kOrphanDangling, key.inode,
                "has an orphan record and does not exist");
  else
    inode->is_orphan = true;
}

void RecordWalk::VisitShared(const ParsedKey& key, std::string_view value) {
  const auto record = DecodeShared(value);
  if (record.ok())
    tables_.shared.push_back({DeviceOffset{key.position}, *record});
  else
    report_.Add(FindingId::kSharedDamaged, StrCat("shared range at ", key.position, ": ",
                                                  record.error().context()));
}

void RecordWalk::BeginGroup(InodeId inode) {
  if (inode == group_.inode) return;
  EndGroup();
  group_.inode = inode;
}

void RecordWalk::EndGroup() {
  if (group_.inode.value() == 0) return;
  CHECK(tables_.inodes.size() < UINT32_MAX, "more inodes than fsck can count");
  if (!group_.has_record) {
    group_.is_damaged = true;
    report_.Add(FindingId::kRecordsWithoutInode, group_.inode,
                StrCat("does not exist and has ", group_.entry_count, " entries, ",
                       group_.extent_count, " extents, ", group_.xattr_count,
                       " attributes"));
  }
  if (!group_.is_damaged) CheckGroup();

  InodeEntry entry;
  entry.inode = group_.inode;
  entry.parent = group_.record.parent;
  entry.link_count = group_.record.link_count;
  entry.subdirectory_count = group_.subdirectory_count;
  entry.type = static_cast<uint8_t>(group_.record.mode >> 12);
  entry.is_damaged = group_.is_damaged;
  entry.has_entries = group_.entry_count > 0;
  tables_.inodes.push_back(entry);
  ++report_.totals.inodes;
  if (entry.type == kTypeDirectory) ++report_.totals.directories;
  group_ = Group{};
}

void RecordWalk::CheckGroup() {
  const InodeRecord& record = group_.record;
  const uint32_t type = record.mode >> 12;
  if (type == kTypeDirectory) {
    if (record.size_bytes != group_.entry_count)
      report_.Add(FindingId::kEntryCount, group_.inode,
                  StrCat("size says ", record.size_bytes, " entries, counted ",
                         group_.entry_count));
  } else if (group_.entry_count > 0) {
    report_.Add(FindingId::kEntriesOfNoDirectory, group_.inode,
                StrCat("is no directory and has ", group_.entry_count, " entries"));
  }
  if (type == kTypeFile)
    CheckFileGroup();
  else if (group_.extent_count > 0)
    report_.Add(FindingId::kExtentsOfNoFile, group_.inode,
                StrCat("is no regular file and has ", group_.extent_count, " extents"));
  if (group_.xattr_count > 0 && (record.flags & kInodeHasXattr) == 0)
    report_.Add(FindingId::kXattrFlag, group_.inode,
                StrCat("has ", group_.xattr_count, " attributes, its flag says none"));
}

void RecordWalk::CheckFileGroup() {
  const InodeRecord& record = group_.record;
  const FileOffset end{RoundUp(record.size_bytes, kBlockBytes)};
  if (group_.written_end > end)
    report_.Add(FindingId::kExtentBeyondEof, group_.inode,
                StrCat("written blocks up to ", group_.written_end, ", size is ",
                       record.size_bytes));
  if (!group_.has_damaged_extent && record.allocated_bytes != group_.extent_bytes)
    report_.Add(FindingId::kAllocatedBytes, group_.inode,
                StrCat("allocated bytes are ", record.allocated_bytes, ", counted ",
                       group_.extent_bytes));
}

void RecordWalk::CheckCounter() {
  if (!has_counter_)
    report_.Add(FindingId::kCounterDamaged, "there is no inode counter");
  if (next_inode_.value() == 0 || tables_.inodes.empty()) return;
  const InodeId highest = tables_.inodes.back().inode;
  if (highest >= next_inode_)
    report_.Add(FindingId::kCounterLow, highest,
                StrCat("is not below the next inode number, ", next_inode_));
}

}  // namespace

Status WalkRecords(CheckContext& context) { return RecordWalk(context).Run(); }

}  // namespace cofs
