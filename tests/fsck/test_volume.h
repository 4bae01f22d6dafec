// TestVolume: a real volume in memory with a bit of everything in it, and the tools to
// put wrong records into it through the store.
//
//   /            1
//   /a           16   directory
//   /a/b         19   directory
//   /a/b/deep    22   file that shares the first two blocks of 17, at file offset 0
//   /a/g2        18   second link of /g
//   /a/link      20   symlink
//   /a/dev       21   character device
//   /f           17   file of 10000 bytes, with an attribute; its three blocks lie at
//                     data(), across a border of checksum chunks; preallocated blocks
//                     past its end
//   /g           18   empty file with two links
//   -            23   orphan, a file with one block
//   -            24   orphan, a directory
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "device/fault_device.h"
#include "device/memory_device.h"
#include "extent_map/records.h"
#include "extent_map/store/store.h"
#include "extent_map/superblock.h"
#include "fsck/volume_check.h"
#include "fsck/volume_repair.h"

namespace cofs {

inline constexpr InodeId kInodeA{16}, kInodeF{17}, kInodeG{18}, kInodeB{19},
    kInodeSymlink{20}, kInodeDevice{21}, kInodeDeep{22}, kInodeOrphan{23},
    kInodeOrphanDirectory{24};

class TestVolume {
 public:
  static constexpr uint64_t kVolumeBytes = 128 << 20;

  // Cheap: a copy of one that is made once.
  TestVolume();
  // Of an image in a file that must not exist.
  static void WriteImageFile(const TestVolume& volume, const std::string& path);

  MemoryDevice& device() { return *device_; }
  const MemoryDevice& device() const { return *device_; }
  // With the same pool and hash key.
  void ReplaceDevice(std::unique_ptr<MemoryDevice> device) { device_ = std::move(device); }
  DeviceRange pool() const { return pool_; }
  // Device offset of block `index` of the files' data; from kDataBlocks on they are free.
  DeviceOffset Block(uint64_t index) const;
  static constexpr uint64_t kDataBlocks = 8;

  // Writes a batch through the store. Without `closes` the store is dropped as by a
  // crash, after a commit.
  void Edit(const std::function<void(Batch&)>& change, bool closes = true);
  void EditInode(InodeId inode, const std::function<void(InodeRecord&)>& change);
  // Adds an entry and counts it in the directory; says nothing to the inode.
  void AddEntry(InodeId directory, std::string_view name, InodeId inode, uint8_t type,
                uint64_t collision_index = 0);
  void RemoveEntry(InodeId directory, std::string_view name);
  // Adds an unwritten extent to a file and counts its bytes.
  void AddUnwritten(InodeId inode, uint64_t file_block, DeviceOffset place,
                    uint64_t blocks = 1, uint8_t more_flags = 0);
  std::string Get(const std::string& key);
  uint64_t Cookie(std::string_view name) const { return CookieBase(name_key_, name); }

  Superblock superblock();
  void EditSuperblock(const std::function<void(Superblock&)>& change);
  void Flip(DeviceOffset place);
  // Leaves the allocator image of a clean unmount, with `free` and the blocks of the
  // image itself as they are.
  void LeaveImage(const std::function<void(class Allocator&)>& change = nullptr);

  Report Check(const CheckOptions& options = {});
  // `is_write_free`, if given, is told whether the device saw no write at all.
  RepairOutcome Repair(RepairMode mode, const CheckOptions& options = {},
                       bool* is_write_free = nullptr);
  // As a program that mounts would read it: checksums are verified. kChecksum, kCorrupt.
  Result<std::string> ReadFile(InodeId inode);

  // Set: reads of this block fail during Check() and Repair().
  std::optional<DeviceOffset> unreadable;

 private:
  Fault UnreadableBlock() const;
  struct Made;
  static const Made& Base();
  static void Fill(TestVolume& volume);
  explicit TestVolume(std::unique_ptr<MemoryDevice> device);

  std::unique_ptr<MemoryDevice> device_;
  DeviceRange pool_;
  SipHashKey name_key_{};
};

}  // namespace cofs
