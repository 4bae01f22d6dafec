#include "device/crash_replay.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "device/fault_device.h"

namespace cofs {
namespace {

constexpr char kJunk = '\xdb';
constexpr uint64_t kJunkBytesMax = 1 << 20;

bool IsDurableBy(const LoggedIo& io, EventNumber now) {
  return io.fua && !io.failed && io.completed != 0 && io.completed <= now;
}

}  // namespace

CrashReplay::CrashReplay(std::unique_ptr<MemoryDevice> initial, IoLog log,
                         Options options)
    : options_(options), log_(std::move(log)), base_(std::move(initial)) {
  events_.resize(log_.event_count);
  for (size_t i = 0; i < log_.ios.size(); ++i) {
    events_[log_.ios[i].started - 1] = {Event::Kind::kStart, i};
    if (log_.ios[i].completed != 0)
      events_[log_.ios[i].completed - 1] = {Event::Kind::kCompletion, i};
  }
  for (size_t i = 0; i < log_.marks.size(); ++i)
    events_[log_.marks[i].event - 1] = {Event::Kind::kMark, i};
}

Status CrashReplay::ForEachState(const std::function<Status(CrashState&)>& visit) {
  std::mt19937_64 random(options_.seed);
  // For each event how many random states follow it: chosen ahead, stretch by stretch.
  std::vector<unsigned> random_counts(events_.size() + 1);
  std::vector<bool> is_stop(events_.size() + 1);
  EventNumber stretch_begin = 1;
  for (EventNumber now = 1; now <= events_.size(); ++now) {
    const Event& event = events_[now - 1];
    bool is_flush = now == events_.size();
    if (event.kind == Event::Kind::kCompletion) {
      const LoggedIo& io = log_.ios[event.index];
      is_flush |= io.kind == IoKind::kFlush && !io.failed;
      is_stop[now] = options_.at_fua_writes && IsDurableBy(io, now);
    }
    if (!is_flush) continue;
    is_stop[now] = true;
    for (unsigned i = 0; i < options_.random_state_count; ++i)
      ++random_counts[stretch_begin + random() % (now - stretch_begin + 1)];
    stretch_begin = now + 1;
  }
  for (EventNumber now = 1; now <= events_.size(); ++now) {
    Advance(events_[now - 1]);
    if (is_stop[now]) {
      TRY(Visit(now, Choice::kDrop, 0, visit));
      TRY(Visit(now, Choice::kKeep, 0, visit));
    }
    for (unsigned i = 0; i < random_counts[now]; ++i)
      TRY(Visit(now, Choice::kRandom, i, visit));
  }
  return OkStatus();
}

void CrashReplay::Advance(const Event& event) {
  if (event.kind == Event::Kind::kMark) {
    marks_.push_back(log_.marks[event.index].id);
    ++durable_version_;
    return;
  }
  const LoggedIo& io = log_.ios[event.index];
  if (event.kind == Event::Kind::kStart) {
    if (io.kind != IoKind::kFlush) pending_.push_back(event.index);
    return;
  }
  if (io.fua && !io.failed) ++durable_version_;
  if (io.kind != IoKind::kFlush || io.failed) return;
  ++durable_version_;
  // What the flush covers goes into the base, oldest completion first.
  for (const LoggedIo* covered : PendingInOrder(io.started)) {
    if (covered->completed == 0 || covered->completed >= io.started) continue;
    if (covered->failed) {
      std::mt19937_64 random(options_.seed ^ covered->started);
      ApplyTorn(*covered, random, *base_);
    } else {
      Apply(*covered, 0, covered->range.length_bytes, *base_);
    }
  }
  std::erase_if(pending_, [&](size_t index) {
    const LoggedIo& other = log_.ios[index];
    return other.completed != 0 && other.completed < io.started;
  });
}

bool CrashReplay::HasVolatile(EventNumber now) const {
  return std::ranges::any_of(
      pending_, [&](size_t index) { return !IsDurableBy(log_.ios[index], now); });
}

std::vector<const LoggedIo*> CrashReplay::PendingInOrder(EventNumber now) const {
  std::vector<const LoggedIo*> ordered;
  for (const size_t index : pending_) ordered.push_back(&log_.ios[index]);
  const auto key = [now](const LoggedIo* io) {
    const bool has_completed = io->completed != 0 && io->completed <= now;
    return std::pair(has_completed ? io->completed : UINT64_MAX, io->started);
  };
  std::sort(ordered.begin(), ordered.end(),
            [&](const LoggedIo* a, const LoggedIo* b) { return key(a) < key(b); });
  return ordered;
}

Status CrashReplay::Visit(EventNumber now, Choice choice, unsigned number,
                          const std::function<Status(CrashState&)>& visit) {
  CrashState state;
  state.event = now;
  state.how = choice == Choice::kDrop   ? "dropped"
              : choice == Choice::kKeep ? "kept"
                                        : StrCat("random ", number);
  state.marks = marks_;
  if (choice == Choice::kDrop || !HasVolatile(now)) {
    state.is_repeated = visited_version_ == durable_version_;
    visited_version_ = durable_version_;
  }
  state.image = base_->Fork();
  std::mt19937_64 random(options_.seed + now * 1000003 + number);
  // Some states lose nearly all, some nearly nothing.
  const unsigned keep_weight = 1 + random() % 8, drop_weight = 1 + random() % 8,
                 torn_weight = 1 + random() % 4;
  for (const LoggedIo* io : PendingInOrder(now)) {
    if (IsDurableBy(*io, now) || choice == Choice::kKeep) {
      Apply(*io, 0, io->range.length_bytes, *state.image);
    } else if (choice == Choice::kRandom) {
      const uint64_t draw = random() % (keep_weight + drop_weight + torn_weight);
      if (draw < keep_weight)
        Apply(*io, 0, io->range.length_bytes, *state.image);
      else if (draw >= keep_weight + drop_weight)
        ApplyTorn(*io, random, *state.image);
    }
  }
  const std::string name =
      StrCat("crash after event ", now, " (", state.how, ", seed ", options_.seed, ")");
  Status status = visit(state);
  if (!status.ok()) return status.error().Within(name);
  return status;
}

void CrashReplay::Apply(const LoggedIo& io, uint64_t offset_in_io, uint64_t length_bytes,
                        MemoryDevice& image) {
  const uint64_t offset = io.range.offset.value() + offset_in_io;
  if (io.kind == IoKind::kWrite) {
    image.Poke(offset, std::span(io.data).subspan(offset_in_io, length_bytes));
  } else if (io.kind == IoKind::kDiscard && length_bytes <= kJunkBytesMax) {
    image.Poke(offset, std::vector<char>(length_bytes, kJunk));
  } else {
    image.Clear(offset, length_bytes);
  }
}

void CrashReplay::ApplyTorn(const LoggedIo& io, std::mt19937_64& random,
                            MemoryDevice& image) {
  // A coin for each sector; of very long changes (a discard of a whole device) for
  // each of many runs of sectors.
  const uint64_t sector_count = io.range.length_bytes / kSectorBytes;
  const uint64_t run_sectors = sector_count / 4096 + 1;
  for (uint64_t sector = 0; sector < sector_count; sector += run_sectors) {
    if (random() % 2 == 0) continue;
    const uint64_t run = std::min(run_sectors, sector_count - sector);
    Apply(io, sector * kSectorBytes, run * kSectorBytes, image);
  }
}

}  // namespace cofs
