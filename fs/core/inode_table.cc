// How one number has at most one Inode, although inodes come and go:
// 1. An Inode is dropped only under its shard's lock while the table holds the only
//    reference; nobody can then have changed it after it was last read from there.
// 2. While a thread reads a record from the store, `loading` holds the number, and
//    nobody else reads it: an older record can't be put back over a newer one.
#include "fs/core/inode_table.h"

#include <algorithm>
#include <list>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "base/check.h"

namespace cofs {
namespace {

constexpr size_t kShardCount = 64;
// How many used inodes an eviction looks behind before it lets the shard grow.
constexpr int kEvictionTriesMax = 8;

Result<InodeRecord> Load(const Store& store, InodeId id) {
  TRY_ASSIGN(std::optional<std::string> value, store.Get(InodeKey(id)));
  if (!value) return Error(ErrorCode::kStale, StrCat("inode ", id));
  Result<InodeRecord> record = DecodeInode(*value);
  if (!record.ok()) return record.error().Within(StrCat("inode ", id));
  return record;
}

}  // namespace

struct InodeTable::Shard {
  struct Entry {
    InodeRef inode;  // may be empty while lookup_count > 0
    uint64_t lookup_count = 0;
    std::list<InodeId>::iterator recent_place;  // while `inode` is set
  };

  mutable Mutex mutex;
  CondVar loaded;
  std::unordered_map<InodeId, Entry> entries GUARDED_BY(mutex);
  // Those with an Inode, most recently used first.
  std::list<InodeId> recent GUARDED_BY(mutex);
  std::unordered_set<InodeId> loading GUARDED_BY(mutex);
  uint64_t looked_up_count GUARDED_BY(mutex) = 0;

  InodeRef Find(InodeId id) REQUIRES(mutex) {
    const auto found = entries.find(id);
    if (found == entries.end() || found->second.inode == nullptr) return nullptr;
    recent.splice(recent.begin(), recent, found->second.recent_place);
    return found->second.inode;
  }

  InodeRef Add(InodeRef inode, size_t count_max) REQUIRES(mutex) {
    Entry& entry = entries[inode->id];
    if (entry.inode != nullptr) return entry.inode;
    recent.push_front(inode->id);
    entry.recent_place = recent.begin();
    entry.inode = inode;
    Evict(count_max);
    return inode;
  }

  void Evict(size_t count_max) REQUIRES(mutex) {
    for (int tries = 0; recent.size() > count_max && tries < kEvictionTriesMax;) {
      const auto found = entries.find(recent.back());
      Entry& entry = found->second;
      if (entry.inode.use_count() > 1) {
        recent.splice(recent.begin(), recent, entry.recent_place);
        ++tries;
        continue;
      }
      recent.pop_back();
      entry.inode.reset();
      if (entry.lookup_count == 0) entries.erase(found);
    }
  }
};

InodeTable::InodeTable(const Store& store, size_t inode_count_max,
                       uint64_t extent_count_max)
    : store_(store),
      shard_inode_count_max_(std::max<size_t>(inode_count_max / kShardCount, 4)),
      extent_budget_(std::make_shared<ExtentBudget>(extent_count_max)) {
  for (size_t i = 0; i < kShardCount; ++i) shards_.push_back(std::make_unique<Shard>());
}

InodeTable::~InodeTable() = default;

InodeTable::Shard& InodeTable::ShardOf(InodeId id) const {
  return *shards_[id.value() % kShardCount];
}

Result<InodeRef> InodeTable::Get(InodeId id) {
  Shard& shard = ShardOf(id);
  MutexLock lock(shard.mutex);
  for (;;) {
    if (InodeRef inode = shard.Find(id)) return inode;
    if (!shard.loading.contains(id)) break;
    shard.loaded.Wait(shard.mutex);
  }
  if (id.value() == 0) return Error(ErrorCode::kStale, "inode 0");
  shard.loading.insert(id);
  lock.Unlock();
  Result<InodeRecord> record = Load(store_, id);
  lock.Lock();
  shard.loading.erase(id);
  shard.loaded.NotifyAll();
  if (!record.ok()) return std::move(record).error();
  return shard.Add(std::make_shared<Inode>(id, std::move(record).value(), extent_budget_),
                   shard_inode_count_max_);
}

InodeRef InodeTable::Insert(InodeId id, InodeRecord record) {
  auto inode = std::make_shared<Inode>(id, std::move(record), extent_budget_);
  inode->extents.StartEmpty();
  Shard& shard = ShardOf(id);
  MutexLock lock(shard.mutex);
  return shard.Add(std::move(inode), shard_inode_count_max_);
}

void InodeTable::Erase(InodeId id) {
  InodeRef last;  // destroyed after the lock
  Shard& shard = ShardOf(id);
  MutexLock lock(shard.mutex);
  const auto found = shard.entries.find(id);
  if (found == shard.entries.end()) return;
  if (found->second.inode != nullptr) shard.recent.erase(found->second.recent_place);
  last = std::move(found->second.inode);
  if (found->second.lookup_count == 0) shard.entries.erase(found);
}

void InodeTable::AddLookup(InodeId id, uint64_t count) {
  if (count == 0) return;
  Shard& shard = ShardOf(id);
  MutexLock lock(shard.mutex);
  uint64_t& have = shard.entries[id].lookup_count;
  if (have == 0) ++shard.looked_up_count;
  have += count;
}

bool InodeTable::Forget(InodeId id, uint64_t count) {
  if (count == 0) return false;
  Shard& shard = ShardOf(id);
  MutexLock lock(shard.mutex);
  const auto found = shard.entries.find(id);
  if (found == shard.entries.end() || found->second.lookup_count == 0) return false;
  Shard::Entry& entry = found->second;
  entry.lookup_count -= std::min(count, entry.lookup_count);
  if (entry.lookup_count != 0) return false;
  --shard.looked_up_count;
  if (entry.inode == nullptr) shard.entries.erase(found);
  return true;
}

bool InodeTable::IsLookedUp(InodeId id) const {
  const Shard& shard = ShardOf(id);
  MutexLock lock(shard.mutex);
  const auto found = shard.entries.find(id);
  return found != shard.entries.end() && found->second.lookup_count != 0;
}

void InodeTable::ForgetAll() {
  for (const auto& shard : shards_) {
    MutexLock lock(shard->mutex);
    for (auto& [id, entry] : shard->entries) entry.lookup_count = 0;
    std::erase_if(shard->entries,
                  [](const auto& item) { return item.second.inode == nullptr; });
    shard->looked_up_count = 0;
  }
}

size_t InodeTable::inode_count() const {
  size_t count = 0;
  for (const auto& shard : shards_) {
    MutexLock lock(shard->mutex);
    count += shard->recent.size();
  }
  return count;
}

uint64_t InodeTable::lookup_count() const {
  uint64_t count = 0;
  for (const auto& shard : shards_) {
    MutexLock lock(shard->mutex);
    count += shard->looked_up_count;
  }
  return count;
}

}  // namespace cofs
