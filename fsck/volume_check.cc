#include "fsck/volume_check.h"

#include <algorithm>
#include <array>

#include "base/aligned_buffer.h"
#include "extent_map/superblock.h"
#include "fsck/check_context.h"

namespace cofs {
namespace {

Result<Superblock> ReadCopy(BlockDevice& device, int slot) {
  const DeviceOffset place = kSuperblockOffsets[slot];
  if (device.geometry().size_bytes < place.value() + kBlockBytes)
    return Error(ErrorCode::kNotCofs, "the device ends before the superblock");
  AlignedBuffer block(kBlockBytes);
  TRY(device.Read(place, block.span()));
  return DecodeSuperblock({block.data(), kBlockBytes});
}

// Whether two copies are the same or one update apart.
bool Agree(const Superblock& older, const Superblock& newer) {
  if (newer.sequence == older.sequence)
    return EncodeSuperblock(older) == EncodeSuperblock(newer);
  return newer.sequence == older.sequence + 1 && older.uuid == newer.uuid &&
         older.volume_bytes == newer.volume_bytes &&
         older.name_hash_key == newer.name_hash_key &&
         older.created_s == newer.created_s && older.incompat == newer.incompat;
}

}  // namespace

Result<bool> CheckSuperblocks(BlockDevice& device, Report& report, bool& rewrites) {
  rewrites = false;
  const std::array<Result<Superblock>, 2> copies{ReadCopy(device, 0), ReadCopy(device, 1)};
  for (const auto& copy : copies)
    if (copy.Is(ErrorCode::kUnsupportedFormat)) return copy.error();
  if (!copies[0].ok() && !copies[1].ok()) {
    // Damage of one that once was a superblock says more than the other one's absence.
    for (const auto& copy : copies) {
      if (!copy.Is(ErrorCode::kCorrupt)) continue;
      report.Add(FindingId::kSuperblockBothLost,
                 StrCat("no superblock is valid: ", copies[0].error().ToString(), "; ",
                        copies[1].error().ToString()));
      return false;
    }
    return copies[copies[0].Is(ErrorCode::kNotCofs) ? 1 : 0].error();
  }

  const bool first_is_newest =
      copies[0].ok() && (!copies[1].ok() || copies[0]->sequence >= copies[1]->sequence);
  const Superblock& newest = copies[first_is_newest ? 0 : 1].value();
  report.label = newest.label;
  report.uuid = newest.uuid;
  report.marked_clean = newest.clean;
  const auto& other = copies[first_is_newest ? 1 : 0];
  const DeviceOffset other_place = kSuperblockOffsets[first_is_newest ? 1 : 0];
  if (!other.ok()) {
    report.Add(FindingId::kSuperblockLost,
               StrCat("superblock at ", other_place, ": ", other.error().ToString()));
  } else if (!Agree(*other, newest)) {
    report.Add(FindingId::kSuperblockDisagree,
               StrCat("the superblocks disagree: sequence numbers ", other->sequence,
                      " and ", newest.sequence, ", uuids ", other->uuid.ToString(),
                      " and ", newest.uuid.ToString()));
  } else if (other->sequence != newest.sequence) {
    report.Add(FindingId::kSuperblockBehind,
               StrCat("superblock at ", other_place, " is one update behind"));
  }
  const bool is_one_volume = !other.ok() || other->uuid == newest.uuid;
  rewrites = is_one_volume && report.error_count() + report.note_count() > 0;
  if ((newest.ro_compat & ~kKnownRoCompat) != 0)
    return Error(ErrorCode::kUnsupportedFormat,
                 StrCat("features 0x", std::hex, newest.ro_compat));
  if (device.geometry().size_bytes < newest.volume_bytes) {
    report.Add(FindingId::kVolumeTruncated,
               StrCat("the volume has ", newest.volume_bytes, " bytes, the device ",
                      device.geometry().size_bytes));
    return false;
  }
  // Copies of two volumes: neither can be trusted to belong to what is behind them.
  return is_one_volume;
}

Result<bool> CheckStoreFiles(CheckContext& context, ReadProgress& reads) {
  const StoreUsage usage = context.store.usage();
  // Blocks are read for their labels, and once more for RocksDB's own checksums.
  const uint64_t total = 2 * (usage.pool_bytes - usage.pool_free_bytes) + 1;
  TRY(context.Step({2, "store", 0, total}));
  const uint64_t before = context.report.error_count();
  if (context.options.progress)
    reads.Listen([&](uint64_t bytes) {
      context.options.progress({2, "store", std::min(bytes, total - 1), total});
    });
  const Status verified = context.store.VerifyAll([&](const Error& error) {
    context.report.Add(FindingId::kStoreDamaged, error.ToString());
  });
  reads.Listen(nullptr);
  TRY(verified);
  TRY(context.Step({2, "store", total, total}));
  // Records of a damaged file are missing or wrong: nothing more can be told from them.
  return context.report.error_count() == before;
}

Result<UsedSpace> CheckRecords(CheckContext& context) {
  TRY(WalkRecords(context));
  TRY(CheckTree(context));
  TRY_ASSIGN(UsedSpace space, CheckSpace(context));
  TRY(CheckChecksums(context, space));
  TRY(CheckAllocatorImage(context, space));
  return space;
}

namespace {

// Passes 2 to 6.
Status CheckStore(BlockDevice& device, const CheckOptions& options, Report& report) {
  TRY_ASSIGN(const auto slots, SuperblockSlots::Load(device));
  StoreOptions store_options;
  store_options.read_only = true;
  ReadProgress reads(device);  // outlives the store
  TRY_ASSIGN(const auto store, Store::Open(reads, *slots, store_options));
  const Superblock superblock = slots->current();
  RepairPlan plan(RepairMode::kNothing);
  CheckContext context{device, superblock, *store, options, report, plan, {}};
  TRY_ASSIGN(const bool can_go_on, CheckStoreFiles(context, reads));
  if (!can_go_on) return OkStatus();
  auto space = CheckRecords(context);
  Status checked = space.ok() ? OkStatus() : Status(space.error());
  if (checked.ok() && options.data) checked = CheckData(context, *space);
  NameFindings(context);
  return checked;
}

}  // namespace

Result<Report> CheckVolume(BlockDevice& device, const CheckOptions& options) {
  Report report(options.finding_count_max);
  bool rewrites = false;
  TRY_ASSIGN(const bool can_go_on, CheckSuperblocks(device, report, rewrites));
  if (!can_go_on) return report;
  const Status checked = CheckStore(device, options, report);
  if (checked.ok()) return report;
  if (!IsStoreDamage(checked.error())) return checked.error();
  report.Add(FindingId::kStoreDamaged, checked.error().ToString());
  return report;
}

}  // namespace cofs
