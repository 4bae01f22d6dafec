#include "fuzz/fuzz_targets.h"

#include <algorithm>
#include <cstring>
#include <string_view>

#include "base/check.h"
#include "base/crc32c.h"
#include "extent_map/allocator.h"
#include "extent_map/heartbeat.h"
#include "extent_map/records.h"
#include "extent_map/store/envelope.h"
#include "extent_map/store/journal_state.h"
#include "extent_map/superblock.h"
#include "fs/fuse/mount_options.h"
#include "fuzz/ioctl_target.h"

namespace cofs {
namespace {

std::string_view View(std::span<const char> bytes) { return {bytes.data(), bytes.size()}; }

// A whole block; what is too long is cut, what is short is filled with zeros.
std::string AsBlock(std::span<const char> input) {
  std::string block(kBlockBytes, '\0');
  std::copy_n(input.data(), std::min<size_t>(input.size(), kBlockBytes), block.data());
  return block;
}

void PutChecksum(std::string& block, size_t at, size_t checked_bytes) {
  const uint32_t crc32c = Crc32c(block.data(), checked_bytes);
  std::memcpy(block.data() + at, &crc32c, sizeof(crc32c));
}

void RunSuperblock(std::span<const char> input) {
  DecodeSuperblock(View(input)).IgnoreError("fuzzing");
  // Past the checksum, which covers the block with its own field zero.
  std::string block = AsBlock(input);
  std::memset(block.data() + 12, 0, 4);
  PutChecksum(block, 12, kBlockBytes);
  const auto superblock = DecodeSuperblock(block);
  if (superblock.ok())
    CHECK(EncodeSuperblock(*superblock) == block, "not what EncodeSuperblock writes");
}

std::vector<std::string> SeedSuperblocks() {
  Superblock superblock;
  superblock.label = "a label";
  superblock.sequence = 7;
  superblock.volume_bytes = 1 << 30;
  superblock.journal = {DeviceOffset{4 << 20}, 1 << 20};
  superblock.journal_generation = 3;
  Superblock clean = superblock;
  clean.clean = true;
  clean.allocator_image = {DeviceOffset{64 << 20}, 8192};
  clean.allocator_image_crc32c = 99;
  return {EncodeSuperblock(superblock), EncodeSuperblock(clean)};
}

void RunHeartbeat(std::span<const char> input) {
  std::string block = AsBlock(input);
  std::memset(block.data() + 12, 0, 4);
  PutChecksum(block, 12, kBlockBytes);
  const auto heartbeat = DecodeHeartbeat(block);
  if (heartbeat.ok())
    CHECK(EncodeHeartbeat(*heartbeat) == block, "not what EncodeHeartbeat writes");
}

std::vector<std::string> SeedHeartbeats() {
  Heartbeat heartbeat;
  heartbeat.state = HeartbeatState::kMounted;
  heartbeat.sequence = 7;
  heartbeat.interval_ms = 2000;
  heartbeat.pid = 12;
  heartbeat.host = "a host";
  heartbeat.device = "/dev/sda1";
  return {EncodeHeartbeat(heartbeat).substr(0, 512)};
}

template <typename Decode, typename Encode>
void RoundTrip(std::string_view value, Decode decode, Encode encode) {
  const auto record = decode(value);
  if (record.ok()) CHECK(encode(*record) == value, "not what the encoder writes");
}

// The first byte says which record it is.
void RunRecords(std::span<const char> input) {
  if (input.empty()) return;
  const std::string_view value = View(input.subspan(1));
  switch (static_cast<unsigned char>(input[0]) % 8) {
    case 0:
      return RoundTrip(value, DecodeInode, EncodeInode);
    case 1:
      return RoundTrip(value, DecodeDentry, EncodeDentry);
    case 2:
      return RoundTrip(
          value, [](std::string_view v) { return DecodeExtent(FileOffset{8192}, v); },
          EncodeExtent);
    case 3:
      return RoundTrip(value, DecodeShared, EncodeShared);
    case 4:
      return RoundTrip(value, DecodeChecksums, EncodeChecksums);
    case 5:
      return RoundTrip(value, DecodeInodeCounter, EncodeInodeCounter);
    case 6:
      ParseKey(value).IgnoreError("fuzzing");
      return;
    default:
      return RoundTrip(value, DecodeScrub, EncodeScrub);
  }
}

std::vector<std::string> SeedRecords() {
  InodeRecord file;
  file.mode = 0100644;
  file.link_count = 1;
  file.size_bytes = 12345;
  file.allocated_bytes = 16384;
  InodeRecord symlink = file;
  symlink.mode = 0120777;
  symlink.allocated_bytes = 0;
  symlink.symlink_target = "where/it/leads";
  symlink.size_bytes = symlink.symlink_target.size();
  InodeRecord directory;
  directory.mode = 0040755;
  directory.link_count = 2;
  directory.parent = kRootInode;
  ChecksumChunk chunk;
  chunk.present = 0x8001;
  chunk.crc32c[0] = 1;
  chunk.crc32c[15] = 2;
  Extent extent;
  extent.file_offset = FileOffset{8192};
  extent.device_offset = DeviceOffset{1 << 20};
  extent.length_bytes = 65536;
  std::vector<std::string> seeds = {
      '\0' + EncodeInode(file), '\0' + EncodeInode(symlink), '\0' + EncodeInode(directory),
      '\1' + EncodeDentry({"a name", InodeId{42}, 8}), '\2' + EncodeExtent(extent),
      '\3' + EncodeShared({4096, 2}), '\4' + EncodeChecksums(chunk),
      '\5' + EncodeInodeCounter(InodeId{1000})};
  for (const std::string& key :
       {InodeCounterKey(), InodeKey(InodeId{1}), DentryKey(InodeId{1}, kCookieMin),
        ExtentKey(InodeId{2}, FileOffset{4096}), XattrKey(InodeId{2}, "user.name"),
        OrphanKey(InodeId{3}), ChecksumKey(DeviceOffset{1 << 20}),
        SharedKey(DeviceOffset{1 << 21})})
    seeds.push_back('\6' + key);
  ScrubRecord scrub;
  scrub.inode = InodeId{42};
  scrub.file_offset = FileOffset{8192};
  seeds.push_back('\7' + EncodeScrub(scrub));
  return seeds;
}

void RunJournal(std::span<const char> input) {
  if (input.empty()) return;
  const std::string_view bytes = View(input.subspan(1));
  if (input[0] % 2 == 0) {
    const auto state = store::DecodeSnapshot(bytes);
    if (state.ok())
      CHECK(store::EncodeSnapshot(*state) == bytes, "not what EncodeSnapshot writes");
    return;
  }
  store::JournalState state;
  state.chunk_bytes = 65536;
  if (store::ApplyChanges(state, bytes).ok()) store::EncodeSnapshot(state);
}

std::vector<std::string> SeedJournals() {
  std::string changes;
  store::EncodePoolRange(changes, {DeviceOffset{2 << 20}, 1 << 20});
  store::EncodeFileIdLimit(changes, 100);
  store::EncodeCreate(changes, 5, store::FileKind::kGroups, "000005.log");
  store::EncodeExtend(changes, 5, {DeviceOffset{2 << 20}, 65536});
  store::EncodeCreate(changes, 6, store::FileKind::kWhole, "CURRENT.tmp");
  store::EncodeExtend(changes, 6, {DeviceOffset{(2 << 20) + 65536}, 65536});
  store::EncodeRename(changes, 6, "CURRENT");
  std::string snapshot;
  store::JournalState state;
  state.chunk_bytes = 65536;
  if (store::ApplyChanges(state, changes).ok()) snapshot = store::EncodeSnapshot(state);
  CHECK(!snapshot.empty(), "the changes of the seed can't be applied");
  std::string removed = changes;
  store::EncodeDelete(removed, 6);
  std::string shrunk = changes;
  store::EncodeTrim(shrunk, 6, {DeviceOffset{(2 << 20) + 65536}, 65536});
  store::EncodeGiveBack(shrunk, {DeviceOffset{(2 << 20) + 131072}, 131072});
  store::JournalState after;
  after.chunk_bytes = 65536;
  CHECK(store::ApplyChanges(after, shrunk).ok(), "the changes of the seed can't be applied");
  return {'\0' + snapshot, '\1' + changes, '\1' + removed, '\1' + shrunk};
}

void RunEnvelope(std::span<const char> input) {
  std::string block = AsBlock(input);
  PutChecksum(block, kBlockBytes - 4, kBlockBytes - 4);
  const auto label = store::OpenBlock(block.data());
  if (!label.ok()) return;
  std::string sealed = block;
  store::SealBlock(sealed.data(), *label);
  CHECK(std::memcmp(sealed.data() + store::kPayloadBytes,
                    block.data() + store::kPayloadBytes, 28) == 0,
        "not the trailer that SealBlock writes");
}

std::vector<std::string> SeedEnvelopes() {
  std::string block(kBlockBytes, 'x');
  store::SealBlock(block.data(), {.file_id = 5,
                                  .sync_group = 2,
                                  .block_index = 1,
                                  .used_bytes = 700,
                                  .last_of_group = true});
  return {block};
}

constexpr uint64_t kImageVolumeBytes = 256 << 20;

void RunAllocatorImage(std::span<const char> input) {
  const auto allocator = Allocator::DecodeImage(View(input), kImageVolumeBytes);
  if (allocator.ok())
    CHECK((*allocator)->EncodeImage() == View(input), "not what EncodeImage writes");
}

std::vector<std::string> SeedAllocatorImages() {
  Allocator allocator(kImageVolumeBytes);
  CHECK(allocator.Release({DeviceOffset{8 << 20}, 1 << 20}).ok() &&
            allocator.Release({DeviceOffset{32 << 20}, 4096}).ok(),
        "free space of the seed");
  return {allocator.EncodeImage()};
}

// Arguments separated by zero bytes, after a list of options.
void RunMountOptions(std::span<const char> input) {
  const std::string_view text = View(input);
  const size_t end = std::min(text.find('\0'), text.size());
  MountOptions options;
  ParseOptionList(text.substr(0, end), options).IgnoreError("fuzzing");
  ParseSize(text.substr(0, end)).IgnoreError("fuzzing");
  std::vector<std::string> arguments;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t stop = std::min(text.find('\0', begin), text.size());
    arguments.emplace_back(text.substr(begin, stop - begin));
    begin = stop + 1;
  }
  ParseMountArguments(arguments).IgnoreError("fuzzing");
}

std::vector<std::string> SeedMountOptions() {
  using namespace std::string_literals;
  return {"ro,noatime,copy=device,cache=64M"s,
          "rw,context=\"a,b\",x-systemd.automount,noexec\\,nosuid"s,
          "-f\0-o\0sync,discard\0/dev/sdx\0/mnt"s, "-s\0-t\0cofs\0image\0dir\0-o\0ro"s,
          "17G"s};
}

}  // namespace

const FuzzTarget kFuzzTargets[] = {
    {"superblock", RunSuperblock, SeedSuperblocks},
    {"heartbeat", RunHeartbeat, SeedHeartbeats},
    {"records", RunRecords, SeedRecords},
    {"journal", RunJournal, SeedJournals},
    {"envelope", RunEnvelope, SeedEnvelopes},
    {"allocator_image", RunAllocatorImage, SeedAllocatorImages},
    {"mount_options", RunMountOptions, SeedMountOptions},
    {"ioctls", RunIoctls, SeedIoctls},
};
const size_t kFuzzTargetCount = std::size(kFuzzTargets);

const FuzzTarget* FindFuzzTarget(const std::string& name) {
  for (const FuzzTarget& target : kFuzzTargets)
    if (name == target.name) return &target;
  return nullptr;
}

}  // namespace cofs
