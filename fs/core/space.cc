#include "fs/core/space.h"

#include <algorithm>
#include <chrono>

#include "fs/core/space_rep.h"

namespace cofs {
namespace {

// How often one allocation commits or waits for readers before it gives up. A wait
// ends with the first thing that moves on, or after kWait.
constexpr int kAttemptCountMax = 100;
constexpr std::chrono::milliseconds kWait{100};
constexpr std::chrono::milliseconds kRetryPause{2};

uint64_t OverwriteReserveOf(uint64_t volume_bytes) {
  const uint64_t wanted =
      std::clamp<uint64_t>(volume_bytes / 1000, 1 << 20, 64 << 20);
  return RoundDown(std::min(wanted, volume_bytes / 32), kBlockBytes);
}

}  // namespace

Space::Rep::Rep(BlockDevice& d, std::unique_ptr<Allocator> a, Options o)
    : device(d),
      allocator(std::move(a)),
      options(std::move(o)),
      discards(options.discard && d.geometry().can_discard),
      overwrite_reserve_bytes(OverwriteReserveOf(d.geometry().size_bytes)),
      pool_reserve_bytes(RoundDown(overwrite_reserve_bytes / 4, kBlockBytes)),
      windows(*allocator) {}

Space::Space(BlockDevice& device, std::unique_ptr<Allocator> allocator, Options options)
    : rep_(std::make_unique<Rep>(device, std::move(allocator), std::move(options))) {
  if (rep_->discards) rep_->discard_thread = std::thread([this] { rep_->DiscardLoop(); });
}

Space::~Space() {
  {
    MutexLock lock(rep_->mutex);
    CHECK(rep_->pins.empty(), "a copy still runs");
    rep_->stopping = true;
    rep_->discard_wanted.NotifyAll();
  }
  if (rep_->discard_thread.joinable()) rep_->discard_thread.join();
}

void Space::OnFirstAllocation(std::function<Status()> clear_clean_flag) {
  MutexLock lock(rep_->clean_flag_mutex);
  rep_->clear_clean_flag = std::move(clear_clean_flag);
  rep_->clean_flag_cleared.store(false, std::memory_order_release);
}

Status Space::Rep::ClearCleanFlag() {
  if (clean_flag_cleared.load(std::memory_order_acquire)) return OkStatus();
  MutexLock lock(clean_flag_mutex);
  if (clean_flag_cleared.load(std::memory_order_acquire)) return OkStatus();
  TRY(clear_clean_flag());
  clean_flag_cleared.store(true, std::memory_order_release);
  return OkStatus();
}

Result<std::vector<DeviceRange>> Space::Rep::AllocateRuns(uint64_t length_bytes,
                                                          std::optional<DeviceOffset> goal,
                                                          uint64_t window_bytes) {
  if (window_bytes > 0) {
    if (goal && allocator->Take({*goal, length_bytes}).ok())
      return std::vector<DeviceRange>{{*goal, length_bytes}};
    // A stream that can't go on where it was moves to a place with room for more.
    auto roomy = allocator->Allocate({.length_bytes = length_bytes + window_bytes,
                                      .goal = goal,
                                      .run_count_max = 1});
    if (roomy.ok()) {
      const DeviceRange run = roomy->front();
      MoveToAllocator({run.offset + length_bytes, window_bytes});
      return std::vector<DeviceRange>{{run.offset, length_bytes}};
    }
  }
  return allocator->Allocate({.length_bytes = length_bytes, .goal = goal});
}

Result<std::vector<DeviceRange>> Space::Rep::TryAllocate(uint64_t length_bytes,
                                                         std::optional<DeviceOffset> goal,
                                                         uint64_t window_bytes) {
  std::vector<DeviceRange> runs;
  uint64_t missing_bytes = length_bytes;
  if (goal) {
    if (const auto kept = windows.Take(*goal, length_bytes)) {
      runs.push_back(*kept);
      missing_bytes -= kept->length_bytes;
      goal = kept->end();
    }
  }
  if (missing_bytes == 0) return runs;
  if (allocator->free_bytes() < missing_bytes) windows.ReleaseAll();
  const uint64_t room_bytes = FreeBytes() / 8;
  window_bytes = windows.kept_bytes() >= room_bytes
                     ? 0
                     : RoundDown(std::min(window_bytes, room_bytes - windows.kept_bytes()),
                                 kBlockBytes);
  auto rest = AllocateRuns(missing_bytes, goal, window_bytes);
  if (!rest.ok()) {
    for (const DeviceRange& run : runs) MoveToAllocator(run);
    return rest;
  }
  for (const DeviceRange& run : *rest) {
    if (!runs.empty() && runs.back().end() == run.offset)
      runs.back().length_bytes += run.length_bytes;
    else
      runs.push_back(run);
  }
  if (window_bytes > 0) windows.Open(runs.back().end(), window_bytes);
  return runs;
}

Result<std::vector<DeviceRange>> Space::Allocate(uint64_t length_bytes,
                                                 std::optional<DeviceOffset> goal,
                                                 SpacePurpose purpose,
                                                 uint64_t window_bytes) {
  CHECK(length_bytes > 0 && IsBlockAligned(length_bytes), "allocation of ", length_bytes);
  TRY(rep_->ClearCleanFlag());
  Rep& rep = *rep_;
  const uint64_t needed_bytes =
      length_bytes + (purpose == SpacePurpose::kGrowth ? rep.overwrite_reserve_bytes
                                                       : rep.pool_reserve_bytes);
  bool has_reclaimed = false;
  MutexLock lock(rep.mutex);
  for (int attempt = 0; attempt < kAttemptCountMax; ++attempt) {
    if (rep.FreeBytes() < needed_bytes) rep.Reap();
    if (rep.FreeBytes() >= needed_bytes) {
      rep.changed.store(true, std::memory_order_relaxed);
      return rep.TryAllocate(length_bytes, goal, window_bytes);
    }
    if (rep.FreeBytes() + rep.UncommittedBytes() + rep.ArrivingBytes() < needed_bytes) {
      if (has_reclaimed || !rep.options.reclaim) break;
      has_reclaimed = true;
      lock.Unlock();
      rep.options.reclaim();
      lock.Lock();
      continue;
    }
    if (rep.UncommittedBytes() > 0 && rep.options.commit) {
      const uint64_t token = rep.next_token;
      lock.Unlock();
      TRY(rep.options.commit());
      lock.Lock();
      // What was freed a moment ago may not be part of a commit yet: its batch is being
      // counted just now.
      if (rep.next_token == token) rep.progress.WaitFor(rep.mutex, kRetryPause);
    } else {
      // Readers look at the count after they have left, this thread at them after it
      // has been counted: one of the two sees the other.
      rep.waiter_count.fetch_add(1, std::memory_order_seq_cst);
      rep.Reap();
      if (rep.FreeBytes() < needed_bytes) rep.progress.WaitFor(rep.mutex, kWait);
      rep.waiter_count.fetch_sub(1, std::memory_order_seq_cst);
    }
  }
  return Error(ErrorCode::kNoSpace,
               StrCat(length_bytes, " bytes of data, ", rep.FreeBytes(), " free, ",
                      needed_bytes - length_bytes, " of them reserved"));
}

void Space::ReturnUnused(const std::vector<DeviceRange>& ranges) {
  MutexLock lock(rep_->mutex);
  for (const DeviceRange& range : ranges) rep_->MoveToAllocator(range);
  if (rep_->waiter_count.load() > 0) rep_->progress.NotifyAll();
}

Result<DeviceRange> Space::BorrowScratch(uint64_t bytes_min, uint64_t bytes_max,
                                         DeviceRange avoid) {
  Rep& rep = *rep_;
  MutexLock lock(rep.mutex);
  rep.Reap();
  const uint64_t free_bytes = rep.allocator->free_bytes();
  const uint64_t room_bytes = free_bytes - std::min(free_bytes, rep.overwrite_reserve_bytes);
  const uint64_t bytes = RoundDown(
      std::min({bytes_max, room_bytes / 2, rep.allocator->largest_run_bytes()}), kBlockBytes);
  const Error none(ErrorCode::kNoSpace, "no free run for a trial copy");
  if (bytes < bytes_min) return none;
  const AllocateOptions one_run{.length_bytes = bytes, .goal = {}, .run_count_max = 1};
  auto runs = rep.allocator->Allocate(one_run);
  if (!runs.ok()) return none;
  const DeviceRange first = runs->front();
  if (first.offset < avoid.end() && avoid.offset < first.end()) {
    runs = rep.allocator->Allocate(one_run);
    rep.GiveBack(first);
    if (!runs.ok()) return none;
    const DeviceRange second = runs->front();
    if (second.offset < avoid.end() && avoid.offset < second.end()) {
      rep.GiveBack(second);
      return none;
    }
  }
  rep.withheld_bytes += bytes;
  return runs->front();
}

void Space::ReturnScratch(DeviceRange range) {
  Rep& rep = *rep_;
  MutexLock lock(rep.mutex);
  rep.withheld_bytes -= range.length_bytes;
  rep.GiveBack(range);
  if (rep.waiter_count.load() > 0) rep.progress.NotifyAll();
}

void Space::Abandon(const std::vector<DeviceRange>& ranges) {
  MutexLock lock(rep_->mutex);
  for (const DeviceRange& range : ranges) rep_->withheld_bytes += range.length_bytes;
}

bool Space::changed() const { return rep_->changed.load(std::memory_order_relaxed); }

SpaceUsage Space::usage() const {
  Rep& rep = *rep_;
  MutexLock lock(rep.mutex);
  rep.Reap();
  SpaceUsage usage;
  usage.volume_bytes = rep.device.geometry().size_bytes;
  usage.free_bytes = rep.FreeBytes();
  usage.pending_bytes =
      rep.UncommittedBytes() + rep.ArrivingBytes() + rep.held_by_pins.bytes();
  usage.reserve_bytes = rep.overwrite_reserve_bytes;
  usage.largest_run_bytes = rep.allocator->largest_run_bytes();
  usage.run_count = rep.allocator->run_count();
  return usage;
}

Result<std::string> Space::EncodeImage() {
  Rep& rep = *rep_;
  MutexLock lock(rep.mutex);
  rep.Reap();
  while (rep.discarding_bytes > 0) rep.progress.WaitFor(rep.mutex, kWait);
  const uint64_t pending_bytes = rep.UncommittedBytes() + rep.ArrivingBytes() +
                                 rep.held_by_pins.bytes() + rep.withheld_bytes;
  if (pending_bytes > 0)
    return Error(ErrorCode::kBusy, StrCat("allocator image: ", pending_bytes,
                                          " bytes are freed and not reusable yet"));
  rep.windows.ReleaseAll();
  return rep.allocator->EncodeImage();
}

std::optional<DeviceRange> Space::FindPlaceForImage(uint64_t length_bytes) {
  Rep& rep = *rep_;
  MutexLock lock(rep.mutex);
  rep.windows.ReleaseAll();
  auto runs = rep.allocator->Allocate({.length_bytes = RoundUp(length_bytes, kBlockBytes),
                                       .goal = {},
                                       .run_count_max = 1});
  if (!runs.ok()) return std::nullopt;
  rep.MoveToAllocator(runs->front());
  return runs->front();
}

Result<DeviceRange> Space::TakeForPool(uint64_t wanted_bytes, uint64_t minimum_bytes) {
  CHECK(minimum_bytes > 0 && IsBlockAligned(minimum_bytes) && wanted_bytes >= minimum_bytes);
  TRY(rep_->ClearCleanFlag());
  Rep& rep = *rep_;
  MutexLock lock(rep.mutex);
  rep.Reap();
  // On a volume that is nearly full the pool grows in small steps.
  const uint64_t fair_bytes = std::clamp(rep.FreeBytes() / 4, minimum_bytes, wanted_bytes);
  for (const bool last_try : {false, true}) {
    // In units of the minimum, of which the pool is made.
    const uint64_t bytes = std::max(
        RoundDown(std::min(rep.allocator->largest_run_bytes(), fair_bytes), minimum_bytes),
        minimum_bytes);
    auto runs = rep.allocator->Allocate(
        {.length_bytes = bytes, .goal = {}, .run_count_max = 1});
    if (runs.ok()) {
      rep.changed.store(true, std::memory_order_relaxed);
      return runs->front();
    }
    if (last_try || !rep.windows.ReleaseAll()) return runs.error();
  }
  return Error(ErrorCode::kNoSpace, "pool");
}

Status Space::PrepareReturn() { return rep_->ClearCleanFlag(); }

void Space::ReturnFromPool(DeviceRange range) {
  rep_->changed.store(true, std::memory_order_relaxed);
  ReturnUnused({range});
}

}  // namespace cofs
