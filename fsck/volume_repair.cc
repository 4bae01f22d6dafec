#include "fsck/volume_repair.h"

#include "extent_map/superblock.h"
#include "fsck/check_context.h"
#include "fsck/pool_space.h"
#include "fsck/store_salvage.h"

namespace cofs {
namespace {

// More rounds than any volume needs: a fix that does not do what it says ends here.
constexpr int kRoundsMax = 100;
constexpr size_t kStepFixes = 64;

class VolumeRepair {
 public:
  VolumeRepair(BlockDevice& device, RepairMode mode, const CheckOptions& options)
      : device_(device), mode_(mode), options_(options), report_(options.finding_count_max) {}

  Result<RepairOutcome> Run() {
    Status status = RepairSuperblocks();
    if (status.ok() && slots_ != nullptr) {
      for (int round = 0; round < kRoundsMax; ++round) {
        const auto is_done = RunRound(round + 1 == kRoundsMax);
        if (!is_done.ok()) status = is_done.error();
        if (!is_done.ok() || *is_done) break;
      }
    }
    if (is_changed_ && status.ok()) status = Finish();
    space_.Use(nullptr);
    if (status.ok()) return RepairOutcome{std::move(report_), std::nullopt};
    if (!is_changed_ && report_.error_count() == 0) return status.error();
    return RepairOutcome{std::move(report_), std::move(status).error()};
  }

 private:
  bool MayRepair(FindingId id) const {
    const RepairPolicy policy = KindOf(id).policy;
    return policy == RepairPolicy::kPreen ||
           (policy == RepairPolicy::kYes && mode_ == RepairMode::kAll);
  }

  // Loads them when the volume can be gone on with.
  Status RepairSuperblocks() {
    Report round(options_.finding_count_max);
    bool rewrites = false;
    TRY_ASSIGN(const bool can_go_on, CheckSuperblocks(device_, round, rewrites));
    if (can_go_on) {
      TRY_ASSIGN(slots_, SuperblockSlots::Load(device_));
    }
    for (size_t i = 0; can_go_on && rewrites && i < round.findings().size(); ++i) {
      const FindingId id = round.findings()[i].id;
      if (!MayRepair(id)) continue;
      TRY(slots_->Update([](Superblock&) {}));
      is_changed_ = true;
      round.MarkRepaired(id, i);
    }
    report_.TakeRepaired(round);
    report_.TakeRest(round);
    return OkStatus();
  }

  // True: nothing more is to be done.
  Result<bool> RunRound(bool is_last) {
    Report round(options_.finding_count_max);
    const Superblock superblock = slots_->current();
    round.label = superblock.label;
    round.uuid = superblock.uuid;
    round.marked_clean = superblock.clean;
    RepairPlan plan(is_last ? RepairMode::kNothing : mode_);
    auto checked = CheckAndRepair(superblock, round, plan);
    // Also a device that fails reads has damaged the store, if all is to be repaired.
    const bool is_unreadable =
        store_ == nullptr && checked.Is(ErrorCode::kIo) &&
        mode_ == RepairMode::kAll && !is_salvaged_;
    if (!checked.ok() && !IsStoreDamage(checked.error()) && !is_unreadable) {
      report_.TakeRepaired(round);
      return checked.error();
    }
    if (!checked.ok()) round.Add(FindingId::kStoreDamaged, checked.error().ToString());
    if (round.count(FindingId::kStoreDamaged) > 0 && mode_ == RepairMode::kAll &&
        !is_salvaged_) {
      const Status salvaged = RepairStore(round);
      if (!salvaged.ok()) {
        report_.TakeRest(round);
        return salvaged.error().Within("rebuilding the metadata store");
      }
      checked = true;
    }
    const bool is_done = !checked.ok() || !*checked;
    report_.TakeRepaired(round);
    if (is_done) report_.TakeRest(round);
    return is_done;
  }

  // Whether anything was repaired.
  Result<bool> CheckAndRepair(const Superblock& superblock, Report& round, RepairPlan& plan) {
    if (store_ == nullptr) TRY(OpenStore(/*read_only=*/true));
    CheckContext context{device_, superblock, *store_, options_, round, plan, {}};
    if (is_read_only_) {
      TRY_ASSIGN(const bool can_go_on, CheckStoreFiles(context, reads_));
      if (!can_go_on) return false;
    }
    auto used = CheckRecords(context);
    if (used.ok() && options_.data && !plan.has_work()) {
      const Status data = CheckData(context, *used);
      if (!data.ok()) used = data.error();
    }
    NameFindings(context);
    if (!used.ok()) return used.error();
    if (!plan.has_work()) return false;
    free_space_ = FreeSpaceOf(context, *used);
    space_.ExcludeTaken(*free_space_);
    TRY(BeginChanges());
    Repairer repairer(
        {device_, superblock, *store_, context.tables, *free_space_, round});
    space_.Use(free_space_.get());
    Result<bool> applied = false;
    for (size_t stage = 0; applied.ok() && !*applied && stage < kFixStageCount; ++stage)
      applied = Apply(repairer, plan.Stage(stage), round);
    space_.Use(nullptr);
    NameLosses(round);
    return applied;
  }

