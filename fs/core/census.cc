#include "fs/core/census.h"

#include <algorithm>
#include <chrono>
#include <memory>

#include "base/log.h"

namespace cofs {
namespace {

// Between pauses, so that a mount's first operations don't wait for the device.
constexpr uint64_t kRecordsPerSlice = 8192;
constexpr std::chrono::milliseconds kPause{1};

}  // namespace

uint64_t Census::inode_count() const {
  const int64_t count = static_cast<int64_t>(found_.load(std::memory_order_relaxed)) +
                        changed_.load(std::memory_order_relaxed);
  return static_cast<uint64_t>(std::max<int64_t>(count, 0));
}

void Census::Set(uint64_t inode_count, bool has_collisions) {
  found_.store(inode_count, std::memory_order_relaxed);
  if (has_collisions) NoteCollision();
  complete_.store(true, std::memory_order_release);
}

void Census::StartCounting(const Store& store) {
  const KeyRange all = AllFileRecords();
  std::shared_ptr<Cursor> cursor = store.NewCursor(all.first, all.last);
  thread_ = std::thread([this, cursor = std::move(cursor)]() mutable {
    CountAll(*cursor);
    cursor.reset();
  });
}

void Census::Stop() {
  stopping_.store(true, std::memory_order_relaxed);
  if (thread_.joinable()) thread_.join();
}

void Census::CountAll(Cursor& cursor) {
  uint64_t record_count = 0;
  for (cursor.Seek(AllFileRecords().first); cursor.valid(); cursor.Next()) {
    const Result<ParsedKey> key = ParseKey(cursor.key());
    if (key.ok() && key->kind == RecordKind::kInode)
      found_.fetch_add(1, std::memory_order_relaxed);
    if (key.ok() && key->kind == RecordKind::kDentry && IsCollision(key->position))
      NoteCollision();
    if (++record_count % kRecordsPerSlice != 0) continue;
    if (stopping_.load(std::memory_order_relaxed)) return;
    std::this_thread::sleep_for(kPause);
  }
  const Status walked = cursor.status();
  if (walked.ok()) {
    complete_.store(true, std::memory_order_release);
  } else {
    LogWarning(StrCat("counting inodes: ", walked.error().ToString()));
  }
}

}  // namespace cofs
