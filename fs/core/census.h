// Census: what is known of all records of a volume: how many inodes there are, and
// whether any names share a hash.
//
// Neither is on the device, where it could disagree with the records. After a crash the
// rebuild of the allocator has just seen every record. After a clean unmount a thread
// walks over a view of the store taken at the mount, while operations add and subtract
// what they change.
// Thread-safety: all functions.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>

#include "extent_map/records.h"
#include "extent_map/store/store.h"

namespace cofs {

// Whether an entry with this cookie is not at the first place of its hash.
constexpr bool IsCollision(uint64_t cookie) { return cookie % kCollisionIndexCount != 0; }

class Census {
 public:
  Census() = default;
  ~Census() { Stop(); }

  void AddInode() { changed_.fetch_add(1, std::memory_order_relaxed); }
  void RemoveInode() { changed_.fetch_sub(1, std::memory_order_relaxed); }
  uint64_t inode_count() const;

  // An entry is about to be put at another place than the first of its hash. Called
  // with its directory locked, before the batch is applied.
  void NoteCollision() { collisions_.store(true, std::memory_order_release); }
  // No entry is at another place than the first of its hash. True for nearly every
  // volume (hashes have 55 bits), once it is known. For a directory whose lock is held
  // the answer stays true until the lock is released.
  bool HasNoCollisions() const {
    return complete_.load(std::memory_order_acquire) &&
           !collisions_.load(std::memory_order_acquire);
  }

  // What a walk over all records has found, at the mount.
  void Set(uint64_t inode_count, bool has_collisions);
  // Walks in the background. Before any operation runs; `store` outlives Stop().
  void StartCounting(const Store& store);
  void Stop();

 private:
  void CountAll(Cursor& cursor);

  std::atomic<uint64_t> found_{0};
  std::atomic<int64_t> changed_{0};
  std::atomic<bool> collisions_{false};
  std::atomic<bool> complete_{false};
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace cofs
