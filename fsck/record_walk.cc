// Pass 3: every record by itself and against its inode, in one walk in key order.
#include <sys/stat.h>

#include <tuple>

#include "base/log.h"
#include "extent_map/records.h"
#include "fsck/check_context.h"

namespace cofs {
namespace {

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
  // Where a damaged extent begins, and the next one: what lies between is lost.
  struct Gap {
    FileOffset begin, end{kFileBytesMax};
    size_t finding = RepairPlan::kNoFinding;
  };
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
    std::vector<Gap> gaps;
    std::string damaged_value;  // of the inode record
    std::string damage;
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
  void VisitScrub(std::string_view value);
  void PlanGaps();
  void TrimOverlap(const Extent& extent);
  void Rebuild(FindingId id, std::string text);
  Fix DeletionOfAll(KeyRange range, std::string what) const;
  void BeginGroup(InodeId inode);
  void EndGroup();
  void CheckGroup();
  void CheckFileGroup();
  void CheckCounter();
  template <typename Change>
  Fix InodeEdit(Change change) const {
    return [inode = group_.inode, change](Repairer& repairer) {
      return repairer.records().EditInode(inode, change);
    };
  }

  Report& report_;
  Tables& tables_;
  CheckContext& context_;
  Group group_;
  bool has_counter_ = false;
  std::optional<std::string> counter_damage_;
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
      context_.Find(FindingId::kUnknownRecord, {}, key.error().context(),
                    FixStage::kRecords, DeletionOf(cursor.key()));
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
        counter_damage_ = next.error().context();
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
        context_.Find(FindingId::kXattrDamaged, key.inode,
                      StrCat("attribute \"", Printable(key.xattr_name), "\" has ",
                             value.size(), " bytes"),
                      FixStage::kRecords, DeletionOf(XattrKey(key.inode, key.xattr_name)));
      return;
    case RecordKind::kOrphan:
      EndGroup();
      return VisitOrphan(key, value);
    case RecordKind::kShared:
      return VisitShared(key, value);
    case RecordKind::kChecksums:
      return;  // pass 5
    case RecordKind::kScrub:
      return VisitScrub(value);
  }
}

void RecordWalk::VisitDentry(const ParsedKey& key, std::string_view value) {
  ++group_.entry_count;
  const auto dentry = DecodeDentry(value);
  if (!dentry.ok()) {
    context_.Find(FindingId::kDentryDamaged, key.inode,
                  StrCat("entry at cookie ", key.position, ": ", dentry.error().context()),
                  FixStage::kRecords, DeletionOf(DentryKey(key.inode, key.position)));
    return;
  }
  tables_.links.push_back({dentry->inode, key.inode, key.position, dentry->type});
  if (dentry->type == kTypeDirectory) ++group_.subdirectory_count;

  const uint64_t base = CookieBase(context_.superblock.name_hash_key, dentry->name);
  if (key.position - key.position % kCollisionIndexCount != base)
    context_.Find(FindingId::kEntryCookie, key.inode,
                  StrCat("entry \"", Printable(dentry->name), "\" is at cookie ",
                         key.position, ", its hash begins at ", base),
                  FixStage::kRecords, [directory = key.inode, cookie = key.position](
                                          Repairer& repairer) {
                    return repairer.MoveEntry(directory, cookie, /*suffixed=*/false);
                  });
  if (base != group_.bucket) {
    group_.bucket = base;
    group_.bucket_names.clear();
  }
  if (std::ranges::find(group_.bucket_names, dentry->name) != group_.bucket_names.end())
    context_.Find(FindingId::kEntryDuplicate, key.inode,
                  StrCat("two entries \"", Printable(dentry->name), "\""),
                  FixStage::kRecords, [directory = key.inode, cookie = key.position](
                                          Repairer& repairer) {
                    return repairer.MoveEntry(directory, cookie, /*suffixed=*/true);
                  });
  group_.bucket_names.push_back(dentry->name);
}

