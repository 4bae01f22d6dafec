#include "device/watched_device.h"

#include <algorithm>
#include <functional>

#include "base/check.h"
#include "base/log.h"

namespace cofs {
namespace {

using std::chrono::duration_cast;
using std::chrono::milliseconds;

constexpr milliseconds kLookPauseMin{5};
constexpr milliseconds kLookPauseMax{5000};

std::string InSeconds(milliseconds time) {
  return StrCat(time.count() / 1000, ".", time.count() % 1000 / 100, " s");
}

std::string Describe(const StallWatch::Entry& entry) {
  std::string words(entry.operation);
  if (entry.range.length_bytes > 0)
    words += StrCat(" of ", entry.range.length_bytes, " bytes at ", entry.range.offset);
  if (entry.operation_count > 1)
    words += StrCat(" and ", entry.operation_count - 1, " more");
  return words;
}

StallWatch::Entry EntryOf(const IoOp& op, size_t count = 1) {
  StallWatch::Entry entry;
  entry.operation = NameOf(op.kind);
  if (op.kind != IoKind::kFlush) entry.range = {op.offset, op.length_bytes};
  entry.operation_count = count;
  return entry;
}

}  // namespace

// ---- the watch ----

StallWatch::StallWatch(milliseconds limit) : limit_(limit) {
  if (limit_.count() > 0) thread_ = std::thread([this] { Loop(); });
}

StallWatch::~StallWatch() {
  if (!thread_.joinable()) return;
  {
    MutexLock lock(mutex_);
    is_stopping_ = true;
    wake_.NotifyAll();
  }
  thread_.join();
}

void StallWatch::Begin(Entry& entry) {
  entry.begun_at = Clock::now();
  entry.is_reported = false;
  entry.previous = nullptr;
  entry.shard = std::hash<std::thread::id>{}(std::this_thread::get_id()) % shards_.size();
  Shard& shard = shards_[entry.shard];
  MutexLock lock(shard.mutex);
  entry.next = shard.first;
  if (entry.next != nullptr) entry.next->previous = &entry;
  shard.first = &entry;
}

void StallWatch::End(Entry& entry, const std::optional<Error>& error) {
  {
    Shard& shard = shards_[entry.shard];
    MutexLock lock(shard.mutex);
    (entry.previous != nullptr ? entry.previous->next : shard.first) = entry.next;
    if (entry.next != nullptr) entry.next->previous = entry.previous;
  }
  if (!entry.is_reported) return;
  const auto time = duration_cast<milliseconds>(Clock::now() - entry.begun_at);
  {
    MutexLock lock(mutex_);
    longest_ = std::max(longest_, time);
  }
  LogWarning(StrCat("stalled I/O: the ", Describe(entry), " has come back after ",
                    InSeconds(time), error ? ": " : "", error ? error->ToString() : ""));
}

void StallWatch::Look() {
  std::vector<std::string> lines;
  const Clock::time_point now = Clock::now();
  for (Shard& shard : shards_) {
    MutexLock lock(shard.mutex);
    for (Entry* entry = shard.first; entry != nullptr; entry = entry->next) {
      const auto time = duration_cast<milliseconds>(now - entry->begun_at);
      if (entry->is_reported || time < limit_) continue;
      entry->is_reported = true;
      lines.push_back(StrCat("stalled I/O: a ", Describe(*entry),
                             " has not come back for ", InSeconds(time)));
    }
  }
  if (lines.empty()) return;
  {
    MutexLock lock(mutex_);
    stalled_count_ += lines.size();
  }
  for (const std::string& line : lines) LogError(line);
}

void StallWatch::Loop() {
  const milliseconds pause = std::clamp(limit_ / 4, kLookPauseMin, kLookPauseMax);
  MutexLock lock(mutex_);
  while (!is_stopping_) {
    wake_.WaitFor(mutex_, pause);
    if (is_stopping_) return;
    lock.Unlock();
    Look();
    lock.Lock();
  }
}

StallTotals StallWatch::totals() const {
  StallTotals totals;
  totals.limit_ms = static_cast<uint64_t>(limit_.count());
  const Clock::time_point now = Clock::now();
  milliseconds oldest{0};
  for (const Shard& shard : shards_) {
    MutexLock lock(shard.mutex);
    for (const Entry* entry = shard.first; entry != nullptr; entry = entry->next) {
      if (!entry->is_reported) continue;
      ++totals.stalled_now;
      const auto time = duration_cast<milliseconds>(now - entry->begun_at);
      if (time <= oldest) continue;
      oldest = time;
      totals.oldest = Describe(*entry);
    }
  }
  totals.oldest_ms = static_cast<uint64_t>(oldest.count());
  MutexLock lock(mutex_);
  totals.stalled_count = stalled_count_;
  totals.longest_ms = static_cast<uint64_t>(std::max(longest_, oldest).count());
  return totals;
}

// ---- the device ----

namespace {

// The operations of one queue. Each has an entry, which is found by its address.
class WatchedQueue : public IoQueue {
 public:
  WatchedQueue(const WatchedDevice& device, std::unique_ptr<IoQueue> base,
               StallWatch& watch)
      : device_(device), base_(std::move(base)), watch_(watch) {}
  ~WatchedQueue() override {
    while (in_flight() > 0) Reap();
  }

