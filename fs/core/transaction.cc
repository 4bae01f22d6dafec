#include "fs/core/transaction.h"

#include <chrono>

#include "base/log.h"

namespace cofs {

Committer::Committer(Store& store, Space& space, Options options)
    : store_(store), space_(space), options_(std::move(options)) {
  if (!options_.before_first_free)
    first_free_done_.store(true, std::memory_order_relaxed);
}

Committer::~Committer() { StopBackground(); }

Status Committer::Refusal() const {
  if (failed_.load(std::memory_order_acquire))
    return Error(ErrorCode::kIo, "an earlier write or commit failed");
  return Error(ErrorCode::kReadOnly, "change");
}

Status Committer::Apply(Transaction&& transaction) {
  if (read_only()) return Error(ErrorCode::kReadOnly, "change");
  if (!transaction.freed_.empty() && !first_free_done_.load(std::memory_order_acquire)) {
    MutexLock lock(first_free_mutex_);
    if (!first_free_done_.load(std::memory_order_relaxed)) {
      TRY(options_.before_first_free());
      first_free_done_.store(true, std::memory_order_release);
    }
  }
  Status written = store_.Write(std::move(transaction.batch_));
  if (!written.ok()) {
    Fail(written.error());
    return written;
  }
  if (!transaction.freed_.empty()) space_.Freed(transaction.freed_);
  applied_count_.fetch_add(1, std::memory_order_release);
  return OkStatus();
}

Status Committer::Commit() {
  const uint64_t target = applied_count();
  MutexLock lock(mutex_);
  for (;;) {
    if (read_only()) return Refusal();
    if (committed_count() >= target) return OkStatus();
    if (committing_) {
      committed_.Wait(mutex_);
      continue;
    }
    committing_ = true;
    lock.Unlock();
    const Status status = RunCommit();
    lock.Lock();
    committing_ = false;
    committed_.NotifyAll();
    if (!status.ok()) return status;
  }
}

Status Committer::RunCommit() {
  const uint64_t covered = applied_count();
  const uint64_t token = space_.BeginCommit();
  Status status = store_.Commit();
  space_.EndCommit(token, status.ok());
  if (status.ok()) {
    committed_count_.store(covered, std::memory_order_release);
  } else {
    Fail(status.error());
  }
  return status;
}

void Committer::CommitSoon() {
  MutexLock lock(mutex_);
  commit_soon_ = true;
  wake_.NotifyAll();
}

void Committer::LatchReadOnly() { read_only_.store(true, std::memory_order_release); }

void Committer::Fail(const Error& error) {
  if (failed_.exchange(true, std::memory_order_acq_rel)) return;
  // The reason first: who finds the volume read-only finds it too.
  if (options_.on_failure) options_.on_failure(error);
  LatchReadOnly();
  LogError(StrCat("the volume is read-only from now on: ", error.ToString()));
}

void Committer::StartBackground() {
  CHECK(!background_.joinable());
  background_ = std::thread([this] { BackgroundLoop(); });
}

void Committer::StopBackground() {
  if (!background_.joinable()) return;
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    wake_.NotifyAll();
  }
  background_.join();
}

void Committer::BackgroundLoop() {
  using Clock = std::chrono::steady_clock;
  MutexLock lock(mutex_);
  while (!stopping_) {
    const auto deadline = Clock::now() + std::chrono::milliseconds(options_.interval_ms);
    while (!stopping_ && !commit_soon_) {
      const auto left =
          std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
      if (left.count() <= 0) break;
      wake_.WaitFor(mutex_, left);
    }
    if (stopping_) return;
    commit_soon_ = false;
    if (applied_count() == committed_count() || read_only()) continue;
    lock.Unlock();
    Commit().IgnoreError("Fail() has logged it and latched the volume");
    lock.Lock();
  }
}

}  // namespace cofs
