// Pass 5: blocks in order of place.
#include <queue>

#include "base/crc32c.h"
#include "extent_map/allocator.h"
#include "extent_map/records.h"
#include "fsck/block_runs.h"
#include "fsck/check_context.h"

namespace cofs {
namespace {

constexpr uint64_t kStepSegments = 4096;
constexpr DeviceOffset kNowhere{UINT64_MAX};

// Another fix of the same stage, or what every repair does first, has the same effect.
Fix RidesAlong() {
  return [](Repairer&) { return OkStatus(); };
}

// A run of blocks over which nothing changes.
struct Segment {
  DeviceOffset begin, end;
  uint64_t owners = 0;    // extents that map it
  uint64_t recorded = 0;  // reference count of its shared range, 0: none
};

// Walks extents and shared ranges in order of place, border by border.
class SpaceSweep {
 public:
  explicit SpaceSweep(CheckContext& context)
      : context_(context),
        extents_(context.tables.extents),
        shared_(context.tables.shared) {}

  Result<UsedSpace> Run() {
    DeviceOffset at;
    for (uint64_t count = 0;; ++count) {
      if (count % kStepSegments == 0)
        TRY(context_.Step({5, "blocks", at.value() / 2, context_.superblock.volume_bytes}));
      while (!active_.empty() && End(active_.top()) <= at) Leave();
      while (next_shared_ < shared_.size() && SharedEnd() <= at) ++next_shared_;
      if (active_.empty()) at = std::max(at, std::min(NextExtent(), SharedBegin()));
      if (at == kNowhere) break;
      while (NextExtent() <= at) Enter();
      const Segment segment = NextSegment(at);
      Visit(segment);
      at = segment.end;
    }
    FlushIssue();
    PlanShared();
    return std::move(space_);
  }

 private:
  DeviceOffset End(uint32_t extent) const { return extents_[extent].end(); }
  struct LaterEnd {
    const std::vector<PlacedExtent>* extents;
    bool operator()(uint32_t a, uint32_t b) const {
      return (*extents)[a].end() > (*extents)[b].end();
    }
  };
  // The extents that cover the current place, the one that ends first on top.
  struct Active : std::priority_queue<uint32_t, std::vector<uint32_t>, LaterEnd> {
    using priority_queue::priority_queue;
    const std::vector<uint32_t>& all() const { return c; }
  };

  DeviceOffset NextExtent() const {
    return next_extent_ < extents_.size() ? extents_[next_extent_].device_offset : kNowhere;
  }
  DeviceOffset SharedBegin() const {
    return next_shared_ < shared_.size() ? shared_[next_shared_].offset : kNowhere;
  }
  DeviceOffset SharedEnd() const {
    return shared_[next_shared_].offset + shared_[next_shared_].record.length_bytes;
  }
  void Count(uint32_t extent, uint64_t step) {
    if ((extents_[extent].flags & kPlacedUnwritten) != 0) unwritten_count_ += step;
    if ((extents_[extent].flags & kPlacedShared) == 0) unflagged_count_ += step;
  }
  void Enter() {
    Count(next_extent_, 1);
    active_.push(next_extent_++);
  }
  void Leave() {
    Count(active_.top(), UINT64_MAX);  // one less
    active_.pop();
  }

  Segment NextSegment(DeviceOffset at) const {
    Segment segment;
    segment.begin = at;
    segment.owners = active_.size();
    segment.end = NextExtent();
    if (!active_.empty()) segment.end = std::min(segment.end, End(active_.top()));
    if (SharedBegin() > at) {
      segment.end = std::min(segment.end, SharedBegin());
    } else {
      segment.recorded = shared_[next_shared_].record.reference_count;
      segment.end = std::min(segment.end, SharedEnd());
    }
    return segment;
  }

  void Visit(const Segment& segment) {
    const DeviceRange range{segment.begin, segment.end - segment.begin};
    AppendRun(space_.used, range);
    if (segment.owners > unwritten_count_) AppendRun(space_.written, range);
    const bool is_exact = segment.recorded != kReferenceCountMax;
    const bool is_recorded =
        segment.recorded != 0 && (!is_exact || segment.recorded == segment.owners);
    // Owners that say they are alone, of blocks that have more: a reference count that is
    // right shows that only the flag is missing.
    if (segment.owners > 1 && unflagged_count_ > 0 && !is_recorded)
      return ReportCrossLinks(segment);
    if (segment.owners > 1)
      AppendShared(range, is_exact ? std::min<uint64_t>(segment.owners, kReferenceCountMax)
                                   : kReferenceCountMax);
    else if (!is_exact)
      AppendShared(range, kReferenceCountMax);
    if (segment.recorded == 0 && segment.owners > 1)
      Issue(FindingId::kSharedMissing, segment);
    else if (segment.recorded != 0 && is_exact && segment.recorded != segment.owners)
      Issue(FindingId::kSharedCount, segment);
    // Blocks of a count that is no longer exact are never freed: their one owner has to say
    // so, too, or they are.
    if (segment.recorded == 0 || segment.owners < (is_exact ? 2 : 1)) return;
    if (unflagged_count_ > 0)
      ReportOwners(FindingId::kSharedFlag, kPlacedShared, 0, segment,
                   "does not say that its blocks are shared", [](InodeId inode,
                                                                 const PlacedExtent& extent) {
                     return FlagEdit(inode, extent.file_offset);
                   });
    if (unwritten_count_ > 0)
      ReportOwners(FindingId::kSharedUnwritten, kPlacedUnwritten, kPlacedUnwritten, segment,
                   "is unwritten and shares its blocks",
                   [](InodeId inode, const PlacedExtent& extent) {
                     return Deletion(inode, extent.file_offset);  // a hole reads the same
                   });
  }

