// What a Volume is made of. Only volume*.cc include this.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "base/mutex.h"
#include "device/watched_device.h"
#include "extent_map/mount_protection.h"
#include "fs/core/attributes.h"
#include "fs/core/census.h"
#include "fs/core/copy_range.h"
#include "fs/core/file_data.h"
#include "fs/core/inode_numbers.h"
#include "fs/core/inode_table.h"
#include "fs/core/names.h"
#include "fs/core/reaper.h"
#include "fs/core/scrubber.h"
#include "fs/core/shared_blocks.h"
#include "fs/core/volume.h"
#include "fs/core/xattrs.h"

namespace cofs {

struct Volume::Parts {
  explicit Parts(Core& volume_core) : core(volume_core) {}
  ~Parts() {
    TearDown();
    heartbeat.reset();  // it may call on what goes next
  }

  // The steps of a mount, in this order.
  Status OpenStore(std::unique_ptr<BlockDevice> volume_device);
  // Makes sure that no other host has the volume; with mmp, that this one shows.
  Status TakeVolume();
  // The end of a heartbeat, after the last write.
  Status LeaveVolume();
  Status RecoverFreeSpace();
  Status StartServices();
  // Ends all threads, commits nothing. What a mount has built so far.
  void TearDown();
  // The end of a clean unmount, after the store has been closed.
  Status WriteAllocatorImage();

  // Finds out how the device copies, and logs it.
  Status StartCopies();

  // The superblock stops calling the volume clean, durably.
  Status ClearCleanFlag() EXCLUDES(clean_mutex);
  void OnStoreFailure(const Error& error) EXCLUDES(failure_mutex);

  Core& core;
  std::unique_ptr<WatchedDevice> device;
  std::unique_ptr<SuperblockSlots> slots;
  std::unique_ptr<HeartbeatWriter> heartbeat;
  // Uses `space` from a thread of its own: it goes before `space`.
  std::unique_ptr<Store> store;
  std::unique_ptr<Space> space;
  std::unique_ptr<Committer> committer;
  std::unique_ptr<InodeTable> inodes;
  std::unique_ptr<SharedBlocks> shared_blocks;
  std::unique_ptr<CopyScratch> scratch;
  std::unique_ptr<CopyEngine> copies;
  std::unique_ptr<FileData> data;
  std::unique_ptr<CopyRange> copy_range;
  std::unique_ptr<Attributes> attributes;
  std::unique_ptr<Xattrs> xattrs;
  std::unique_ptr<InodeNumbers> numbers;
  Census census;
  std::unique_ptr<Reaper> reaper;
  std::unique_ptr<Names> names;
  std::unique_ptr<Scrubber> scrubber;

  Mutex clean_mutex;

  mutable Mutex failure_mutex;
  std::string read_only_reason GUARDED_BY(failure_mutex);
  // The store may fail before there is a committer to tell.
  std::optional<Error> early_failure GUARDED_BY(failure_mutex);
  std::atomic<Committer*> failure_target{nullptr};
};

}  // namespace cofs