  Status RepairStore(Report& round) {
    const auto& findings = round.findings();
    const bool is_open = store_ != nullptr;
    store_.reset();
    // Of one record of the journal a copy is damaged: a new segment is all it takes.
    const bool is_only_a_copy =
        is_open && !is_mended_ && std::ranges::all_of(findings, [](const Finding& finding) {
          return finding.text.starts_with("metadata journal: ");
        });
    if (is_only_a_copy) {
      is_mended_ = true;
      TRY(BeginChanges());
      TRY(store_->Close());
      store_.reset();
    } else {
      is_salvaged_ = true;
      TRY(SalvageStore(device_, *slots_, options_, round));
    }
    is_read_only_ = true;
    is_changed_ = is_records_changed_ = true;
    const uint64_t count = round.count(FindingId::kStoreDamaged);
    for (size_t i = 0; i < count; ++i)
      round.MarkRepaired(FindingId::kStoreDamaged, i < findings.size() ? i : SIZE_MAX);
    return OkStatus();
  }

  Status OpenStore(bool read_only) {
    store_.reset();
    StoreOptions options;
    options.read_only = is_read_only_ = read_only;
    BlockDevice& device = read_only ? static_cast<BlockDevice&>(reads_) : device_;
    TRY_ASSIGN(store_, Store::Open(device, *slots_, options));
    return OkStatus();
  }

  Status BeginChanges() {
    if (!is_read_only_) return OkStatus();
    TRY(slots_->Update([](Superblock& superblock) {
      superblock.clean = false;
      superblock.allocator_image = {};
      superblock.allocator_image_crc32c = 0;
    }));
    is_changed_ = is_records_changed_ = true;
    TRY(OpenStore(/*read_only=*/false));
    store_->StartGrowing(&space_);
    return OkStatus();
  }

  // Whether any of it could be done.
  Result<bool> Apply(Repairer& repairer, const std::vector<RepairPlan::Item>& items,
                     Report& round) {
    std::vector<const RepairPlan::Item*> done;
    Status status = OkStatus();
    for (size_t i = 0; i < items.size(); ++i) {
      const RepairPlan::Item& item = items[i];
      if (options_.progress && i % kStepFixes == 0)
        options_.progress({7, "repair", i, items.size()});
      if (options_.is_cancelled && options_.is_cancelled())
        status = Error(ErrorCode::kInterrupted, "repair");
      if (status.ok()) status = item.fix(repairer);
      if (status.ok()) status = repairer.records().EndStep();
      if (!status.ok()) repairer.records().AbandonStep();
      // No room for this one, or its blocks can't be read; the others may need none.
      if (status.Is(ErrorCode::kNoSpace) || status.Is(ErrorCode::kRetry)) {
        status = OkStatus();
        continue;
      }
      // What it was about is there no more: the next check tells.
      if (status.Is(ErrorCode::kNotFound)) status = OkStatus();
      if (!status.ok()) break;
      done.push_back(&item);
    }
    // What was done before an error is worth keeping, if it can be written.
    const Status committed = repairer.records().Commit();
    if (!status.ok() && !committed.ok()) return status.error();
    if (!committed.ok()) return committed.error();
    for (const RepairPlan::Item* item : done)
      if (item->finding != RepairPlan::kNoFinding) round.MarkRepaired(item->id, item->finding);
    if (!status.ok()) return status.error();
    return !done.empty();
  }

  void NameLosses(Report& round) {
    for (Loss& loss : round.losses())
      for (const Finding& finding : round.findings())
        if (finding.inode == loss.inode && loss.path.empty()) loss.path = finding.path;
  }

  Status Finish() {
    if (store_ != nullptr && !is_read_only_) TRY(store_->Close());
    store_.reset();
    if (report_.error_count() > 0 || !is_records_changed_) return OkStatus();
    TRY(slots_->Update([](Superblock& superblock) { superblock.clean = true; }));
    report_.marked_clean = true;
    return OkStatus();
  }

  BlockDevice& device_;
  const RepairMode mode_;
  const CheckOptions& options_;
  Report report_;
  ReadProgress reads_{device_};
  std::unique_ptr<SuperblockSlots> slots_;
  std::unique_ptr<Allocator> free_space_;
  PoolSpace space_;
  std::unique_ptr<Store> store_;  // before what it takes space from
  bool is_read_only_ = true;
  bool is_changed_ = false;
  bool is_records_changed_ = false;
  bool is_mended_ = false;
  bool is_salvaged_ = false;
};

}  // namespace

Result<RepairOutcome> RepairVolume(BlockDevice& device, RepairMode mode,
                                   const CheckOptions& options) {
  return VolumeRepair(device, mode, options).Run();
}

}  // namespace cofs
