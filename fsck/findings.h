// The catalogue of what fsck.cofs can find. Each entry has a stable id, a severity, a
// policy of repair and one line of meaning; tests/fsck has a corruption for each, and its
// repair. docs/FSCK.md shows the table.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace cofs {

// kNote: worth a line, and normal after a crash; the volume is sound.
// kError: something is wrong: exit code 1 when it is repaired, 4 when it is left.
enum class Severity { kNote, kError };

// Who repairs it. kPreen: -p and -y, nothing is lost and there is no choice. kYes: -y;
// something may be lost, or might have been meant otherwise. kNever: neither; the words
// of docs/FSCK.md say what can be done.
enum class RepairPolicy { kPreen, kYes, kNever };

// X(name, id, severity, policy, meaning)
#define COFS_FINDING_TABLE(X)                                                            \
  X(kSuperblockBehind, "superblock-behind", kNote, kPreen,                               \
    "one superblock is an update older, as a crash between their writes leaves it")      \
  X(kSuperblockLost, "superblock-lost", kError, kPreen,                                  \
    "one superblock is damaged or unreadable; the volume hangs on the other one")        \
  X(kSuperblockBothLost, "superblock-both-lost", kError, kNever,                         \
    "no superblock is valid")                                                            \
  X(kSuperblockDisagree, "superblock-disagree", kError, kYes,                            \
    "the superblocks are not those of one volume, at most one update apart")             \
  X(kVolumeTruncated, "volume-truncated", kError, kNever,                                \
    "the device is shorter than the volume on it")                                       \
  X(kStoreDamaged, "store-damaged", kError, kYes,                                        \
    "the journal or a file of the metadata store is damaged")                            \
  X(kUnknownRecord, "unknown-record", kError, kYes,                                      \
    "a record has a key of no known kind")                                               \
  X(kInodeDamaged, "inode-damaged", kError, kYes, "an inode record can't be decoded")    \
  X(kDentryDamaged, "entry-damaged", kError, kYes,                                       \
    "a directory entry can't be decoded")                                                \
  X(kExtentDamaged, "extent-damaged", kError, kYes,                                      \
    "an extent record can't be decoded")                                                 \
  X(kXattrDamaged, "xattr-damaged", kError, kYes, "an extended attribute is too long")   \
  X(kOrphanDamaged, "orphan-damaged", kError, kPreen,                                    \
    "an orphan record holds what it must not")                                           \
  X(kChecksumDamaged, "checksum-damaged", kError, kYes,                                  \
    "a checksum record can't be decoded")                                                \
  X(kSharedDamaged, "shared-damaged", kError, kYes,                                      \
    "a shared-range record can't be decoded")                                            \
  X(kCounterDamaged, "counter-damaged", kError, kPreen,                                  \
    "the record of the next inode number is missing, can't be decoded, or leaves none")                \
  X(kCounterLow, "counter-low", kError, kPreen,                                          \
    "the next inode number is not above all inodes: a number would be used twice")       \
  X(kScrubDamaged, "scrub-damaged", kError, kPreen,                                      \
    "the record of where the last scrub stands can't be decoded")                        \
  X(kRootMissing, "root-missing", kError, kYes,                                          \
    "there is no root directory, or its parent is not itself, or it has another name")   \
  X(kRecordsWithoutInode, "records-without-inode", kError, kYes,                         \
    "entries, extents or attributes belong to an inode that does not exist")             \
  X(kEntriesOfNoDirectory, "entries-of-no-directory", kError, kYes,                      \
    "an inode that is no directory has entries")                                         \
  X(kExtentsOfNoFile, "extents-of-no-file", kError, kYes,                                \
    "an inode that is no regular file has extents")                                      \
  X(kEntryCount, "entry-count", kError, kPreen,                                          \
    "a directory's size is not the number of its entries")                               \
  X(kEntryCookie, "entry-cookie", kError, kPreen,                                        \
    "an entry's cookie does not belong to its name: look-ups miss it")                   \
  X(kEntryDuplicate, "entry-duplicate", kError, kYes, "a directory has a name twice")    \
  X(kEntryDangling, "entry-dangling", kError, kYes, "an entry's inode does not exist")   \
  X(kEntryType, "entry-type", kError, kPreen,                                            \
    "an entry has another type than its inode")                                          \
  X(kLinkCount, "link-count", kError, kPreen,                                            \
    "an inode's link count is not the number of its links")                              \
  X(kUnreachable, "unreachable", kError, kYes,                                           \
    "an inode has no entry and is no orphan")                                            \
  X(kDirectoryParents, "directory-parents", kError, kYes,                                \
    "a directory has more than one entry")                                               \
  X(kDirectoryParent, "directory-parent", kError, kPreen,                                \
    "a directory's parent is not the one that holds its entry")                          \
  X(kDirectoryCycle, "directory-cycle", kError, kYes,                                    \
    "directories contain each other")                                                    \
  X(kOrphanDangling, "orphan-dangling", kError, kPreen,                                  \
    "an orphan's inode does not exist")                                                  \
  X(kOrphanLinked, "orphan-linked", kError, kYes,                                        \
    "an orphan still has links: it would be deleted with them")                          \
  X(kOrphanMissing, "orphan-missing", kError, kYes,                                      \
    "an inode without links has no orphan record: it is never reaped")                   \
  X(kOrphanNotEmpty, "orphan-not-empty", kError, kYes,                                   \
    "a removed directory has entries")                                                   \
  X(kXattrFlag, "xattr-flag", kError, kPreen,                                            \
    "an inode has extended attributes and does not say so: they are never found")        \
  X(kExtentOverlap, "extent-overlap", kError, kYes,                                      \
    "two extents of a file map the same place of it")                                    \
  X(kExtentBeyondEof, "extent-beyond-eof", kError, kYes,                                 \
    "a file has written blocks past its end")                                            \
  X(kAllocatedBytes, "allocated-bytes", kError, kPreen,                                  \
    "a file's allocated bytes are not those of its extents")                             \
  X(kExtentOutside, "extent-outside", kError, kYes,                                      \
    "an extent is outside the volume or in its reserved region")                         \
  X(kExtentInPool, "extent-in-pool", kError, kYes,                                       \
    "an extent lies in the metadata pool")                                               \
  X(kSharedOutside, "shared-outside", kError, kPreen,                                    \
    "a shared range is outside the volume or in its reserved region")                    \
  X(kSharedOverlap, "shared-overlap", kError, kPreen, "two shared ranges overlap")       \
  X(kSharedMissing, "shared-missing", kError, kPreen,                                    \
    "blocks of extents that say they are shared have no shared range")                   \
  X(kExtentCrossLinked, "extent-cross-linked", kError, kYes,                             \
    "blocks belong to several extents that are not shared")                              \
  X(kSharedCount, "shared-count", kError, kPreen,                                        \
    "a shared range's reference count is not the number of its owners")                  \
  X(kSharedFlag, "shared-flag", kError, kPreen,                                          \
    "an extent of shared blocks lacks the shared flag: it would be written in place")    \
  X(kSharedUnwritten, "shared-unwritten", kError, kPreen,                                \
    "unwritten blocks are shared")                                                       \
  X(kChecksumMissing, "checksum-missing", kError, kYes,                                  \
    "written blocks have no checksum")                                                   \
  X(kChecksumOutside, "checksum-outside", kError, kPreen,                                \
    "a checksum record is of a place outside the volume")                                \
  X(kImageDamaged, "image-damaged", kError, kPreen,                                      \
    "the allocator image is unreadable or damaged")                                      \
  X(kImageOverlaps, "image-overlaps", kError, kPreen,                                    \
    "the allocator image lies in the pool or in a file's blocks")                        \
  X(kImageFreesUsed, "image-frees-used", kError, kPreen,                                 \
    "the allocator image calls blocks free that are in use")                             \
  X(kImageLeaks, "image-leaks", kError, kPreen,                                          \
    "the allocator image calls blocks used that nothing uses")                           \
  X(kDataUnreadable, "data-unreadable", kError, kNever,                                  \
    "the device can't read blocks of a file")                                            \
  X(kDataChecksum, "data-checksum", kError, kNever,                                      \
    "blocks of a file do not match their checksums")

enum class FindingId {
#define COFS_X(name, id, severity, policy, meaning) name,
  COFS_FINDING_TABLE(COFS_X)
#undef COFS_X
};

inline constexpr size_t kFindingKindCount = 0
#define COFS_X(name, id, severity, policy, meaning) +1
    COFS_FINDING_TABLE(COFS_X)
#undef COFS_X
    ;

struct FindingKind {
  std::string_view id;
  Severity severity;
  RepairPolicy policy;
  std::string_view meaning;
};
const FindingKind& KindOf(FindingId id);
std::string_view NameOf(Severity severity);    // "note", "error"
std::string_view NameOf(RepairPolicy policy);  // "-p -y", "-y", "-"

}  // namespace cofs
