// How two slots survive everything:
// 1. Update() writes one slot after the other, the second when the first is durable: at
//    any time one of them is whole, and between updates both are the newest, so that
//    either may rot.
// 2. It begins with the slot that is not known to be the newest: after an update that
//    did not get to its end, the newest copy is not the first to be written over.
// 3. All that a new copy refers to is durable before it is written (flush before).
// 4. Format() removes both old copies durably before it writes a new one: a torn mkfs
//    leaves no volume or the new one, never the old superblock over new contents.
// 5. A copy of a newer format refuses the volume even if the other copy is ours: the
//    program that wrote it may have changed more than the superblock.
#include <algorithm>
#include <array>
#include <cstring>

#include "base/aligned_buffer.h"
#include "base/log.h"
#include "extent_map/superblock.h"

namespace cofs {
namespace {

Status WriteSlot(BlockDevice& device, int slot, std::string_view block) {
  AlignedBuffer buffer(kBlockBytes);
  std::memcpy(buffer.data(), block.data(), kBlockBytes);
  return device.Write(kSuperblockOffsets[slot], buffer.span());
}

Result<Superblock> ReadSlot(BlockDevice& device, int slot) {
  const DeviceOffset offset = kSuperblockOffsets[slot];
  if (device.geometry().size_bytes < offset.value() + kBlockBytes)
    return Error(ErrorCode::kNotCofs, "the device ends before the superblock");
  AlignedBuffer buffer(kBlockBytes);
  TRY(device.Read(offset, buffer.span()));
  return DecodeSuperblock({buffer.data(), kBlockBytes});
}

uint64_t SequenceAfter(uint64_t sequence) {
  return std::min(sequence + 1, kSuperblockSequenceMax);
}

// Which of two failures says more about what the device holds.
int Weight(ErrorCode code) {
  switch (code) {
    case ErrorCode::kUnsupportedFormat:
      return 3;
    case ErrorCode::kCorrupt:
      return 2;
    case ErrorCode::kNotCofs:
      return 0;
    default:
      return 1;
  }
}

}  // namespace

Result<std::unique_ptr<SuperblockSlots>> SuperblockSlots::Load(BlockDevice& device) {
  const std::string& path = device.geometry().path;
  const std::array<Result<Superblock>, 2> slots{ReadSlot(device, 0), ReadSlot(device, 1)};
  for (const Result<Superblock>& slot : slots)
    if (slot.Is(ErrorCode::kUnsupportedFormat)) return slot.error().Within(path);
  if (!slots[0].ok() && !slots[1].ok()) {
    const bool second = Weight(slots[1].error().code()) > Weight(slots[0].error().code());
    return slots[second ? 1 : 0].error().Within(path);
  }

  int newest = slots[0].ok() ? 0 : 1;
  if (slots[0].ok() && slots[1].ok()) {
    if (slots[0]->uuid != slots[1]->uuid)
      return Error(ErrorCode::kCorrupt, path + ": the superblocks are of two volumes");
    newest = slots[1]->sequence > slots[0]->sequence ? 1 : 0;
  } else {
    LogWarning(StrCat(path, ": superblock ", 1 - newest,
                      " is lost and will be written anew: ",
                      slots[1 - newest].error().ToString()));
  }
  const Superblock& superblock = slots[newest].value();
  if (device.geometry().size_bytes < superblock.volume_bytes)
    return Error(ErrorCode::kCorrupt,
                 StrCat(path, ": truncated: the volume has ", superblock.volume_bytes,
                        " bytes, the device ", device.geometry().size_bytes));
  return std::unique_ptr<SuperblockSlots>(
      new SuperblockSlots(device, superblock, newest));
}

Status SuperblockSlots::Format(BlockDevice& device, const Superblock& superblock) {
  const std::string nothing(kBlockBytes, '\0');
  for (int slot : {0, 1}) TRY(WriteSlot(device, slot, nothing));
  TRY(device.Flush());
  Superblock first = superblock;
  first.sequence = SequenceAfter(superblock.sequence);
  const std::string block = EncodeSuperblock(first);
  for (int slot : {0, 1}) {
    TRY(WriteSlot(device, slot, block));
    TRY(device.Flush());
  }
  return OkStatus();
}

Superblock SuperblockSlots::current() const {
  MutexLock lock(mutex_);
  return current_;
}

void SuperblockSlots::VerifyCopies(const std::function<void(const Error&)>& report) const {
  MutexLock lock(mutex_);
  for (int slot : {0, 1}) {
    const std::string place =
        StrCat("superblock ", slot, " at device offset ", kSuperblockOffsets[slot]);
    const auto copy = ReadSlot(device_, slot);
    if (!copy.ok())
      report(copy.error().Within(place));
    else if (EncodeSuperblock(*copy) != EncodeSuperblock(current_))
      report(Error(ErrorCode::kCorrupt, place + " is not what was written last"));
  }
}

Status SuperblockSlots::Update(const std::function<void(Superblock&)>& change) {
  MutexLock lock(mutex_);
  Superblock next = current_;
  change(next);
  const bool was_last = current_.sequence == kSuperblockSequenceMax;
  next.sequence = SequenceAfter(current_.sequence);
  const std::string block = EncodeSuperblock(next);
  const int slot = 1 - newest_slot_;
  TRY(device_.Flush());
  TRY(WriteSlot(device_, slot, block));
  TRY(device_.Flush());
  current_ = std::move(next);
  newest_slot_ = slot;
  // From here on the update holds; the other copy is for a day on which this one rots.
  Status second = WriteSlot(device_, 1 - slot, block);
  if (second.ok()) second = device_.Flush();
  // Which of two is the newer one can't be told any more by their numbers.
  if (!second.ok() && was_last) return second;
  if (!second.ok())
    LogWarning(StrCat(device_.geometry().path, ": superblock ", 1 - slot,
                      " was not written: ", second.error().ToString()));
  return OkStatus();
}

}  // namespace cofs