void RecordWalk::VisitExtent(const ParsedKey& key, std::string_view value) {
  ++group_.extent_count;
  if (!group_.gaps.empty() && group_.gaps.back().end.value() == kFileBytesMax)
    group_.gaps.back().end = FileOffset{key.position};
  const auto extent = DecodeExtent(FileOffset{key.position}, value);
  if (!extent.ok()) {
    group_.has_damaged_extent = true;
    const size_t finding =
        report_.Add(FindingId::kExtentDamaged, key.inode,
                    StrCat("extent at ", key.position, ": ", extent.error().context()));
    group_.gaps.push_back({FileOffset{key.position}, FileOffset{kFileBytesMax}, finding});
    return;
  }
  if (extent->file_offset < group_.extents_end) TrimOverlap(*extent);
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

// How long a damaged extent was, only the count of the file's allocated bytes may tell.
// What can't be told from a hole is not given out as zeros.
void RecordWalk::PlanGaps() {
  const bool is_known = group_.gaps.size() == 1 && group_.has_record &&
                        !group_.is_damaged &&
                        group_.record.allocated_bytes > group_.extent_bytes;
  for (const Gap& gap : group_.gaps) {
    uint64_t length = gap.end - gap.begin;
    if (is_known)
      length = std::min(length, group_.record.allocated_bytes - group_.extent_bytes);
    context_.plan.Add(FixStage::kRecords, FindingId::kExtentDamaged, gap.finding,
                      [inode = group_.inode, begin = gap.begin, length](
                          Repairer& repairer) {
                        return repairer.PoisonRange(inode, begin, length);
                      });
  }
}

// The one before it stays as it is.
void RecordWalk::TrimOverlap(const Extent& extent) {
  const FileOffset end = group_.extents_end;
  context_.Find(
      FindingId::kExtentOverlap, group_.inode,
      StrCat("extent at ", extent.file_offset, " begins inside the one before it"),
      FixStage::kRecords, [inode = group_.inode, extent, end](Repairer& repairer) -> Status {
        RecordEditor& records = repairer.records();
        records.Delete(ExtentKey(inode, extent.file_offset));
        const Extent rest = Clip(extent, end, extent.file_end());
        if (rest.length_bytes == 0) return OkStatus();
        const std::string key = ExtentKey(inode, rest.file_offset);
        TRY_ASSIGN(const auto taken, records.Get(key));
        if (!taken) records.Put(key, EncodeExtent(rest));
        return OkStatus();
      });
}

void RecordWalk::VisitInode(std::string_view value) {
  group_.has_record = true;
  auto record = DecodeInode(value);
  if (record.ok()) {
    group_.record = std::move(*record);
  } else {
    group_.is_damaged = true;
    group_.damaged_value = value;
    group_.damage = record.error().context();
  }
}

void RecordWalk::VisitOrphan(const ParsedKey& key, std::string_view value) {
  ++report_.totals.orphans;
  if (!value.empty())
    context_.Find(FindingId::kOrphanDamaged, key.inode,
                  StrCat("orphan record with ", value.size(), " bytes"),
                  FixStage::kRecords, [inode = key.inode](Repairer& repairer) {
                    repairer.records().Put(OrphanKey(inode), "");
                    return OkStatus();
                  });
  InodeEntry* inode = tables_.Find(key.inode);
  if (inode == nullptr)
    context_.Find(FindingId::kOrphanDangling, key.inode,
                  "has an orphan record and does not exist", FixStage::kTree,
                  DeletionOf(OrphanKey(key.inode)));
  else
    inode->is_orphan = true;
}

void RecordWalk::VisitShared(const ParsedKey& key, std::string_view value) {
  const auto record = DecodeShared(value);
  if (record.ok())
    tables_.shared.push_back({DeviceOffset{key.position}, *record});
  else
    context_.Find(FindingId::kSharedDamaged, {},
                  StrCat("shared range at ", key.position, ": ", record.error().context()),
                  FixStage::kRecords, DeletionOf(SharedKey(DeviceOffset{key.position})));
}

void RecordWalk::VisitScrub(std::string_view value) {
  if (const auto record = DecodeScrub(value); !record.ok())
    context_.Find(FindingId::kScrubDamaged, {}, record.error().context(),
                  FixStage::kRecords, DeletionOf(ScrubKey()));
}

void RecordWalk::BeginGroup(InodeId inode) {
  if (inode == group_.inode) return;
  EndGroup();
  group_.inode = inode;
}

void RecordWalk::EndGroup() {
  if (group_.inode.value() == 0) return;
  CHECK(tables_.inodes.size() < UINT32_MAX, "more inodes than fsck can count");
  PlanGaps();
  if (!group_.has_record) {
    group_.is_damaged = true;
    Rebuild(FindingId::kRecordsWithoutInode,
            StrCat("does not exist and has ", group_.entry_count, " entries, ",
                   group_.extent_count, " extents, ", group_.xattr_count, " attributes"));
  } else if (group_.is_damaged) {
    Rebuild(FindingId::kInodeDamaged, group_.damage);
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

void RecordWalk::Rebuild(FindingId id, std::string text) {
  Repairer::InodeTraces traces;
  traces.value = std::move(group_.damaged_value);
  traces.entry_count = group_.entry_count;
  traces.subdirectory_count = group_.subdirectory_count;
  traces.xattr_count = group_.xattr_count;
  traces.extent_count = group_.extent_count;
  traces.extent_bytes = group_.extent_bytes;
  traces.written_end = group_.written_end;
  context_.Find(id, group_.inode, std::move(text), FixStage::kRecords,
                [inode = group_.inode, traces = std::move(traces)](Repairer& repairer) {
                  return repairer.RebuildInode(inode, traces);
                });
}

// Deletes what an inode of its type can't have.
Fix RecordWalk::DeletionOfAll(KeyRange range, std::string what) const {
  return [inode = group_.inode, range = std::move(range),
          what = std::move(what)](Repairer& repairer) {
    repairer.Lost(inode, "its " + what + " are removed");
    return repairer.records().DeleteAll(range);
  };
}

void RecordWalk::CheckGroup() {
  const InodeRecord& record = group_.record;
  const uint32_t type = record.mode >> 12;
  if (type == kTypeDirectory) {
    if (record.size_bytes != group_.entry_count)
      context_.Find(
          FindingId::kEntryCount, group_.inode,
          StrCat("size says ", record.size_bytes, " entries, counted ", group_.entry_count),
          FixStage::kCounts, InodeEdit([count = group_.entry_count](InodeRecord& changed) {
            changed.size_bytes = count;
          }));
  } else if (group_.entry_count > 0) {
    context_.Find(FindingId::kEntriesOfNoDirectory, group_.inode,
                  StrCat("is no directory and has ", group_.entry_count, " entries"),
                  FixStage::kRecords,
                  DeletionOfAll(DentryKeys(group_.inode), "entries"));
  }
  if (type == kTypeFile)
    CheckFileGroup();
  else if (group_.extent_count > 0)
    context_.Find(FindingId::kExtentsOfNoFile, group_.inode,
                  StrCat("is no regular file and has ", group_.extent_count, " extents"),
                  FixStage::kRecords,
                  DeletionOfAll(ExtentKeys(group_.inode), "extents"));
  if (group_.xattr_count > 0 && (record.flags & kInodeHasXattr) == 0)
    context_.Find(
        FindingId::kXattrFlag, group_.inode,
        StrCat("has ", group_.xattr_count, " attributes, its flag says none"),
        FixStage::kRecords,
        InodeEdit([](InodeRecord& changed) { changed.flags |= kInodeHasXattr; }));
}

void RecordWalk::CheckFileGroup() {
  const InodeRecord& record = group_.record;
  const FileOffset end{RoundUp(record.size_bytes, kBlockBytes)};
  if (group_.written_end > end)
    context_.Find(FindingId::kExtentBeyondEof, group_.inode,
                  StrCat("written blocks up to ", group_.written_end, ", size is ",
                         record.size_bytes),
                  FixStage::kRecords,
                  InodeEdit([end_of_data = group_.written_end](InodeRecord& changed) {
                    changed.size_bytes = end_of_data.value();
                  }));
  if (!group_.has_damaged_extent && record.allocated_bytes != group_.extent_bytes)
    context_.Find(FindingId::kAllocatedBytes, group_.inode,
                  StrCat("allocated bytes are ", record.allocated_bytes, ", counted ",
                         group_.extent_bytes),
                  FixStage::kCounts,
                  InodeEdit([bytes = group_.extent_bytes](InodeRecord& changed) {
                    changed.allocated_bytes = std::min<uint64_t>(
                        bytes, RoundDown(INT64_MAX, kBlockBytes));
                  }));
}

void RecordWalk::CheckCounter() {
  if (!has_counter_) counter_damage_ = "there is no inode counter";
  const InodeId highest =
      tables_.inodes.empty() ? kFirstFreeInode : tables_.inodes.back().inode;
  // Numbers above the highest may have been given out and deleted: some distance.
  constexpr uint64_t kDistance = 1 << 20;
  const InodeId next =
      std::max(InodeId{highest.value() < UINT64_MAX - kDistance ? highest.value() + kDistance
                                                                : UINT64_MAX},
               kFirstFreeInode);
  const Fix fix = [next](Repairer& repairer) {
    repairer.records().Put(InodeCounterKey(), EncodeInodeCounter(next));
    return OkStatus();
  };
  // A mount takes numbers in advance, and none can be taken here.
  constexpr uint64_t kNextMax = INT64_MAX - kDistance;
  if (!counter_damage_ && next_inode_.value() > kNextMax && next.value() <= kNextMax)
    counter_damage_ = StrCat("there is no number left from ", next_inode_, " on");
  if (counter_damage_)
    context_.Find(FindingId::kCounterDamaged, {}, *counter_damage_, FixStage::kRecords, fix);
  if (next_inode_.value() == 0 || tables_.inodes.empty()) return;
  if (!counter_damage_ && highest >= next_inode_)
    context_.Find(FindingId::kCounterLow, highest,
                  StrCat("is not below the next inode number, ", next_inode_),
                  FixStage::kRecords, fix);
}

}  // namespace

Status WalkRecords(CheckContext& context) { return RecordWalk(context).Run(); }

}  // namespace cofs
