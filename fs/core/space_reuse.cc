// Space: what happens to blocks between the batch that frees them and their reuse.
#include <algorithm>

#include "base/log.h"
#include "fs/core/space.h"
#include "fs/core/space_rep.h"

namespace cofs {
namespace {

// Trimmed at a time; not allocatable meanwhile.
constexpr uint64_t kTrimBytesMax = 256 << 20;

// The parts of `range` inside and outside of `sorted` (disjoint ranges).
template <typename Inside, typename Outside>
void Split(DeviceRange range, const std::vector<DeviceRange>& sorted, Inside&& inside,
           Outside&& outside) {
  DeviceOffset done = range.offset;
  auto it = std::upper_bound(
      sorted.begin(), sorted.end(), done,
      [](DeviceOffset offset, const DeviceRange& r) { return offset < r.end(); });
  for (; it != sorted.end() && it->offset < range.end(); ++it) {
    const DeviceOffset from = std::max(it->offset, done);
    const DeviceOffset to = std::min(it->end(), range.end());
    if (done < from) outside(DeviceRange{done, from - done});
    inside(DeviceRange{from, to - from});
    done = to;
  }
  if (done < range.end()) outside(DeviceRange{done, range.end() - done});
}

}  // namespace

std::vector<DeviceRange> Joined(std::vector<DeviceRange> ranges) {
  std::sort(ranges.begin(), ranges.end(), [](const DeviceRange& a, const DeviceRange& b) {
    return a.offset < b.offset;
  });
  std::vector<DeviceRange> joined;
  for (const DeviceRange& range : ranges) {
    if (!joined.empty() && range.offset <= joined.back().end())
      joined.back().length_bytes =
          std::max(joined.back().end(), range.end()) - joined.back().offset;
    else if (range.length_bytes > 0)
      joined.push_back(range);
  }
  return joined;
}

void Space::Rep::MoveToAllocator(DeviceRange range) {
  changed.store(true, std::memory_order_relaxed);
  GiveBack(range);
}

void Space::Rep::GiveBack(DeviceRange range) {
  const Status released = allocator->Release(range);
  // Two records of a damaged volume can name the same blocks: they are free only once.
  if (!released.ok()) LogError(StrCat("space: ", released.error().ToString()));
}

void Space::Rep::MoveOn(DeviceRange range) {
  if (!discards) {
    MoveToAllocator(range);
    return;
  }
  to_discard.Add(range);
  discarding_bytes += range.length_bytes;
  discard_wanted.NotifyOne();
}

void Space::Rep::RebuildPinned() {
  if (pinned_is_current) return;
  std::vector<DeviceRange> all;
  for (const auto& pin : pins) all.insert(all.end(), pin.begin(), pin.end());
  pinned = Joined(std::move(all));
  pinned_is_current = true;
}

void Space::Rep::Reap() {
  if (retired.empty() && held_by_pins.empty()) return;
  epochs.TryAdvance();
  std::vector<DeviceRange> ready = held_by_pins.TakeAll();
  while (!retired.empty() && epochs.HasPassed(retired.front().epoch)) {
    for (const DeviceRange& range : retired.front().ranges) {
      retired_bytes -= range.length_bytes;
      ready.push_back(range);
    }
    retired.pop_front();
  }
  if (ready.empty()) return;
  // A reader that pins does so before it leaves: its pin is known by now.
  RebuildPinned();
  // They are called here, with the mutex held, which the analysis does not see.
  const auto hold = [this](DeviceRange held) NO_THREAD_SAFETY_ANALYSIS {
    held_by_pins.Add(held);
  };
  const auto go_on = [this](DeviceRange unused) NO_THREAD_SAFETY_ANALYSIS {
    MoveOn(unused);
  };
  for (const DeviceRange& range : ready) Split(range, pinned, hold, go_on);
  if (waiter_count.load(std::memory_order_seq_cst) > 0) progress.NotifyAll();
}

void Space::Rep::OnIoEnd() {
  MutexLock lock(mutex);
  Reap();
}

Space::ReadSection Space::EnterRead() { return {this, rep_->epochs.Enter()}; }

void Space::LeaveRead(std::atomic<uint64_t>* count) {
  ReaderEpochs::Leave(count);
  if (rep_->waiter_count.load(std::memory_order_seq_cst) > 0) rep_->OnIoEnd();
}

Space::Pin Space::PinRanges(std::vector<DeviceRange> ranges) {
  Pin pin;
  if (ranges.empty()) return pin;
  MutexLock lock(rep_->mutex);
  pin.space_ = this;
  pin.entry_ = rep_->pins.insert(rep_->pins.end(), std::move(ranges));
  rep_->pinned_is_current = false;
  return pin;
}

Space::Pin::Pin(Pin&& other) noexcept
    : space_(std::exchange(other.space_, nullptr)), entry_(other.entry_) {}

Space::Pin& Space::Pin::operator=(Pin&& other) noexcept {
  if (this != &other) {
    Release();
    space_ = std::exchange(other.space_, nullptr);
    entry_ = other.entry_;
  }
  return *this;
}

void Space::Pin::Release() {
  if (space_ == nullptr) return;
  Rep& rep = *std::exchange(space_, nullptr)->rep_;
  MutexLock lock(rep.mutex);
  rep.pins.erase(entry_);
  rep.pinned_is_current = false;
  if (!rep.held_by_pins.empty()) rep.Reap();
}

void Space::Freed(const std::vector<DeviceRange>& ranges) {
  if (ranges.empty()) return;
  MutexLock lock(rep_->mutex);
  rep_->freed.Add(ranges);
  rep_->changed.store(true, std::memory_order_relaxed);
}

uint64_t Space::BeginCommit() {
  Rep& rep = *rep_;
  MutexLock lock(rep.mutex);
  const uint64_t token = rep.next_token++;
  rep.sealed_bytes += rep.freed.bytes();
  rep.sealed[token] = rep.freed.TakeAll();
  rep.windows.Age();
  return token;
}

void Space::EndCommit(uint64_t token, bool durable) {
  Rep& rep = *rep_;
  MutexLock lock(rep.mutex);
  const auto found = rep.sealed.find(token);
  CHECK(found != rep.sealed.end(), "commit token ", token);
  std::vector<DeviceRange> ranges = std::move(found->second);
  rep.sealed.erase(found);
  uint64_t bytes = 0;
  for (const DeviceRange& range : ranges) bytes += range.length_bytes;
  rep.sealed_bytes -= bytes;
  if (!durable) return;
  if (!ranges.empty()) {
    rep.retired_bytes += bytes;
    rep.retired.push_back({rep.epochs.current(), std::move(ranges)});
  }
  rep.Reap();
}

void Space::Rep::DiscardLoop() {
  bool has_failed = false;
  MutexLock lock(mutex);
  while (!stopping) {
    if (to_discard.empty()) {
      discard_wanted.Wait(mutex);
      continue;
    }
    const std::vector<DeviceRange> ranges = Joined(to_discard.TakeAll());
    lock.Unlock();
    std::vector<IoOp> ops(ranges.size());
    for (size_t i = 0; i < ranges.size(); ++i) {
      ops[i].kind = IoKind::kDiscard;
      ops[i].offset = ranges[i].offset;
      ops[i].length_bytes = ranges[i].length_bytes;
    }
    const Status discarded = device.Execute(ops);
    if (!discarded.ok() && !std::exchange(has_failed, true))
      LogWarning(StrCat("discard: ", discarded.error().ToString()));
    lock.Lock();
    // A discard that failed leaves free blocks with some contents or other.
    for (const DeviceRange& range : ranges) {
      discarding_bytes -= range.length_bytes;
      MoveToAllocator(range);
    }
    progress.NotifyAll();
  }
}

Result<uint64_t> Space::Trim(DeviceOffset begin, DeviceOffset end, uint64_t minimum_bytes) {
  Rep& rep = *rep_;
  if (!rep.device.geometry().can_discard)
    return Error(ErrorCode::kNotSupported, "the device can't discard");
  // The allocator image of the last unmount lies in free blocks.
  TRY(rep.ClearCleanFlag());
  uint64_t trimmed_bytes = 0;
  for (const DeviceRange& run : rep.allocator->FreeRuns()) {
    const DeviceOffset from =
        std::max(run.offset, DeviceOffset{RoundUp(begin.value(), kBlockBytes)});
    const DeviceOffset to =
        std::min(run.end(), DeviceOffset{RoundDown(end.value(), kBlockBytes)});
    if (from >= to || to - from < minimum_bytes) continue;
    for (DeviceOffset at = from; at < to; at += kTrimBytesMax) {
      const DeviceRange piece{at, std::min(to - at, kTrimBytesMax)};
      {
        MutexLock lock(rep.mutex);
        if (!rep.allocator->Take(piece).ok()) continue;  // handed out meanwhile
        rep.discarding_bytes += piece.length_bytes;
      }
      const Status discarded = rep.device.Discard(piece);
      MutexLock lock(rep.mutex);
      rep.discarding_bytes -= piece.length_bytes;
      rep.MoveToAllocator(piece);
      rep.progress.NotifyAll();
      TRY(discarded);
      trimmed_bytes += piece.length_bytes;
    }
  }
  return trimmed_bytes;
}

}  // namespace cofs
