#include "fs/core/scrubber.h"

#include <algorithm>
#include <ctime>
#include <set>

#include "base/aligned_buffer.h"
#include "base/log.h"
#include "fs/core/inode_numbers.h"
#include "fs/core/inode_paths.h"
#include "fs/core/space.h"

namespace cofs {
namespace {

constexpr uint64_t kBatchBytes = 4 << 20;
// While others use the volume: what they may have to wait for on a slow drive.
constexpr uint64_t kSmallBatchBytes = 512 << 10;
constexpr size_t kDamageListMax = 1000;
constexpr std::chrono::seconds kSaveInterval{10};
// Names are found by a walk over all entries: between two of them so long, and so many
// times what the last one took.
constexpr std::chrono::seconds kNamingInterval{2};
constexpr int kNamingShare = 20;

int64_t NowSeconds() { return ::time(nullptr); }

std::string Describe(const ScrubDamage& damage) {
  if (damage.inode.value() == 0) return StrCat("scrub: metadata: ", damage.reason);
  std::string who = StrCat("inode ", damage.inode);
  if (!damage.paths.empty()) who += StrCat(" (", Printable(damage.paths.front()), ")");
  return StrCat("scrub: ", who, ", file offset ", damage.file_offset, ", device offset ",
                damage.device_offset, ", ", damage.length_bytes, " bytes: ", damage.reason);
}

// Whether `next` goes on where `damage` ends.
bool Continues(const ScrubDamage& damage, const ScrubDamage& next) {
  return next.inode.value() != 0 && damage.inode == next.inode && next.length_bytes > 0 &&
         damage.file_offset + damage.length_bytes == next.file_offset &&
         damage.device_offset + damage.length_bytes == next.device_offset &&
         damage.reason == next.reason;
}

}  // namespace

// ---- from outside ----

void Scrubber::Load() {
  const auto value = core_.store->Get(ScrubKey());
  if (!value.ok() || !*value) return;
  const auto record = DecodeScrub(**value);
  if (!record.ok()) {
    LogWarning(StrCat("where the last scrub stopped is lost: ", record.error().ToString()));
    return;
  }
  MutexLock lock(mutex_);
  record_ = *record;
  report_.state = record->is_finished ? ScrubState::kFinished : ScrubState::kStopped;
  report_.started_s = record->started_s;
  report_.ended_s = record->saved_s;
  report_.done_bytes = report_.total_bytes = record->verified_bytes;
  report_.damage_count = record->damage_count;
}

Status Scrubber::Start(const ScrubRequest& request) {
  MutexLock control(control_mutex_);
  {
    MutexLock lock(mutex_);
    if (report_.state == ScrubState::kRunning)
      return Error(ErrorCode::kBusy, "a scrub is running");
    const bool resumes = request.resumes && !record_.is_finished;
    if (!resumes) record_ = ScrubRecord{};
    if (record_.started_s == 0) record_.started_s = NowSeconds();
    ScrubReport next;
    next.state = ScrubState::kRunning;
    next.in_metadata = record_.inode.value() == 0;
    next.bytes_per_second = request.bytes_per_second;
    next.done_bytes = record_.verified_bytes;
    next.started_s = record_.started_s;
    next.damage_count = record_.damage_count;
    report_ = std::move(next);
    ending_ = Ending::kWithNames;
    begun_at_ = Clock::now();
    position_ = {record_.inode, record_.file_offset};
  }
  if (thread_.joinable()) thread_.join();
  good_ = {};
  saved_at_ = named_at_ = Clock::now();
  naming_time_ = {};
  named_count_ = 0;
  pace_ = std::make_shared<ScrubPace>(core_.counters, request.bytes_per_second);
  thread_ = std::thread([this] { Run(); });
  return OkStatus();
}

void Scrubber::End(Ending ending) {
  MutexLock control(control_mutex_);
  if (!thread_.joinable()) return;
  {
    MutexLock lock(mutex_);
    ending_ = ending;
  }
  pace_->Stop();
  thread_.join();
}

void Scrubber::Stop() { End(Ending::kWithNames); }
void Scrubber::Suspend() { End(Ending::kWithoutNames); }
void Scrubber::Abandon() { End(Ending::kAtOnce); }

ScrubReport Scrubber::report() const {
  MutexLock lock(mutex_);
  ScrubReport report = report_;
  if (report.state == ScrubState::kRunning)
    report.run_seconds = std::chrono::duration<double>(Clock::now() - begun_at_).count();
  report.total_bytes = std::max(report.total_bytes, report.done_bytes);
  return report;
}

// ---- the thread ----

void Scrubber::Run() {
  LogInfo(position_.inode.value() == 0
              ? "scrub: begins"
              : StrCat("scrub: resumes at inode ", position_.inode));
  const SpaceUsage space = core_.space->usage();
  const StoreUsage store = core_.store->usage();
  const uint64_t metadata_bytes = 2 * (store.pool_bytes - store.pool_free_bytes);
  const uint64_t other_bytes = space.free_bytes + space.pending_bytes + store.pool_bytes +
                               kReservedEnd.value();
  {
    MutexLock lock(mutex_);
    report_.total_bytes =
        metadata_bytes + space.volume_bytes - std::min(space.volume_bytes, other_bytes);
  }
  Status status = OkStatus();
  if (position_.inode.value() == 0) status = VerifyMetadata();
  if (status.ok()) status = VerifyFiles();
  Finish(status);
}

Status Scrubber::VerifyMetadata() {
  const auto found = [this](const Error& error) {
    ScrubDamage damage;
    damage.reason = error.ToString();
    AddDamage(std::move(damage));
  };
  core_.slots->VerifyCopies(found);
  TRY(core_.store->VerifyAll(found, [this](uint64_t bytes) {
    CountDone(bytes);
    return pace_->Spend(bytes);
  }));
  // From here on a stop keeps the place among the files.
  position_ = {kRootInode, FileOffset{}};
  MutexLock lock(mutex_);
  report_.in_metadata = false;
  record_.inode = position_.inode;
  record_.verified_bytes = report_.done_bytes;
  return OkStatus();
}

Status Scrubber::VerifyFiles() {
  TRY_ASSIGN(const InodeId inode_end, InodeNumbers::ReadCounter(*core_.store));
  AlignedBuffer memory(kBatchBytes);
  ScrubLimits limits;
  limits.inode_end = inode_end;
  limits.volume_bytes = core_.slots->current().volume_bytes;
  ScrubBatch batch;
  while (!batch.is_last) {
    limits.read_bytes_max = pace_->others_are_active() ? kSmallBatchBytes : kBatchBytes;
    TRY(VerifyBatch(batch, memory.span(), limits));
    AddBadRecords(batch);
    CountDone(batch.read_bytes + batch.unwritten_bytes);
    position_ = batch.next;
    {
      MutexLock lock(mutex_);
      record_.inode = position_.inode;
      record_.file_offset = position_.file_offset;
      record_.verified_bytes = report_.done_bytes;
    }
    FindNames(/*now=*/false);
    SaveIfDue();
    if (!pace_->Spend(batch.read_bytes) && !batch.is_last)
      return Error(ErrorCode::kInterrupted, "scrub");
  }
  return OkStatus();
}

Status Scrubber::VerifyBatch(ScrubBatch& batch, std::span<char> memory,
                             const ScrubLimits& limits) {
  const Space::ReadSection section = core_.space->EnterRead();
  TRY_ASSIGN(batch, CollectScrubBatch(*core_.store, position_, limits, good_));
  return VerifyScrubBatch(core_, batch, memory, good_, [this](BadBlock block) {
    ScrubDamage damage;
    damage.inode = block.inode;
    damage.file_offset = block.file_offset;
    damage.device_offset = block.device_offset;
    damage.length_bytes = kBlockBytes;
    damage.reason = std::move(block.reason);
    AddDamage(std::move(damage));
  });
}

void Scrubber::AddBadRecords(const ScrubBatch& batch) {
  for (const ScrubBatch::BadRecord& record : batch.bad_records) {
    ScrubDamage damage;
    damage.inode = record.inode;
    damage.file_offset = record.file_offset;
    damage.reason = record.reason;
    AddDamage(std::move(damage));
  }
}

void Scrubber::AddDamage(ScrubDamage damage) {
  MutexLock lock(mutex_);
  std::vector<ScrubDamage>& list = report_.damage;
  const bool is_logged = list.size() == named_count_;
  if (!is_logged && Continues(list.back(), damage)) {
    list.back().length_bytes += damage.length_bytes;
    return;
  }
  ++report_.damage_count;
  record_.damage_count = report_.damage_count;
  if (list.size() == kDamageListMax) {
    lock.Unlock();
    return LogError(Describe(damage));
  }
  list.push_back(std::move(damage));
}

// Each place is logged here, once, with the name that it has by then.
void Scrubber::FindNames(bool now) {
  const Clock::time_point begin = Clock::now();
  if (!now && begin - named_at_ < std::max<Clock::duration>(kNamingInterval,
                                                            kNamingShare * naming_time_))
    return;
  std::set<InodeId> wanted;
  size_t first = 0, end = 0;
  {
    MutexLock lock(mutex_);
    first = named_count_;
    end = report_.damage.size();
    for (size_t i = first; i < end; ++i)
      if (report_.damage[i].inode.value() != 0) wanted.insert(report_.damage[i].inode);
  }
  if (first == end) return;
  std::map<InodeId, std::vector<std::string>> paths;
  if (!wanted.empty()) {
    auto found = FindPaths(*core_.store, wanted, kScrubPathsMax, [this] {
      MutexLock lock(mutex_);
      return ending_ != Ending::kWithNames;
    });
    if (found.ok())
      paths = std::move(*found);
    else
      LogWarning(StrCat("scrub: names of damaged files: ", found.error().ToString()));
  }
  for (size_t i = first; i < end; ++i) {
    MutexLock lock(mutex_);
    ScrubDamage& damage = report_.damage[i];
    if (const auto found = paths.find(damage.inode); found != paths.end())
      damage.paths = found->second;
    const std::string line = Describe(damage);
    lock.Unlock();
    LogError(line);
  }
  named_count_ = end;
  named_at_ = Clock::now();
  naming_time_ = named_at_ - begin;
}

void Scrubber::CountDone(uint64_t bytes) {
  MutexLock lock(mutex_);
  report_.done_bytes += bytes;
  report_.run_bytes += bytes;
}

void Scrubber::SaveIfDue() {
  if (Clock::now() - saved_at_ < kSaveInterval) return;
  saved_at_ = Clock::now();
  Save();
}

void Scrubber::Save() {
  if (core_.committer->read_only()) return;
  // A full store is left alone: only the place is lost.
  constexpr uint64_t kRecordBytesMax = 256;
  if (const Status room = core_.store->AdmitGrowth(kRecordBytesMax); !room.ok())
    return LogWarning(StrCat("where the scrub stands was not saved: ", room.error().ToString()));
  Transaction change;
  {
    MutexLock lock(mutex_);
    record_.saved_s = NowSeconds();
    change.batch().Put(ScrubKey(), EncodeScrub(record_));
  }
  if (const Status saved = core_.committer->Apply(std::move(change)); !saved.ok())
    LogWarning(StrCat("where the scrub stands was not saved: ", saved.error().ToString()));
}

void Scrubber::Finish(const Status& status) {
  Ending ending;
  {
    MutexLock lock(mutex_);
    ending = ending_;
  }
  FindNames(/*now=*/true);
  const bool is_stopped = status.Is(ErrorCode::kInterrupted);
  {
    MutexLock lock(mutex_);
    record_.is_finished = status.ok();
    if (status.ok()) {
      record_.inode = {};
      record_.file_offset = {};
    }
  }
  if (ending != Ending::kAtOnce) Save();
  MutexLock lock(mutex_);
  report_.run_seconds = std::chrono::duration<double>(Clock::now() - begun_at_).count();
  report_.ended_s = NowSeconds();
  report_.state = status.ok()  ? ScrubState::kFinished
                  : is_stopped ? ScrubState::kStopped
                               : ScrubState::kFailed;
  if (status.ok()) report_.total_bytes = report_.done_bytes;
  if (!status.ok() && !is_stopped) report_.error = status.error().ToString();
  const std::string line =
      StrCat("scrub: ", status.ok() ? "finished" : is_stopped ? "stopped" : "failed", ", ",
             report_.done_bytes >> 20, " MiB verified, ", report_.damage_count,
             " damaged places", report_.error.empty() ? "" : ": ", report_.error);
  const bool is_bad = report_.damage_count > 0 || !report_.error.empty();
  lock.Unlock();
  Log(is_bad ? LogLevel::kError : LogLevel::kInfo, line);
}

}  // namespace cofs
