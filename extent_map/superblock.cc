#include "extent_map/superblock.h"

#include <cstddef>
#include <cstring>

#include "base/crc32c.h"

namespace cofs {
namespace {

// Not printable as a whole, so that a text file or a transfer that touches line ends
// can't pass for it.
constexpr char kMagic[8] = {'\x89', 'c', 'o', 'f', 's', '\r', '\n', '\x1a'};

constexpr uint32_t kStateClean = 1;

// One copy of the superblock, little-endian.
//
//   offset  size  field
//        0     8  magic, in every version
//        8     4  format version, in every version
//       12     4  CRC-32C of the block with this field zero, in every version
//       16     8  compat
//       24     8  ro-compat
//       32     8  incompat
//       40     8  sequence
//       48    16  uuid
//       64    32  label, zero-padded
//       96     8  volume bytes
//      104    16  key of the name hash
//      120     8  created, seconds since 1970 (signed)
//      128     8  journal segment, offset
//      136     8  journal segment, bytes
//      144     8  journal generation
//      152     4  state (bit 0: clean)
//      156     4  CRC-32C of the allocator image
//      160     8  allocator image, offset
//      168     8  allocator image, bytes
//      176     4  block bytes (4096)
//      180  3916  reserved, zero
struct SuperblockLayout {
  char magic[8];
  uint32_t format_version;
  uint32_t crc32c;
  uint64_t compat;
  uint64_t ro_compat;
  uint64_t incompat;
  uint64_t sequence;
  uint8_t uuid[16];
  char label[kLabelBytesMax];
  uint64_t volume_bytes;
  uint64_t name_hash_key[2];
  int64_t created_s;
  uint64_t journal_offset;
  uint64_t journal_bytes;
  uint64_t journal_generation;
  uint32_t state;
  uint32_t allocator_image_crc32c;
  uint64_t allocator_image_offset;
  uint64_t allocator_image_bytes;
  uint32_t block_bytes;
  char reserved[3916];
};
static_assert(sizeof(SuperblockLayout) == kBlockBytes);
static_assert(offsetof(SuperblockLayout, crc32c) == 12);
static_assert(offsetof(SuperblockLayout, sequence) == 40);
static_assert(offsetof(SuperblockLayout, label) == 64);
static_assert(offsetof(SuperblockLayout, volume_bytes) == 96);
static_assert(offsetof(SuperblockLayout, journal_offset) == 128);
static_assert(offsetof(SuperblockLayout, state) == 152);
static_assert(offsetof(SuperblockLayout, allocator_image_offset) == 160);
static_assert(offsetof(SuperblockLayout, reserved) == 180);

Error Impossible(std::string_view what) {
  return Error(ErrorCode::kCorrupt, StrCat("superblock: ", what));
}

bool InsideDataArea(DeviceRange range, uint64_t volume_bytes) {
  return IsBlockAligned(range.offset.value()) && IsBlockAligned(range.length_bytes) &&
         range.offset >= kReservedEnd && range.offset.value() <= volume_bytes &&
         range.length_bytes <= volume_bytes - range.offset.value();
}

Status CheckPlausible(const Superblock& superblock) {
  const uint64_t bytes = superblock.volume_bytes;
  if (bytes < kVolumeBytesMin || bytes > INT64_MAX || !IsBlockAligned(bytes))
    return Impossible(StrCat("volume size ", bytes));
  if (superblock.sequence == 0) return Impossible("sequence number zero");
  if (superblock.label.size() > kLabelBytesMax ||
      superblock.label.find('\0') != std::string::npos)
    return Impossible("label");
  if (superblock.journal.length_bytes == 0 || !InsideDataArea(superblock.journal, bytes))
    return Impossible("place of the journal");
  const DeviceRange image = superblock.allocator_image;
  if (image.length_bytes == 0) {
    if (image.offset != DeviceOffset{} || superblock.allocator_image_crc32c != 0)
      return Impossible("allocator image without a length");
  } else if (!InsideDataArea(image, bytes)) {
    return Impossible("place of the allocator image");
  }
  return OkStatus();
}

uint32_t ChecksumOf(const SuperblockLayout& layout) {
  SuperblockLayout copy = layout;
  copy.crc32c = 0;
  return Crc32c(&copy, sizeof(copy));
}

}  // namespace

std::string EncodeSuperblock(const Superblock& superblock) {
  const Status plausible = CheckPlausible(superblock);
  CHECK(plausible.ok(), plausible.ok() ? "" : plausible.error().ToString());
  SuperblockLayout out{};
  std::memcpy(out.magic, kMagic, sizeof(kMagic));
  out.format_version = superblock.format_version;
  out.compat = superblock.compat;
  out.ro_compat = superblock.ro_compat;
  out.incompat = superblock.incompat;
  out.sequence = superblock.sequence;
  std::memcpy(out.uuid, superblock.uuid.bytes.data(), sizeof(out.uuid));
  std::memcpy(out.label, superblock.label.data(), superblock.label.size());
  out.volume_bytes = superblock.volume_bytes;
  out.name_hash_key[0] = superblock.name_hash_key[0];
  out.name_hash_key[1] = superblock.name_hash_key[1];
  out.created_s = superblock.created_s;
  out.journal_offset = superblock.journal.offset.value();
  out.journal_bytes = superblock.journal.length_bytes;
  out.journal_generation = superblock.journal_generation;
  out.state = superblock.clean ? kStateClean : 0;
  out.allocator_image_crc32c = superblock.allocator_image_crc32c;
  out.allocator_image_offset = superblock.allocator_image.offset.value();
  out.allocator_image_bytes = superblock.allocator_image.length_bytes;
  out.block_bytes = kBlockBytes;
  out.crc32c = ChecksumOf(out);
  return std::string(reinterpret_cast<const char*>(&out), sizeof(out));
}

Result<Superblock> DecodeSuperblock(std::string_view block) {
  if (block.size() != sizeof(SuperblockLayout))
    return Error(ErrorCode::kInvalidArgument, "superblock: not one block");
  SuperblockLayout in;
  std::memcpy(&in, block.data(), sizeof(in));
  if (std::memcmp(in.magic, kMagic, sizeof(kMagic)) != 0)
    return Error(ErrorCode::kNotCofs, "superblock");
  if (in.crc32c != ChecksumOf(in)) return Impossible("checksum does not match");
  if (in.format_version != kFormatVersion)
    return Error(ErrorCode::kUnsupportedFormat,
                 StrCat("format version ", in.format_version));
  if ((in.incompat & ~kKnownIncompat) != 0)
    return Error(ErrorCode::kUnsupportedFormat,
                 StrCat("incompatible features 0x", std::hex, in.incompat));
  if (in.block_bytes != kBlockBytes)
    return Impossible(StrCat("block size ", in.block_bytes));
  if ((in.state & ~kStateClean) != 0) return Impossible("unknown state bits");
  if (std::string_view(in.reserved, sizeof(in.reserved)).find_first_not_of('\0') !=
      std::string_view::npos)
    return Impossible("reserved bytes are not zero");

  Superblock out;
  out.format_version = in.format_version;
  out.compat = in.compat;
  out.ro_compat = in.ro_compat;
  out.incompat = in.incompat;
  out.sequence = in.sequence;
  if (in.sequence > kSuperblockSequenceMax) return Impossible("sequence number");
  std::memcpy(out.uuid.bytes.data(), in.uuid, sizeof(in.uuid));
  const std::string_view label(in.label, sizeof(in.label));
  out.label = label.substr(0, label.find('\0'));
  if (label.find_first_not_of('\0', out.label.size()) != std::string_view::npos)
    return Impossible("label is not zero-padded");
  out.volume_bytes = in.volume_bytes;
  out.name_hash_key = {in.name_hash_key[0], in.name_hash_key[1]};
  out.created_s = in.created_s;
  out.journal = {DeviceOffset{in.journal_offset}, in.journal_bytes};
  out.journal_generation = in.journal_generation;
  out.clean = (in.state & kStateClean) != 0;
  out.allocator_image = {DeviceOffset{in.allocator_image_offset}, in.allocator_image_bytes};
  out.allocator_image_crc32c = in.allocator_image_crc32c;
  TRY(CheckPlausible(out));
  return out;
}

}  // namespace cofs