  static Fix FlagEdit(InodeId inode, FileOffset offset) {
    return [inode, offset](Repairer& repairer) -> Status {
      const std::string key = ExtentKey(inode, offset);
      TRY_ASSIGN(const auto value, repairer.records().Get(key));
      auto extent = DecodeExtent(offset, value.value_or(""));
      if (!extent.ok()) return OkStatus();
      extent->flags |= kExtentShared;
      repairer.records().Put(key, EncodeExtent(*extent));
      return OkStatus();
    };
  }
  static Fix Deletion(InodeId inode, FileOffset offset) {
    return [inode, offset](Repairer& repairer) {
      repairer.records().Delete(ExtentKey(inode, offset));
      return OkStatus();
    };
  }

  // All owners that say they are alone get blocks of their own, except for one when there
  // is no other.
  void ReportCrossLinks(const Segment& segment) {
    const PlacedExtent* stays = nullptr;
    bool has_flagged = false;
    for (const uint32_t owner : active_.all()) {
      const PlacedExtent& extent = extents_[owner];
      if ((extent.flags & kPlacedReported) != 0) continue;
      if ((extent.flags & kPlacedShared) != 0) has_flagged = true;
      if (stays == nullptr || &extent < stays) stays = &extent;
    }
    for (const uint32_t owner : active_.all()) {
      PlacedExtent& extent = extents_[owner];
      if ((extent.flags & (kPlacedReported | kPlacedShared)) != 0) continue;
      if (!has_flagged && &extent == stays) continue;
      extent.flags |= kPlacedReported;
      const InodeId inode = InodeOf(extent);
      context_.Find(FindingId::kExtentCrossLinked, inode,
                    StrCat("extent at ", extent.file_offset, " has ",
                           segment.end - segment.begin, " bytes at device offset ",
                           segment.begin, " that also belong to ", OtherOwner(owner)),
                    FixStage::kSpace,
                    [inode, offset = extent.file_offset](Repairer& repairer) {
                      return repairer.CopyExtent(inode, offset);
                    });
    }
  }
  std::string OtherOwner(uint32_t owner) const {
    for (const uint32_t other : active_.all())
      if (other != owner)
        return StrCat("inode ", InodeOf(extents_[other]), " at ",
                      extents_[other].file_offset);
    return "nobody";
  }
  InodeId InodeOf(const PlacedExtent& extent) const {
    return context_.tables.inodes[extent.inode_index].inode;
  }

  // The shared ranges as they should be.
  void AppendShared(DeviceRange range, uint64_t count) {
    if (context_.plan.mode() == RepairMode::kNothing) return;
    const auto owners = static_cast<uint32_t>(count);
    if (!right_.empty() && right_.back().record.reference_count == owners &&
        right_.back().offset + right_.back().record.length_bytes == range.offset)
      right_.back().record.length_bytes += range.length_bytes;
    else
      right_.push_back({range.offset, {range.length_bytes, owners}});
  }

  // One finding for each extent over the current place whose `flag` is `value`.
  void ReportOwners(FindingId id, uint8_t flag, uint8_t value, const Segment& segment,
                    std::string_view what, Fix (*fix)(InodeId, const PlacedExtent&)) {
    for (const uint32_t owner : active_.all()) {
      PlacedExtent& extent = extents_[owner];
      if ((extent.flags & flag) != value || (extent.flags & kPlacedReported) != 0) continue;
      extent.flags |= kPlacedReported;
      const InodeId inode = InodeOf(extent);
      context_.Find(id, inode,
                    StrCat("extent at ", extent.file_offset, " ", what, " (",
                           segment.owners, " owners at ", segment.begin, ")"),
                    FixStage::kSpace, fix(inode, extent));
    }
  }

