#include "tests/image/image_judge.h"

#include <linux/falloc.h>
#include <sys/stat.h>

#include <algorithm>
#include <deque>

#include "device/fault_device.h"
#include "fsck/volume_check.h"
#include "fsck/volume_repair.h"
#include "tests/core/test_volume.h"

namespace cofs {
namespace {

constexpr size_t kEntriesMax = 20'000;
constexpr uint64_t kWholeBytesMax = 4 << 20;
constexpr uint64_t kPieceBytes = 1 << 20;

CheckOptions WithData() {
  CheckOptions options;
  options.data = true;
  return options;
}

std::string FirstFindings(const Report& report) {
  std::string text;
  int count = 0;
  for (const Finding& finding : report.findings()) {
    if (finding.repaired || KindOf(finding.id).severity != Severity::kError) continue;
    if (++count > 3) break;
    text += "; " + Describe(finding);
  }
  return text;
}

// Those that no repair can do anything about.
uint64_t NeverRepairable(const Report& report) {
  uint64_t count = 0;
  for (size_t i = 0; i < kFindingKindCount; ++i) {
    const auto id = static_cast<FindingId>(i);
    if (KindOf(id).policy == RepairPolicy::kNever) count += report.count(id);
  }
  return count;
}

bool IsOfRepair(const std::string& name) {
  return name == "lost+found" || name.starts_with("#") ||
         name.find('~') != std::string::npos;
}

}  // namespace

void ImageJudge::Complain(std::string what) {
  complaints_.push_back(StrCat(stage_name_, ": ", what));
}

void ImageJudge::Judge(const MemoryDevice& image) {
  CheckOnly(image);
  MountAndUse(image);
  Repair(image);
}

void ImageJudge::CheckOnly(const MemoryDevice& image) {
  stage_(stage_name_ = "fsck -n");
  const auto copy = image.Fork();
  FaultDevice device(*copy);
  for (FaultKind kind : {FaultKind::kWrite, FaultKind::kWriteZeroes, FaultKind::kDiscard})
    device.FailKind(kind);
  const auto report = CheckVolume(device, WithData());
  if (device.failed_count() != 0) Complain("a check wrote to the volume");
  if (report.ok()) error_count_ = report->error_count();
  if (error_count_.value_or(1) != 0) ++counts_.found_by_fsck;
}

std::unique_ptr<Volume> ImageJudge::Mount(MemoryDevice& device, bool read_only) {
  VolumeOptions options = QuietOptions();
  options.read_only = read_only;
  auto volume = Volume::Mount(Borrow(device), options);
  if (!volume.ok() && error_count_ == 0)
    Complain("fsck finds nothing, but: " + volume.error().ToString());
  return volume.ok() ? std::move(*volume) : nullptr;
}

void ImageJudge::MountAndUse(const MemoryDevice& image) {
  stage_(stage_name_ = "mount -o ro");
  if (const auto copy = image.Fork(); auto volume = Mount(*copy, /*read_only=*/true)) {
    ReadAll(*volume, {});
    volume->Unmount().IgnoreError("a damaged volume");
  }
  stage_(stage_name_ = "mount");
  const auto copy = image.Fork();
  auto volume = Mount(*copy);
  if (volume == nullptr) return;
  ++counts_.mounted;
  ReadAll(*volume, {});
  stage_(stage_name_ = "use");
  Excuses used;
  used.inodes = Use(*volume);
  stage_(stage_name_ = "read what was used");
  ReadAll(*volume, used);
  stage_(stage_name_ = "unmount");
  const bool is_clean = volume->Unmount().ok();
  volume.reset();
  stage_(stage_name_ = "mount again");
  if (auto again = Mount(*copy)) {
    ReadAll(*again, used);
    again->Unmount().IgnoreError("a damaged volume");
  }
  if (error_count_ != 0 || !is_clean) return;
  stage_(stage_name_ = "fsck -n after use");
  const auto report = CheckVolume(*copy, WithData());
  if (!report.ok() || report->error_count() != 0)
    Complain("it was sound before" +
             (report.ok() ? FirstFindings(*report) : report.error().ToString()));
}

void ImageJudge::Repair(const MemoryDevice& image) {
  stage_(stage_name_ = "fsck -y");
  const auto copy = image.Fork();
  const auto outcome = RepairVolume(*copy, RepairMode::kAll, WithData());
  if (!outcome.ok() || outcome->error) {
    ++counts_.not_repairable;
    // It has said so; what is there must not be worse.
    return;
  }
  const Report& report = outcome->report;
  ++(report.error_count() == 0 ? counts_.repaired : counts_.not_repairable);
  // Of superblocks that lead nowhere, or are of two volumes, nothing is touched.
  const bool can_go_on = report.count(FindingId::kVolumeTruncated) == 0 &&
                         report.count(FindingId::kSuperblockDisagree) == 0 &&
                         report.count(FindingId::kSuperblockBothLost) == 0;
  if (can_go_on && report.error_count() > NeverRepairable(report))
    Complain("left, though it can be repaired" + FirstFindings(report));
  ExpectRepaired(*copy, report);
}

void ImageJudge::ExpectRepaired(MemoryDevice& device, const Report& report) {
  stage_(stage_name_ = "second fsck -y");
  const auto second = RepairVolume(device, RepairMode::kAll, WithData());
  if (!second.ok()) return Complain(second.error().ToString());
  if (second->error) return Complain(second->error->ToString());
  if (second->report.repaired_count() != 0) {
    for (const Finding& finding : second->report.findings())
      if (finding.repaired) Complain("repaired only now: " + Describe(finding));
  }
  if (second->report.error_count() != report.error_count())
    Complain(StrCat(report.error_count(), " errors left, then ",
                    second->report.error_count(), FirstFindings(second->report)));

  Excuses excuses;
  excuses.repaired = true;
  for (const Loss& loss : report.losses()) {
    if (loss.inode.value() == 0) excuses.all = true;
    excuses.inodes.insert(loss.inode);
  }
  // Whose blocks were taken as they are, or given to one of several owners.
  for (const Finding& finding : report.findings()) {
    if (finding.id == FindingId::kStoreDamaged) excuses.all = true;
    if (finding.inode.value() == 0 && finding.repaired &&
        KindOf(finding.id).policy == RepairPolicy::kYes)
      excuses.all = true;
    excuses.inodes.insert(finding.inode);
  }
  stage_(stage_name_ = "mount after the repair");
  const bool is_sound = report.error_count() == 0;
  error_count_ = is_sound ? std::optional<uint64_t>(0) : std::nullopt;
  auto volume = Mount(device);
  if (volume == nullptr) return;
  ReadAll(*volume, excuses);
  excuses.inodes.merge(Use(*volume));
  stage_(stage_name_ = "unmount after the repair");
  if (const Status status = volume->Unmount(); !status.ok() && is_sound)
    Complain(status.error().ToString());
  volume.reset();
  stage_(stage_name_ = "fsck -n after the repair and use");
  const auto last = CheckVolume(device, WithData());
  if (!last.ok()) return Complain(last.error().ToString());
  if (is_sound && last->error_count() != 0) Complain("errors" + FirstFindings(*last));
}

// ---- reading ----

void ImageJudge::ExpectFact(const std::string& fact, const Excuses& excuses,
                            InodeId inode) {
  if (!is_strict_ || excuses.all || excuses.inodes.contains(inode)) return;
  if (!facts_.Hold(fact)) Complain("never held this: " + fact.substr(0, 200));
}

void ImageJudge::ReadAll(Volume& volume, const Excuses& excuses) {
  std::set<InodeId> seen{kRootInode};
  std::vector<InodeId> directories{kRootInode};
  size_t entry_count = 0;
  while (!directories.empty()) {
    const InodeId directory = directories.back();
    directories.pop_back();
    std::vector<std::string> names;
    const Status read =
        volume.ReadDirectory(directory, 0, [&](const DirectoryEntry& entry) {
          if (entry.name != "." && entry.name != "..") names.emplace_back(entry.name);
          return ++entry_count < kEntriesMax;
        });
    if (!read.ok()) ++counts_.read_errors;
    std::vector<InodeId> below;
    for (const std::string& name : names)
      ReadEntry(volume, directory, name, excuses, below);
    for (const InodeId id : below)
      if (seen.insert(id).second) directories.push_back(id);
  }
  static_cast<void>(volume.usage());
}

void ImageJudge::ReadEntry(Volume& volume, InodeId directory, const std::string& name,
                           const Excuses& excuses, std::vector<InodeId>& directories) {
  const auto found = volume.Lookup(directory, name);
  if (!found.ok()) {
    ++counts_.read_errors;
    return;
  }
  if (!name.starts_with("used") && !(excuses.repaired && IsOfRepair(name)))
    ExpectFact("name " + name, excuses, found->id);
  if (S_ISDIR(found->record.mode)) {
    directories.push_back(found->id);
    const auto parent = volume.LookupParent(found->id);
    if (parent.ok()) volume.Forget(parent->id, 1);
  }
  if (S_ISREG(found->record.mode)) ReadContent(volume, *found, excuses);
  if (S_ISLNK(found->record.mode)) {
    const auto target = volume.ReadLink(found->id);
    if (target.ok()) ExpectFact("target " + *target, excuses, found->id);
  }
  ReadAttributes(volume, found->id, excuses);
  volume.Forget(found->id, 1);
}

void ImageJudge::ReadContent(Volume& volume, const InodeStat& file,
                             const Excuses& excuses) {
  AlignedBuffer buffer;
  const uint64_t size = file.record.size_bytes;
  if (size <= kWholeBytesMax) {
    std::string bytes;
    for (uint64_t at = 0; at < std::max<uint64_t>(size, 1); at += kPieceBytes) {
      const auto piece = volume.Read(file.id, FileOffset{at}, kPieceBytes, buffer);
      if (!piece.ok()) {
        ++counts_.read_errors;
        return;
      }
      bytes.append(piece->data(), piece->size());
    }
    ++counts_.files_read;
    ExpectFact(ContentFact(file.id, bytes), excuses, file.id);
  } else if (is_strict_ && !excuses.all && !excuses.inodes.contains(file.id)) {
    Complain(StrCat("inode ", file.id, " has ", size, " bytes"));
  }
  // Its first pieces of data, its end, and what the ways of looking at it say.
  uint64_t at = 0;
  for (int i = 0; i < 16; ++i) {
    const auto data = volume.Seek(file.id, FileOffset{at}, SEEK_DATA);
    if (!data.ok()) break;
    volume.Read(file.id, *data, 2 * kBlockBytes, buffer).ok();
    const auto hole = volume.Seek(file.id, *data, SEEK_HOLE);
    if (!hole.ok() || hole->value() <= at) break;
    at = hole->value();
  }
  if (size > 5000) volume.Read(file.id, FileOffset{size - 5000}, 8000, buffer).ok();
  volume.Map(file.id, FileOffset{0}, FileOffset{kFileBytesMax}, 255).ok();
}

void ImageJudge::ReadAttributes(Volume& volume, InodeId inode, const Excuses& excuses) {
  const auto names = volume.ListXattrs(inode);
  if (!names.ok()) {
    ++counts_.read_errors;
    return;
  }
  for (const std::string& name : *names) {
    const auto value = volume.GetXattr(inode, name);
    if (value.ok()) ExpectFact(XattrFact(inode, name, *value), excuses, inode);
  }
}

// ---- using ----

std::set<InodeId> ImageJudge::Use(Volume& volume) {
  std::set<InodeId> touched;
  std::vector<std::pair<InodeId, std::string>> files;  // directory and name
  std::deque<InodeId> directories{kRootInode};
  for (int walked = 0; walked < 12 && !directories.empty(); ++walked) {
    const InodeId directory = directories.front();
    directories.pop_front();
    volume
        .ReadDirectory(directory, 0,
                       [&](const DirectoryEntry& entry) {
                         if (entry.name == "." || entry.name == "..") return true;
                         if (entry.type == (S_IFDIR >> 12))
                           directories.push_back(entry.inode);
                         else
                           files.emplace_back(directory, entry.name);
                         return files.size() < 400;
                       })
        .IgnoreError("a damaged volume");
  }
  const std::string data(70'000, 'u');
  const auto made = volume.Create(kRootInode, "used", File());
  if (made.ok()) {
    touched.insert(made->id);
    volume.Write(made->id, FileOffset{0}, data, {}).IgnoreError("a damaged volume");
    volume.Write(made->id, FileOffset{100'000}, data, {.sync = true})
        .IgnoreError("a damaged volume");
  }
  size_t turn = 0;
  for (const auto& [directory, name] : files) {
    if (++turn % 4 != 0 || turn > 80) continue;
    const auto found = volume.Lookup(directory, name);
    if (!found.ok()) continue;
    const InodeId id = found->id;
    touched.insert(id);
    AttributeChange shorter;
    shorter.size_bytes = found->record.size_bytes / 2;
    shorter.kill_privileges = true;
    switch (turn / 4 % 7) {
      case 0:
        volume.Write(id, FileOffset{5000}, data, {}).IgnoreError("a damaged volume");
        break;
      case 1:
        volume.SetAttributes(id, shorter).ok();
        break;
      case 2:
        volume
            .Allocate(id, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FileOffset{4096},
                      8192)
            .IgnoreError("a damaged volume");
        break;
      case 3:
        if (made.ok())
          volume
              .Clone({.source = id,
                      .source_offset = {},
                      .destination = made->id,
                      .destination_offset = {},
                      .length_bytes = 8192})
              .IgnoreError("a damaged volume");
        break;
      case 4:
        volume.SetXattr(id, "user.used", "x", XattrMode::kSet)
            .IgnoreError("a damaged volume");
        break;
      case 5:
        volume.Rename(directory, name, kRootInode, "used" + name, RenameMode::kReplace)
            .IgnoreError("a damaged volume");
        break;
      default:
        volume.Unlink(directory, name).IgnoreError("a damaged volume");
    }
    volume.Forget(id, 1);
  }
  if (made.ok()) volume.Forget(made->id, 1);
  volume.SyncAll().IgnoreError("a damaged volume");
  volume.DrainRemoved().IgnoreError("a damaged volume");
  return touched;
}

}  // namespace cofs