  void Submit(IoOp* op) override {
    if (const auto refusal = device_.RefusalOf(op->kind)) {
      op->error = refusal;
      refused_.push_back(op);
      return;
    }
    auto slot = std::ranges::find(slots_, static_cast<IoOp*>(nullptr), [](const auto& s) { return s->op; });
    if (slot == slots_.end())
      slot = slots_.insert(slots_.end(), std::make_unique<Slot>());
    (*slot)->op = op;
    (*slot)->entry = EntryOf(*op);
    watch_.Begin((*slot)->entry);
    base_->Submit(op);
  }

  IoOp* Reap() override {
    if (!refused_.empty()) {
      IoOp* const refused = refused_.back();
      refused_.pop_back();
      return refused;
    }
    IoOp* const op = base_->Reap();
    if (op == nullptr) return nullptr;
    const auto slot = std::ranges::find(slots_, op, [](const auto& s) { return s->op; });
    CHECK(slot != slots_.end());
    (*slot)->op = nullptr;
    watch_.End((*slot)->entry, op->error);
    return op;
  }

  unsigned in_flight() const override {
    return base_->in_flight() + static_cast<unsigned>(refused_.size());
  }
  void UseMemory(std::span<char> memory) override { base_->UseMemory(memory); }

 private:
  struct Slot {
    IoOp* op = nullptr;
    StallWatch::Entry entry;
  };
  const WatchedDevice& device_;
  const std::unique_ptr<IoQueue> base_;
  StallWatch& watch_;
  std::vector<IoOp*> refused_;
  std::vector<std::unique_ptr<Slot>> slots_;
};

}  // namespace

void WatchedDevice::Fence(const Error& reason) {
  {
    MutexLock lock(fence_mutex_);
    fence_reason_ = reason.ToString();
  }
  is_fenced_.store(true, std::memory_order_release);
}

std::optional<Error> WatchedDevice::RefusalOf(IoKind kind) const {
  if (kind == IoKind::kRead || !is_fenced_.load(std::memory_order_acquire))
    return std::nullopt;
  MutexLock lock(fence_mutex_);
  return Error(ErrorCode::kIo, StrCat(geometry().path, " is not written to any more: ",
                                      fence_reason_));
}

// One by one: a fenced device is not in a hurry.
Status WatchedDevice::ExecuteReads(std::span<IoOp> ops) {
  Status first = OkStatus();
  for (IoOp& op : ops) {
    op.error = RefusalOf(op.kind);
    if (!op.error) base_->Execute({&op, 1}).IgnoreError("it is in the operation");
    if (op.error && first.ok()) first = *op.error;
  }
  return first;
}

Status WatchedDevice::Execute(std::span<IoOp> ops) {
  if (ops.empty()) return base_->Execute(ops);
  if (is_fenced_.load(std::memory_order_acquire)) return ExecuteReads(ops);
  StallWatch::Entry entry = EntryOf(ops[0], ops.size());
  watch_.Begin(entry);
  Status status = base_->Execute(ops);
  watch_.End(entry, status.ok() ? std::nullopt : std::optional(status.error()));
  return status;
}

std::unique_ptr<IoQueue> WatchedDevice::NewQueue(unsigned depth) {
  return std::make_unique<WatchedQueue>(*this, base_->NewQueue(depth), watch_);
}

Status WatchedDevice::Copy(std::span<const DeviceRange> sources, DeviceOffset destination) {
  if (const auto refusal = RefusalOf(IoKind::kWrite)) return *refusal;
  StallWatch::Entry entry;
  entry.operation = "copy";
  entry.range.offset = destination;
  for (const DeviceRange& source : sources) entry.range.length_bytes += source.length_bytes;
  watch_.Begin(entry);
  Status status = base_->Copy(sources, destination);
  watch_.End(entry, status.ok() ? std::nullopt : std::optional(status.error()));
  return status;
}

}  // namespace cofs
