#include "base/codec.h"
#include "extent_map/records.h"

namespace cofs {
namespace {

constexpr char kCounterSpace = 0x01;
constexpr char kFileSpace = 0x10;
constexpr char kOrphanSpace = 0x20;
constexpr char kChecksumSpace = 0x30;
constexpr char kSharedSpace = 0x40;

constexpr char kInodeCounterTag = 'i';
constexpr char kScrubTag = 's';
constexpr char kInodeTag = 'i';
constexpr char kDentryTag = 'd';
constexpr char kExtentTag = 'e';
constexpr char kXattrTag = 'x';

std::string SpaceAndNumber(char space, uint64_t number) {
  std::string key;
  key.reserve(18);
  key.push_back(space);
  ByteWriter(key).Big64(number);
  return key;
}

std::string FileKey(InodeId inode, char tag) {
  std::string key = SpaceAndNumber(kFileSpace, inode.value());
  key.push_back(tag);
  return key;
}

KeyRange WholeSpace(char space) {
  return {std::string(1, space), std::string(1, static_cast<char>(space + 1))};
}

KeyRange OneKind(InodeId inode, char tag) {
  return {FileKey(inode, tag), FileKey(inode, static_cast<char>(tag + 1))};
}

// 0x10 inode(8) tag rest
bool ParseFileKey(ByteReader& reader, ParsedKey& out) {
  out.inode = InodeId{reader.Big64()};
  const char tag = static_cast<char>(reader.U8());
  if (!reader.ok() || out.inode.value() == 0) return false;
  switch (tag) {
    case kInodeTag:
      out.kind = RecordKind::kInode;
      return reader.Finished();
    case kDentryTag:
      out.kind = RecordKind::kDentry;
      out.position = reader.Big64();
      return reader.Finished() && out.position >= kCookieMin && out.position <= INT64_MAX;
    case kExtentTag:
      out.kind = RecordKind::kExtent;
      out.position = reader.Big64();
      return reader.Finished() && IsBlockAligned(out.position) &&
             out.position < kFileBytesMax;
    case kXattrTag:
      out.kind = RecordKind::kXattr;
      out.xattr_name = reader.Rest();
      return !out.xattr_name.empty() && out.xattr_name.size() <= kXattrNameBytesMax &&
             out.xattr_name.find('\0') == std::string::npos;
    default:
      return false;
  }
}

// 0x01 tag
bool ParseSingleKey(ByteReader& reader, ParsedKey& out) {
  const char tag = static_cast<char>(reader.U8());
  out.kind = tag == kScrubTag ? RecordKind::kScrub : RecordKind::kInodeCounter;
  return reader.Finished() && (tag == kScrubTag || tag == kInodeCounterTag);
}

bool Parse(std::string_view key, ParsedKey& out) {
  ByteReader reader(key);
  switch (static_cast<char>(reader.U8())) {
    case kCounterSpace:
      return ParseSingleKey(reader, out);
    case kFileSpace:
      return ParseFileKey(reader, out);
    case kOrphanSpace:
      out.kind = RecordKind::kOrphan;
      out.inode = InodeId{reader.Big64()};
      return reader.Finished() && out.inode.value() != 0;
    case kChecksumSpace:
      out.kind = RecordKind::kChecksums;
      out.position = reader.Big64();
      return reader.Finished() && out.position % kChecksumChunkBytes == 0;
    case kSharedSpace:
      out.kind = RecordKind::kShared;
      out.position = reader.Big64();
      return reader.Finished() && IsBlockAligned(out.position);
    default:
      return false;
  }
}

std::string Hex(std::string_view bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (unsigned char byte : bytes.substr(0, 64)) {
    out.push_back(kDigits[byte >> 4]);
    out.push_back(kDigits[byte & 15]);
  }
  if (bytes.size() > 64) out += "...";
  return out;
}

}  // namespace

uint64_t CookieBase(const SipHashKey& key, std::string_view name) {
  const uint64_t hash = SipHash24(key, name) >> 9;
  // Hash 0 would give the cookies of . and .. away.
  return (hash == 0 ? 1 : hash) * kCollisionIndexCount;
}

std::string InodeCounterKey() { return {kCounterSpace, kInodeCounterTag}; }
std::string ScrubKey() { return {kCounterSpace, kScrubTag}; }

std::string InodeKey(InodeId inode) { return FileKey(inode, kInodeTag); }

std::string DentryKey(InodeId directory, uint64_t cookie) {
  std::string key = FileKey(directory, kDentryTag);
  ByteWriter(key).Big64(cookie);
  return key;
}

std::string ExtentKey(InodeId inode, FileOffset offset) {
  std::string key = FileKey(inode, kExtentTag);
  ByteWriter(key).Big64(offset.value());
  return key;
}

std::string XattrKey(InodeId inode, std::string_view name) {
  std::string key = FileKey(inode, kXattrTag);
  key.append(name);
  return key;
}

std::string OrphanKey(InodeId inode) { return SpaceAndNumber(kOrphanSpace, inode.value()); }

std::string ChecksumKey(DeviceOffset chunk) {
  return SpaceAndNumber(kChecksumSpace, RoundDown(chunk.value(), kChecksumChunkBytes));
}

std::string SharedKey(DeviceOffset offset) {
  return SpaceAndNumber(kSharedSpace, offset.value());
}

Result<ParsedKey> ParseKey(std::string_view key) {
  ParsedKey out;
  if (!Parse(key, out)) return Error(ErrorCode::kCorrupt, "record key " + Hex(key));
  return out;
}

KeyRange DentryKeys(InodeId directory) { return OneKind(directory, kDentryTag); }
KeyRange ExtentKeys(InodeId inode) { return OneKind(inode, kExtentTag); }
KeyRange XattrKeys(InodeId inode) { return OneKind(inode, kXattrTag); }

KeyRange AllOfInode(InodeId inode) {
  if (inode.value() == UINT64_MAX)
    return {SpaceAndNumber(kFileSpace, UINT64_MAX), std::string(1, kFileSpace + 1)};
  return {SpaceAndNumber(kFileSpace, inode.value()),
          SpaceAndNumber(kFileSpace, inode.value() + 1)};
}

KeyRange AllFileRecords() { return WholeSpace(kFileSpace); }
KeyRange AllOrphans() { return WholeSpace(kOrphanSpace); }
KeyRange AllChecksums() { return WholeSpace(kChecksumSpace); }
KeyRange AllShared() { return WholeSpace(kSharedSpace); }

}  // namespace cofs