  // Neighbouring segments with the same fault are one finding.
  void Issue(FindingId id, const Segment& segment) {
    if (issue_.end == segment.begin && issue_id_ == id && issue_.owners == segment.owners &&
        issue_.recorded == segment.recorded && issue_.begin != issue_.end) {
      issue_.end = segment.end;
      return;
    }
    FlushIssue();
    issue_ = segment;
    issue_id_ = id;
    issue_inode_ = active_.empty()
                       ? InodeId{}
                       : context_.tables.inodes[extents_[active_.top()].inode_index].inode;
  }
  void FlushIssue() {
    if (issue_.begin == issue_.end) return;
    const std::string where =
        StrCat(issue_.end - issue_.begin, " bytes at device offset ", issue_.begin);
    const std::string text =
        issue_id_ == FindingId::kSharedMissing
            ? StrCat(where, " are mapped ", issue_.owners, " times without a shared range")
            : StrCat("reference count of ", where, " is ", issue_.recorded, ", counted ",
                     issue_.owners);
    context_.Find(issue_id_, issue_inode_, text, FixStage::kCounts, RidesAlong());
    issue_ = Segment{};
  }

  // One rewrite of all shared ranges repairs whatever was found wrong with them.
  void PlanShared() {
    const Report& report = context_.report;
    for (const FindingId id :
         {FindingId::kSharedMissing, FindingId::kSharedCount, FindingId::kSharedOutside,
          FindingId::kSharedOverlap}) {
      if (report.count(id) == 0) continue;
      context_.plan.Add(FixStage::kCounts, id, RepairPlan::kNoFinding,
                        [ranges = std::move(right_)](Repairer& repairer) {
                          return repairer.RewriteShared(ranges);
                        });
      return;
    }
  }

