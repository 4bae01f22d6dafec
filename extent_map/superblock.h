// The superblock: two copies, written one after the other, each with a sequence number
// and a CRC-32C. The valid copy with the higher sequence number is the superblock;
// between updates both are the same.
// docs/FORMAT.md has the layout table.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/mutex.h"
#include "base/result.h"
#include "base/siphash.h"
#include "base/types.h"
#include "base/uuid.h"
#include "device/block_device.h"

namespace cofs {

inline constexpr uint32_t kFormatVersion = 1;
// The two copies, and the end of the region that nothing else is placed in.
inline constexpr DeviceOffset kSuperblockOffsets[2] = {DeviceOffset{64 << 10},
                                                       DeviceOffset{1 << 20}};
inline constexpr DeviceOffset kReservedEnd{2 << 20};
inline constexpr uint64_t kVolumeBytesMin = 64ull << 20;
inline constexpr size_t kLabelBytesMax = 32;
// Far more updates than a device lives for. Only a forged superblock comes so far; it stays
// at this number, which is crash-safe as long as both copies are written.
inline constexpr uint64_t kSuperblockSequenceMax = uint64_t{1} << 62;

// Feature words: an unknown incompat bit refuses the mount, an unknown ro-compat
// bit refuses to write, an unknown compat bit is nobody's business.
inline constexpr uint64_t kKnownCompat = 0;
inline constexpr uint64_t kKnownRoCompat = 0;
inline constexpr uint64_t kKnownIncompat = 0;

struct Superblock {
  uint32_t format_version = kFormatVersion;
  uint64_t compat = 0, ro_compat = 0, incompat = 0;
  uint64_t sequence = 0;
  Uuid uuid;
  std::string label;  // at most kLabelBytesMax bytes
  uint64_t volume_bytes = 0;
  SipHashKey name_hash_key{};
  int64_t created_s = 0;

  // The journal's current segment (see store/journal.h). Written by the store.
  DeviceRange journal;
  uint64_t journal_generation = 0;

  // True between a clean unmount (or mkfs) and the first allocation of a mount.
  bool clean = false;
  // The allocator image of a clean unmount (Allocator::EncodeImage, whole blocks, the
  // CRC over all of them); length 0: none, rebuild. The image may call its own blocks free or
  // used; they are free once it has been read and `clean` is durably false.
  DeviceRange allocator_image;
  uint32_t allocator_image_crc32c = 0;
};

// One block. Decode refuses wrong magic (kNotCofs), wrong checksum (kCorrupt),
// unknown version or incompat bits (kUnsupportedFormat), impossible values.
std::string EncodeSuperblock(const Superblock& superblock);
Result<Superblock> DecodeSuperblock(std::string_view block);

// The superblocks of one open volume. Thread-safe.
class SuperblockSlots {
 public:
  // Reads both; kNotCofs when neither has the magic, kCorrupt when neither is
  // valid, kCorrupt when the device is shorter than volume_bytes ("truncated").
  // One damaged or unreadable copy is survived, with a warning in the log.
  static Result<std::unique_ptr<SuperblockSlots>> Load(BlockDevice& device);
  // mkfs: writes both copies (with the next sequence number), durable on return.
  // Superblocks that were there are erased durably first.
  static Status Format(BlockDevice& device, const Superblock& superblock);

  Superblock current() const EXCLUDES(mutex_);
  // Applies `change` to a copy, writes it over the older slot with the next
  // sequence number, durable on return (write, then flush; preceded by a flush, so
  // that all completed writes that it refers to are durable before it), and then over
  // the other slot; when only that fails, a line in the log says so.
  // On an error nothing has changed in memory; the device may hold the old or the new
  // copy, so the caller must stay able to live with either (it stops writing).
  Status Update(const std::function<void(Superblock&)>& change) EXCLUDES(mutex_);
  // Reads both copies again; `report` gets one error for each that is not what it must be.
  void VerifyCopies(const std::function<void(const Error&)>& report) const EXCLUDES(mutex_);

 private:
  SuperblockSlots(BlockDevice& device, Superblock superblock, int newest_slot)
      : device_(device), current_(std::move(superblock)), newest_slot_(newest_slot) {}

  BlockDevice& device_;
  mutable Mutex mutex_;
  Superblock current_ GUARDED_BY(mutex_);
  int newest_slot_ GUARDED_BY(mutex_);
};

}  // namespace cofs
