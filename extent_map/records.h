// Records of the store: their keys and values. docs/FORMAT.md has the tables and a
// worked example; tests hold golden bytes for each.
//
// Keys are big-endian, so that byte order is numeric order, and one inode's records
// are adjacent:
//
//   0x01 'i'                        counters: the next inode number not yet leased
//   0x01 's'                        where the last scrub stands
//   0x10 inode(8) 'i'               inode
//   0x10 inode(8) 'd' cookie(8)     directory entry
//   0x10 inode(8) 'e' offset(8)     extent
//   0x10 inode(8) 'x' name          extended attribute
//   0x20 inode(8)                   orphan: open and unlinked, to be reaped (no value)
//   0x30 device offset(8)           checksums of a chunk of kChecksumChunkBytes
//   0x40 device offset(8)           shared range: length and reference count
//
// Every Decode refuses what Encode would not have written, with kCorrupt; ParseKey's
// error shows the key. An Encode ends the process (CHECK) when its record is one that
// Decode would refuse: check what comes from a caller before.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/siphash.h"
#include "base/types.h"
#include "extent_map/extent.h"

namespace cofs {

inline constexpr InodeId kRootInode{1};
inline constexpr InodeId kFirstFreeInode{16};
inline constexpr size_t kNameBytesMax = 255;
inline constexpr size_t kSymlinkBytesMax = 4095;
inline constexpr size_t kXattrNameBytesMax = 255;
inline constexpr size_t kXattrValueBytesMax = 65536;
inline constexpr uint64_t kFileBytesMax = INT64_MAX & ~(kBlockBytes - 1);
inline constexpr uint32_t kLinkCountMax = 0x7fffffff;
// A count that has come so far stays there for good: its blocks are never freed.
inline constexpr uint32_t kReferenceCountMax = UINT32_MAX;

// Seconds since 1970 and nanoseconds in [0, 1e9).
struct Timestamp {
  int64_t seconds = 0;
  uint32_t nanoseconds = 0;
  friend auto operator<=>(const Timestamp&, const Timestamp&) = default;
};

// Flags of an inode.
inline constexpr uint32_t kInodeHasXattr = 1;  // may have xattr records; never missing
inline constexpr uint32_t kInodeImmutable = 2;   // chattr +i
inline constexpr uint32_t kInodeAppendOnly = 4;  // chattr +a
inline constexpr uint32_t kInodeNoDump = 8;      // chattr +d
inline constexpr uint32_t kInodeFlagsKnown = 15;

struct InodeRecord {
  uint32_t mode = 0;  // type and permissions, as in st_mode
  uint32_t uid = 0, gid = 0;
  uint32_t link_count = 0;  // directories: 2 + subdirectories
  uint64_t size_bytes = 0;  // directories: number of entries; symlinks: target length
  uint64_t allocated_bytes = 0;  // by extents
  Timestamp atime, mtime, ctime, btime;
  uint32_t rdev = 0;   // as the kernel encodes it (new_encode_dev)
  uint32_t flags = 0;  // kInode...
  InodeId parent;      // directories only, else 0; any when link_count is 0
  std::string symlink_target;
  friend bool operator==(const InodeRecord&, const InodeRecord&) = default;
};

struct DentryRecord {
  std::string name;
  InodeId inode;
  uint8_t type = 0;  // DT_*: S_IFMT >> 12
  friend bool operator==(const DentryRecord&, const DentryRecord&) = default;
};

// Position of an entry in its directory: 55 bits of hash, 7 bits of collision index.
// Positive as a signed 64-bit number, at least kCookieMin (1 and 2 are . and ..).
inline constexpr uint64_t kCookieMin = 3;
inline constexpr unsigned kCollisionIndexCount = 128;
// The first cookie of `name`'s hash: index 0. Index k is at + k.
uint64_t CookieBase(const SipHashKey& key, std::string_view name);

// ---- checksums, by place on the device ----
inline constexpr uint64_t kChecksumChunkBlocks = 64;
inline constexpr uint64_t kChecksumChunkBytes = kChecksumChunkBlocks * kBlockBytes;

struct ChecksumChunk {
  uint64_t present = 0;  // bit k: block k of the chunk has a checksum
  std::array<uint32_t, kChecksumChunkBlocks> crc32c{};
};

struct SharedRecord {
  uint64_t length_bytes = 0;
  uint32_t reference_count = 0;  // at least 2
  friend bool operator==(const SharedRecord&, const SharedRecord&) = default;
};

// Where the last scrub stands: how far it came, or that it came to its end.
struct ScrubRecord {
  bool is_finished = false;
  // It goes on with this file, from this place on. Inode 0: from the start, the metadata
  // included, when it is not finished.
  InodeId inode;
  FileOffset file_offset;
  uint64_t verified_bytes = 0;
  uint64_t damage_count = 0;
  int64_t started_s = 0, saved_s = 0;  // since 1970
  friend bool operator==(const ScrubRecord&, const ScrubRecord&) = default;
};

// ---- keys ----
enum class RecordKind : uint8_t {
  kInodeCounter, kInode, kDentry, kExtent, kXattr, kOrphan, kChecksums, kShared, kScrub
};
struct ParsedKey {
  RecordKind kind = RecordKind::kInode;
  InodeId inode;         // kInode, kDentry, kExtent, kXattr, kOrphan
  uint64_t position = 0;  // cookie, file offset or device offset
  std::string xattr_name;
};
std::string InodeCounterKey();
std::string ScrubKey();
std::string InodeKey(InodeId inode);
std::string DentryKey(InodeId directory, uint64_t cookie);
std::string ExtentKey(InodeId inode, FileOffset offset);
std::string XattrKey(InodeId inode, std::string_view name);
std::string OrphanKey(InodeId inode);
std::string ChecksumKey(DeviceOffset chunk);  // rounded down to a chunk
std::string SharedKey(DeviceOffset offset);
Result<ParsedKey> ParseKey(std::string_view key);

// Bounds for walks: [first, last) of one kind for one inode, or of a whole kind.
struct KeyRange {
  std::string first, last;
};
KeyRange DentryKeys(InodeId directory);
KeyRange ExtentKeys(InodeId inode);
KeyRange XattrKeys(InodeId inode);
KeyRange AllOfInode(InodeId inode);
KeyRange AllFileRecords();  // 0x10
KeyRange AllOrphans();
KeyRange AllChecksums();
KeyRange AllShared();

// ---- values ----
std::string EncodeInode(const InodeRecord& record);
Result<InodeRecord> DecodeInode(std::string_view value);
std::string EncodeDentry(const DentryRecord& record);
Result<DentryRecord> DecodeDentry(std::string_view value);
std::string EncodeExtent(const Extent& extent);  // without the key's part
Result<Extent> DecodeExtent(FileOffset key_offset, std::string_view value);
std::string EncodeShared(const SharedRecord& record);
Result<SharedRecord> DecodeShared(std::string_view value);
std::string EncodeChecksums(const ChecksumChunk& chunk);
Result<ChecksumChunk> DecodeChecksums(std::string_view value);
std::string EncodeInodeCounter(InodeId next);
Result<InodeId> DecodeInodeCounter(std::string_view value);
std::string EncodeScrub(const ScrubRecord& record);
Result<ScrubRecord> DecodeScrub(std::string_view value);

// `later`'s blocks over `earlier`'s. The store's merge operator.
ChecksumChunk MergeChecksums(const ChecksumChunk& earlier, const ChecksumChunk& later);

}  // namespace cofs