  CheckContext& context_;
  std::vector<PlacedExtent>& extents_;
  const std::vector<SharedRange>& shared_;
  Active active_{LaterEnd{&context_.tables.extents}};
  uint32_t next_extent_ = 0;
  size_t next_shared_ = 0;
  uint64_t unwritten_count_ = 0;  // of the active extents
  uint64_t unflagged_count_ = 0;
  UsedSpace space_;
  std::vector<SharedRange> right_;
  Segment issue_;
  FindingId issue_id_{};
  InodeId issue_inode_;
};

bool IsInDataArea(const CheckContext& context, DeviceRange range) {
  return range.offset >= kReservedEnd &&
         range.end().value() <= context.superblock.volume_bytes;
}

std::vector<DeviceRange> SortedPool(const CheckContext& context) {
  std::vector<DeviceRange> pool = context.store.PoolRanges();
  std::ranges::sort(pool, {}, &DeviceRange::offset);
  return pool;
}

// Takes out the extents that are where none may be.
void RemoveMisplacedExtents(CheckContext& context) {
  const std::vector<DeviceRange> pool = SortedPool(context);
  std::erase_if(context.tables.extents, [&](const PlacedExtent& extent) {
    const DeviceRange range{extent.device_offset, extent.length_bytes};
    FindingId id = FindingId::kExtentOutside;
    std::string_view where = "outside the volume's data area";
    if (IsInDataArea(context, range)) {
      if (!Overlaps(pool, range)) return false;
      id = FindingId::kExtentInPool;
      where = "in the metadata pool";
    }
    const InodeId inode = context.tables.inodes[extent.inode_index].inode;
    const bool is_unwritten = (extent.flags & kPlacedUnwritten) != 0;
    context.Find(id, inode,
                 StrCat("extent at ", extent.file_offset, " (", extent.length_bytes,
                        " bytes at device offset ", extent.device_offset, ") is ", where),
                 FixStage::kSpace,
                 [inode, offset = extent.file_offset,
                  length = is_unwritten ? 0 : extent.length_bytes](Repairer& repairer) {
                   return repairer.PoisonRange(inode, offset, length);
                 });
    return true;
  });
}

// Takes out, or shortens, the shared ranges that are where none may be.
void RemoveMisplacedShared(CheckContext& context) {
  DeviceOffset done;
  std::erase_if(context.tables.shared, [&](SharedRange& shared) {
    const DeviceRange range{shared.offset, shared.record.length_bytes};
    if (!IsInDataArea(context, range)) {
      context.Find(FindingId::kSharedOutside, {},
                   StrCat("shared range of ", range.length_bytes, " bytes at ",
                          range.offset, " is outside the volume's data area"),
                   FixStage::kCounts, RidesAlong());
      return true;
    }
    if (range.offset < done) {
      context.Find(FindingId::kSharedOverlap, {},
                   StrCat("shared range at ", range.offset,
                          " begins inside the one before it"),
                   FixStage::kCounts, RidesAlong());
      if (range.end() <= done) return true;
      shared.offset = done;
      shared.record.length_bytes = range.end() - done;
    }
    done = range.end();
    return false;
  });
}

// What `a` covers and `b` does not; both sorted and disjoint.
std::vector<DeviceRange> Difference(const std::vector<DeviceRange>& a,
                                    const std::vector<DeviceRange>& b) {
  std::vector<DeviceRange> out;
  size_t i = 0;
  for (const DeviceRange& range : a) {
    DeviceOffset at = range.offset;
    while (i < b.size() && b[i].end() <= at) ++i;
    for (size_t j = i; j < b.size() && b[j].offset < range.end(); ++j) {
      if (at < b[j].offset) AppendRun(out, {at, b[j].offset - at});
      at = std::max(at, b[j].end());
    }
    if (at < range.end()) AppendRun(out, {at, range.end() - at});
  }
  return out;
}

// Reserved region, pool and extents, joined.
std::vector<DeviceRange> AllUsed(const CheckContext& context, const UsedSpace& space) {
  std::vector<DeviceRange> all = SortedPool(context);
  all.push_back({DeviceOffset{}, kReservedEnd.value()});
  all.insert(all.end(), space.used.begin(), space.used.end());
  std::ranges::sort(all, {}, &DeviceRange::offset);
  std::vector<DeviceRange> out;
  for (const DeviceRange& range : all) AppendRun(out, range);
  return out;
}

Result<std::unique_ptr<Allocator>> ReadImage(const CheckContext& context) {
  const Superblock& superblock = context.superblock;
  std::string image(superblock.allocator_image.length_bytes, '\0');
  TRY(context.device.Read(superblock.allocator_image.offset, image));
  if (Crc32c(image.data(), image.size()) != superblock.allocator_image_crc32c)
    return Error(ErrorCode::kCorrupt, "allocator image: checksum does not match");
  return Allocator::DecodeImage(image, superblock.volume_bytes);
}

}  // namespace

Result<UsedSpace> CheckSpace(CheckContext& context) {
  RemoveMisplacedExtents(context);
  RemoveMisplacedShared(context);
  TRY_ASSIGN(UsedSpace space, SpaceSweep(context).Run());
  for (const DeviceRange& range : space.used)
    context.report.totals.used_bytes += range.length_bytes;
  return space;
}

std::unique_ptr<Allocator> FreeSpaceOf(const CheckContext& context,
                                       const UsedSpace& space) {
  const uint64_t volume_bytes = context.superblock.volume_bytes;
  auto allocator = std::make_unique<Allocator>(volume_bytes);
  for (const DeviceRange& range :
       Difference({{DeviceOffset{}, volume_bytes}}, AllUsed(context, space))) {
    const Status released = allocator->Release(range);
    CHECK(released.ok(), released.error().ToString());
  }
  return allocator;
}

Status CheckAllocatorImage(CheckContext& context, const UsedSpace& space) {
  const Superblock& superblock = context.superblock;
  if (!superblock.clean || superblock.allocator_image.length_bytes == 0) return OkStatus();
  // Every repair begins with dropping the image: the next mount rebuilds it.
  auto find = [&](FindingId id, std::string text) {
    context.Find(id, {}, std::move(text), FixStage::kRecords, RidesAlong());
  };
  const std::vector<DeviceRange> used = AllUsed(context, space);
  if (Overlaps(used, superblock.allocator_image)) {
    find(FindingId::kImageOverlaps,
         StrCat("the allocator image at ", superblock.allocator_image.offset,
                " lies in blocks that are in use"));
    return OkStatus();
  }
  const auto image = ReadImage(context);
  if (!image.ok()) {
    find(FindingId::kImageDamaged, image.error().ToString());
    return OkStatus();
  }
  // The image may call its own blocks free or used.
  const std::vector<DeviceRange> image_free = (*image)->FreeRuns();
  const std::vector<DeviceRange> image_self{superblock.allocator_image};
  const std::vector<DeviceRange> volume{{DeviceOffset{}, superblock.volume_bytes}};
  const std::vector<DeviceRange> unused = Difference(volume, used);
  const std::vector<DeviceRange> leaked =
      Difference(Difference(unused, image_free), image_self);
  auto sum = [](const std::vector<DeviceRange>& ranges) {
    uint64_t bytes = 0;
    for (const DeviceRange& range : ranges) bytes += range.length_bytes;
    return bytes;
  };
  for (const DeviceRange& range : Difference(image_free, unused))
    AddBlockFinding(context, FindingId::kImageFreesUsed, range,
                    "the allocator image calls blocks in use free", FixStage::kRecords,
                    [](DeviceRange) { return RidesAlong(); });
  if (!leaked.empty())
    find(FindingId::kImageLeaks,
         StrCat("the allocator image calls ", sum(leaked),
                " unused bytes used, the first at ", leaked.front().offset));
  return OkStatus();
}

}  // namespace cofs
