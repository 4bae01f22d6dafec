// The catalogue of what fsck.cofs can find. Each entry has a stable id, a severity and
// one line of meaning; tests/fsck has a corruption for each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace cofs {

// kNote: worth a line, and normal after a crash; the volume is sound.
// kError: something is wrong and left as it is: exit code 4.
enum class Severity { kNote, kError };

// X(name, id, severity, meaning)
#define COFS_FINDING_TABLE(X)                                                             \
  X(kSuperblockBehind, "superblock-behind", kNote,                                        \
    "one superblock is an update older, as a crash between their writes leaves it")       \
  X(kSuperblockLost, "superblock-lost", kError,                                           \
    "one superblock is damaged or unreadable; the volume hangs on the other one")         \
  X(kSuperblockBothLost, "superblock-both-lost", kError, "no superblock is valid")        \
  X(kSuperblockDisagree, "superblock-disagree", kError,                                   \
    "the superblocks are not those of one volume, at most one update apart")            \
  X(kVolumeTruncated, "volume-truncated", kError,                                         \
    "the device is shorter than the volume on it")                                        \
  X(kStoreDamaged, "store-damaged", kError,                                               \
    "the journal or a file of the metadata store is damaged")                             \
  X(kUnknownRecord, "unknown-record", kError, "a record has a key of no known kind")      \
  X(kInodeDamaged, "inode-damaged", kError, "an inode record can't be decoded")           \
  X(kDentryDamaged, "entry-damaged", kError, "a directory entry can't be decoded")        \
  X(kExtentDamaged, "extent-damaged", kError, "an extent record can't be decoded")        \
  X(kXattrDamaged, "xattr-damaged", kError, "an extended attribute is too long")          \
  X(kOrphanDamaged, "orphan-damaged", kError, "an orphan record holds what it must not")  \
  X(kChecksumDamaged, "checksum-damaged", kError, "a checksum record can't be decoded")   \
  X(kSharedDamaged, "shared-damaged", kError, "a shared-range record can't be decoded")   \
  X(kCounterDamaged, "counter-damaged", kError,                                           \
    "the record of the next inode number is missing or can't be decoded")                 \
  X(kCounterLow, "counter-low", kError,                                                   \
    "the next inode number is not above all inodes: a number would be used twice")        \
  X(kRootMissing, "root-missing", kError,                                                 \
    "there is no root directory, or its parent is not itself, or it has another name")    \
  X(kRecordsWithoutInode, "records-without-inode", kError,                                \
    "entries, extents or attributes belong to an inode that does not exist")              \
  X(kEntriesOfNoDirectory, "entries-of-no-directory", kError,                             \
    "an inode that is no directory has entries")                                          \
  X(kExtentsOfNoFile, "extents-of-no-file", kError,                                       \
    "an inode that is no regular file has extents")                                       \
  X(kEntryCount, "entry-count", kError,                                                   \
    "a directory's size is not the number of its entries")                                \
  X(kEntryCookie, "entry-cookie", kError,                                                 \
    "an entry's cookie does not belong to its name: look-ups miss it")                    \
  X(kEntryDuplicate, "entry-duplicate", kError, "a directory has a name twice")           \
  X(kEntryDangling, "entry-dangling", kError, "an entry's inode does not exist")          \
  X(kEntryType, "entry-type", kError, "an entry has another type than its inode")         \
  X(kLinkCount, "link-count", kError,                                                     \
    "an inode's link count is not the number of its links")                               \
  X(kUnreachable, "unreachable", kError, "an inode has no entry and is no orphan")        \
  X(kDirectoryParents, "directory-parents", kError,                                       \
    "a directory has more than one entry")                                                \
  X(kDirectoryParent, "directory-parent", kError,                                         \
    "a directory's parent is not the one that holds its entry")                           \
  X(kDirectoryCycle, "directory-cycle", kError, "directories contain each other")         \
  X(kOrphanDangling, "orphan-dangling", kError, "an orphan's inode does not exist")       \
  X(kOrphanLinked, "orphan-linked", kError,                                               \
    "an orphan still has links: it would be deleted with them")                           \
  X(kOrphanMissing, "orphan-missing", kError,                                             \
    "an inode without links has no orphan record: it is never reaped")                    \
  X(kOrphanNotEmpty, "orphan-not-empty", kError, "a removed directory has entries")       \
  X(kXattrFlag, "xattr-flag", kError,                                                     \
    "an inode has extended attributes and does not say so: they are never found")         \
  X(kExtentOverlap, "extent-overlap", kError,                                             \
    "two extents of a file map the same place of it")                                     \
  X(kExtentBeyondEof, "extent-beyond-eof", kError,                                        \
    "a file has written blocks past its end")                                             \
  X(kAllocatedBytes, "allocated-bytes", kError,                                           \
    "a file's allocated bytes are not those of its extents")                              \
  X(kExtentOutside, "extent-outside", kError,                                             \
    "an extent is outside the volume or in its reserved region")                          \
  X(kExtentInPool, "extent-in-pool", kError,                                              \
    "an extent lies in the metadata pool")                                                \
  X(kSharedOutside, "shared-outside", kError,                                             \
    "a shared range is outside the volume or in its reserved region")                     \
  X(kSharedOverlap, "shared-overlap", kError, "two shared ranges overlap")                \
  X(kSharedMissing, "shared-missing", kError,                                             \
    "blocks are mapped more than once without a shared range")                            \
  X(kSharedCount, "shared-count", kError,                                                 \
    "a shared range's reference count is not the number of its owners")                   \
  X(kSharedFlag, "shared-flag", kError,                                                   \
    "an extent of shared blocks lacks the shared flag: it would be written in place")     \
  X(kSharedUnwritten, "shared-unwritten", kError, "unwritten blocks are shared")          \
  X(kChecksumMissing, "checksum-missing", kError, "written blocks have no checksum")      \
  X(kChecksumOutside, "checksum-outside", kError,                                         \
    "a checksum record is of a place outside the volume")                                 \
  X(kImageDamaged, "image-damaged", kError,                                               \
    "the allocator image is unreadable or damaged")                                       \
  X(kImageOverlaps, "image-overlaps", kError,                                             \
    "the allocator image lies in the pool or in a file's blocks")                         \
  X(kImageFreesUsed, "image-frees-used", kError,                                          \
    "the allocator image calls blocks free that are in use")                              \
  X(kImageLeaks, "image-leaks", kError,                                                   \
    "the allocator image calls blocks used that nothing uses")                            \
  X(kDataUnreadable, "data-unreadable", kError, "the device can't read blocks of a file") \
  X(kDataChecksum, "data-checksum", kError,                                               \
    "blocks of a file do not match their checksums")

enum class FindingId {
#define COFS_X(name, id, severity, meaning) name,
  COFS_FINDING_TABLE(COFS_X)
#undef COFS_X
};

inline constexpr size_t kFindingKindCount = 0
#define COFS_X(name, id, severity, meaning) +1
    COFS_FINDING_TABLE(COFS_X)
#undef COFS_X
    ;

struct FindingKind {
  std::string_view id;
  Severity severity;
  std::string_view meaning;
};
const FindingKind& KindOf(FindingId id);

}  // namespace cofs
