// Golden bytes of every key and value, tables of what is refused, and random damage.
#include "extent_map/records.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <bit>

#include "tests/extent_map/hex.h"
#include "tests/extent_map/random.h"

namespace cofs {
namespace {

constexpr SipHashKey kKey{0x0706050403020100, 0x0f0e0d0c0b0a0908};

// ---- keys ----

TEST(RecordKeys, GoldenBytes) {
  const std::pair<std::string, const char*> cases[] = {
      {InodeCounterKey(), "01 69"},
      {ScrubKey(), "01 73"},
      {InodeKey(InodeId{0x2a}), "10 000000000000002a 69"},
      {DentryKey(InodeId{1}, 0x3039c0ffee123400), "10 0000000000000001 64 3039c0ffee123400"},
      {ExtentKey(InodeId{0x2a}, FileOffset{0x100000}),
       "10 000000000000002a 65 0000000000100000"},
      {XattrKey(InodeId{0x2a}, "user.a"), "10 000000000000002a 78 757365722e61"},
      {OrphanKey(InodeId{0x2a}), "20 000000000000002a"},
      {ChecksumKey(DeviceOffset{0x47fff}), "30 0000000000040000"},
      {SharedKey(DeviceOffset{0x47000}), "40 0000000000047000"},
  };
  for (const auto& [key, hex] : cases) {
    EXPECT_EQ(ToHex(key), PlainHex(hex));
    EXPECT_TRUE(ParseKey(key).ok()) << hex;
  }
}

TEST(RecordKeys, ParseGivesThePartsBack) {
  const auto dentry = ParseKey(DentryKey(InodeId{7}, 12345));
  EXPECT_EQ(dentry->kind, RecordKind::kDentry);
  EXPECT_EQ(dentry->inode, InodeId{7});
  EXPECT_EQ(dentry->position, 12345u);
  const auto extent = ParseKey(ExtentKey(InodeId{8}, FileOffset{1 << 20}));
  EXPECT_EQ(extent->kind, RecordKind::kExtent);
  EXPECT_EQ(extent->inode, InodeId{8});
  EXPECT_EQ(extent->position, 1u << 20);
  const auto xattr = ParseKey(XattrKey(InodeId{9}, "user.b"));
  EXPECT_EQ(xattr->kind, RecordKind::kXattr);
  EXPECT_EQ(xattr->inode, InodeId{9});
  EXPECT_EQ(xattr->xattr_name, "user.b");
  EXPECT_EQ(ParseKey(InodeKey(InodeId{10}))->kind, RecordKind::kInode);
  EXPECT_EQ(ParseKey(OrphanKey(InodeId{11}))->kind, RecordKind::kOrphan);
  EXPECT_EQ(ParseKey(OrphanKey(InodeId{11}))->inode, InodeId{11});
  EXPECT_EQ(ParseKey(ChecksumKey(DeviceOffset{kChecksumChunkBytes}))->position,
            kChecksumChunkBytes);
  EXPECT_EQ(ParseKey(SharedKey(DeviceOffset{4096}))->kind, RecordKind::kShared);
  EXPECT_EQ(ParseKey(InodeCounterKey())->kind, RecordKind::kInodeCounter);
  EXPECT_EQ(ParseKey(ScrubKey())->kind, RecordKind::kScrub);
}

TEST(RecordKeys, RefusesOthers) {
  const std::string long_name(256 * 2, 'a');
  const std::string cases[] = {
      "", "00", "01", "01 6a", "01 69 00", "01 73 00",
      "10", "10 00000000000000 69",
      "10 0000000000000000 69",                   // inode 0
      "10 000000000000002a", "10 000000000000002a 66", "10 000000000000002a 69 00",
      "10 000000000000002a 64 00000000000000",    // cut off
      "10 000000000000002a 64 0000000000000002",  // ..
      "10 000000000000002a 64 8000000000000000",  // negative
      "10 000000000000002a 64 0000000000000080 00",
      "10 000000000000002a 65 0000000000000001",  // not a block
      "10 000000000000002a 65 7ffffffffffff000",  // past the largest file
      "10 000000000000002a 65 ffffffffffffe000",
      "10 000000000000002a 78", "10 000000000000002a 78 6100",
      "10 000000000000002a 78" + long_name,
      "20 00000000000000", "20 0000000000000000", "20 0000000000000001 00",
      "30 0000000000001000",                      // not a chunk
      "30 00", "40 0000000000000001", "40 0000000000001000 00", "50 0000000000001000"};
  for (const std::string& hex : cases)
    EXPECT_TRUE(ParseKey(FromHex(hex)).Is(ErrorCode::kCorrupt)) << hex;
  EXPECT_NE(ParseKey(FromHex("50ab")).error().ToString().find("50ab"), std::string::npos);
}

TEST(RecordKeys, WalksHoldTheirRecordsAndNoOthers) {
  auto in = [](const KeyRange& range, const std::string& key) {
    return range.first <= key && key < range.last;
  };
  const InodeId ino{0x00ff};
  EXPECT_TRUE(in(DentryKeys(ino), DentryKey(ino, kCookieMin)));
  EXPECT_TRUE(in(DentryKeys(ino), DentryKey(ino, INT64_MAX)));
  EXPECT_FALSE(in(DentryKeys(ino), ExtentKey(ino, FileOffset{})));
  EXPECT_TRUE(in(ExtentKeys(ino), ExtentKey(ino, FileOffset{UINT64_MAX})));
  EXPECT_FALSE(in(ExtentKeys(ino), InodeKey(ino)));
  EXPECT_TRUE(in(XattrKeys(ino), XattrKey(ino, "\xff\xff")));
  EXPECT_FALSE(in(XattrKeys(ino), DentryKey(ino + 1, kCookieMin)));
  for (InodeId id : {InodeId{1}, ino, InodeId{UINT64_MAX}}) {
    EXPECT_TRUE(in(AllOfInode(id), DentryKey(id, kCookieMin)));
    EXPECT_TRUE(in(AllOfInode(id), XattrKey(id, "\xff")));
    EXPECT_FALSE(in(AllOfInode(id), InodeKey(id - 1)));
    if (id.value() != UINT64_MAX) {
      EXPECT_FALSE(in(AllOfInode(id), DentryKey(id + 1, 3)));
    }
    EXPECT_TRUE(in(AllFileRecords(), XattrKey(id, "\xff")));
    EXPECT_TRUE(in(AllOrphans(), OrphanKey(id)));
  }
  EXPECT_TRUE(in(AllChecksums(), ChecksumKey(DeviceOffset{UINT64_MAX})));
  EXPECT_TRUE(in(AllShared(), SharedKey(DeviceOffset{UINT64_MAX})));
  EXPECT_FALSE(in(AllShared(), ChecksumKey(DeviceOffset{UINT64_MAX})));
}

// ---- cookies ----

TEST(Cookies, GoldenValuesOfTheNameHash) {
  EXPECT_EQ(CookieBase(kKey, "a"), 0x0ae8fa3a69c45200u);
  EXPECT_EQ(CookieBase(kKey, "hello.txt"), 0x35fe05e4608a0b00u);
}

TEST(Cookies, ArePositiveAndLeaveRoomForCollisions) {
  for (int i = 0; i < 20000; ++i) {
    const uint64_t base = CookieBase(kKey, std::to_string(i));
    ASSERT_GE(base, kCookieMin);
    ASSERT_EQ(base % kCollisionIndexCount, 0u);
    ASSERT_LE(base + kCollisionIndexCount - 1, uint64_t{INT64_MAX});
  }
}

// ---- values ----

InodeRecord FileInode() {
  InodeRecord inode;
  inode.mode = S_IFREG | 0644;
  inode.uid = 1000;
  inode.gid = 100;
  inode.link_count = 1;
  inode.size_bytes = 5000;
  inode.allocated_bytes = 8192;
  inode.atime = {0x65000000, 1};
  inode.mtime = {0x65000001, 999999999};
  inode.ctime = {-1, 3};
  inode.btime = {0x65000003, 4};
  inode.flags = kInodeHasXattr;
  return inode;
}

InodeRecord DirectoryInode() {
  InodeRecord inode;
  inode.mode = S_IFDIR | 01755;
  inode.link_count = 3;
  inode.size_bytes = 12;
  inode.parent = kRootInode;
  return inode;
}

InodeRecord SymlinkInode() {
  InodeRecord inode;
  inode.mode = S_IFLNK | 0777;
  inode.link_count = 1;
  inode.symlink_target = "../x";
  inode.size_bytes = 4;
  return inode;
}

InodeRecord DeviceInode() {
  InodeRecord inode;
  inode.mode = S_IFCHR | 0600;
  inode.link_count = 1;
  inode.rdev = 0x501;
  return inode;
}

TEST(InodeRecord, GoldenBytes) {
  const std::pair<InodeRecord, const char*> cases[] = {
      {FileInode(),
       "a4810000 e8030000 64000000 01000000 8813000000000000 0020000000000000"
       "0000006500000000 0100006500000000 ffffffffffffffff 0300006500000000"
       "01000000 ffc99a3b 03000000 04000000 00000000 01000000"
       "0000000000000000 0000000000000000"},
      {DirectoryInode(),
       "ed430000 00000000 00000000 03000000 0c00000000000000 0000000000000000"
       "0000000000000000 0000000000000000 0000000000000000 0000000000000000"
       "00000000 00000000 00000000 00000000 00000000 00000000"
       "0100000000000000 0000000000000000"},
      {SymlinkInode(),
       "ffa10000 00000000 00000000 01000000 0400000000000000 0000000000000000"
       "0000000000000000 0000000000000000 0000000000000000 0000000000000000"
       "00000000 00000000 00000000 00000000 00000000 00000000"
       "0000000000000000 0000000000000000 2e2e2f78"},
      {DeviceInode(),
       "80210000 00000000 00000000 01000000 0000000000000000 0000000000000000"
       "0000000000000000 0000000000000000 0000000000000000 0000000000000000"
       "00000000 00000000 00000000 00000000 01050000 00000000"
       "0000000000000000 0000000000000000"},
  };
  for (const auto& [inode, hex] : cases) {
    EXPECT_EQ(ToHex(EncodeInode(inode)), PlainHex(hex));
    const auto again = DecodeInode(FromHex(hex));
    ASSERT_TRUE(again.ok()) << again.error().ToString();
    EXPECT_EQ(*again, inode);
  }
}

// `good` with `bytes` written at `place`.
std::string Patched(std::string good, size_t place, std::string_view hex) {
  const std::string bytes = FromHex(hex);
  good.replace(place, bytes.size(), bytes);
  return good;
}

TEST(InodeRecord, RefusesDamage) {
  const std::string file = EncodeInode(FileInode());
  const std::string directory = EncodeInode(DirectoryInode());
  const std::string symlink = EncodeInode(SymlinkInode());
  const std::string device = EncodeInode(DeviceInode());
  const std::pair<const char*, std::string> cases[] = {
      {"empty", ""},
      {"cut off", file.substr(0, 103)},
      {"bytes after a file", file + "x"},
      {"no type", Patched(file, 0, "a4010000")},
      {"unknown type", Patched(file, 0, "a4f10000")},
      {"mode of more than 16 bits", Patched(file, 0, "a4810100")},
      {"too many links", Patched(file, 12, "00000080")},
      {"a file too large", Patched(file, 16, "00f0ffffffffff7f 01")},
      {"allocated is not blocks", Patched(file, 24, "01")},
      {"allocated is negative", Patched(file, 24, "00000000000000f0")},
      {"nanoseconds", Patched(file, 64, "00ca9a3b")},
      {"nanoseconds of btime", Patched(file, 76, "00ca9a3b")},
      {"unknown flags", Patched(file, 84, "11000000")},
      {"rdev of a file", Patched(file, 80, "01")},
      {"parent of a file", Patched(file, 88, "01")},
      {"reserved", Patched(file, 96, "01")},
      {"directory without a parent", Patched(directory, 88, "00")},
      {"directory with extents", Patched(directory, 24, "0010")},
      {"directory with a target", directory + "x"},
      {"symlink shorter than its size", symlink.substr(0, symlink.size() - 1)},
      {"symlink longer than its size", symlink + "x"},
      {"symlink to nothing", Patched(symlink.substr(0, 104), 16, "00")},
      {"symlink with NUL", Patched(symlink, 105, "00")},
      {"symlink too long", Patched(symlink.substr(0, 104), 16, "0010") +
                               std::string(4096, 'x')},
      {"device with a size", Patched(device, 16, "01")},
  };
  for (const auto& [what, value] : cases)
    EXPECT_TRUE(DecodeInode(value).Is(ErrorCode::kCorrupt)) << what;
  // An unlinked directory may have no parent any more.
  EXPECT_TRUE(DecodeInode(Patched(Patched(directory, 88, "00"), 12, "00")).ok());
}

TEST(DentryRecord, GoldenBytes) {
  const DentryRecord dentry{"hello.txt", InodeId{0x2a}, S_IFREG >> 12};
  const char* hex = "2a00000000000000 08 68656c6c6f2e747874";
  EXPECT_EQ(ToHex(EncodeDentry(dentry)), PlainHex(hex));
  ASSERT_TRUE(DecodeDentry(FromHex(hex)).ok());
  EXPECT_EQ(*DecodeDentry(FromHex(hex)), dentry);
}

TEST(DentryRecord, RefusesDamage) {
  const std::string cases[] = {
      "", "2a00000000000000", "2a00000000000000 08",      // cut off
      "0000000000000000 08 61",                            // inode 0
      "2a00000000000000 00 61", "2a00000000000000 03 61",  // types
      "2a00000000000000 18 61", "2a00000000000000 0e 61",
      "2a00000000000000 08 2e", "2a00000000000000 08 2e2e",  // . and ..
      "2a00000000000000 08 612f62", "2a00000000000000 08 610062",
  };
  for (const std::string& hex : cases)
    EXPECT_TRUE(DecodeDentry(FromHex(hex)).Is(ErrorCode::kCorrupt)) << hex;
  const std::string front = FromHex("2a00000000000000 08");
  EXPECT_TRUE(DecodeDentry(front + std::string(255, 'a')).ok());
  EXPECT_TRUE(DecodeDentry(front + std::string(256, 'a')).Is(ErrorCode::kCorrupt));
}

TEST(ExtentRecord, GoldenBytes) {
  const std::pair<Extent, const char*> cases[] = {
      {{FileOffset{0x100000}, DeviceOffset{0x40000000}, 0x200000, 0}, "00 808010 8004"},
      {{FileOffset{0}, DeviceOffset{0x201000}, 0x1000, kExtentUnwritten}, "01 8104 01"},
      {{FileOffset{0}, DeviceOffset{0x201000}, 0x1000, kExtentShared}, "02 8104 01"},
  };
  for (const auto& [extent, hex] : cases) {
    EXPECT_EQ(ToHex(EncodeExtent(extent)), PlainHex(hex));
    const auto again = DecodeExtent(extent.file_offset, FromHex(hex));
    ASSERT_TRUE(again.ok());
    EXPECT_EQ(*again, extent);
  }
}

TEST(ExtentRecord, RefusesDamage) {
  const std::string cases[] = {
      "", "00", "00 8104", "00 8104 00",    // cut off, length 0
      "04 8104 01",                         // flags
      "00 8104 01 00", "00 8104 8100",      // too long, varint longer than needed
      "00 ffffffffffffffffff01 01",         // offset past 2^64
      "00 ffffffffffffff03 01",             // end past 2^63
      "00 00 ffffffffffffff03",             // past the largest file
      "00 ffffffffffffff7f 81808080808080 01",
  };
  for (const std::string& hex : cases)
    EXPECT_TRUE(DecodeExtent(FileOffset{4096}, FromHex(hex)).Is(ErrorCode::kCorrupt)) << hex;
  EXPECT_TRUE(DecodeExtent(FileOffset{1}, FromHex("00 8104 01")).Is(ErrorCode::kCorrupt));
}

TEST(SharedRecord, GoldenBytes) {
  const SharedRecord shared{0x200000, 3};
  EXPECT_EQ(ToHex(EncodeShared(shared)), PlainHex("8004 03"));
  EXPECT_EQ(*DecodeShared(FromHex("8004 03")), shared);
  const SharedRecord full{0x1000, kReferenceCountMax};
  EXPECT_EQ(ToHex(EncodeShared(full)), PlainHex("01 ffffffff0f"));
  EXPECT_EQ(*DecodeShared(FromHex("01 ffffffff0f")), full);
}

TEST(SharedRecord, RefusesDamage) {
  for (const char* hex : {"", "01", "00 02", "01 00", "01 01", "01 02 00", "01 8080808010",
                          "ffffffffffffff7f 02"})
    EXPECT_TRUE(DecodeShared(FromHex(hex)).Is(ErrorCode::kCorrupt)) << hex;
}

TEST(ChecksumRecord, GoldenBytes) {
  ChecksumChunk chunk;
  chunk.present = 1ull << 0 | 1ull << 5 | 1ull << 63;
  chunk.crc32c[0] = 0x11223344;
  chunk.crc32c[5] = 0xaabbccdd;
  chunk.crc32c[63] = 1;
  const char* hex = "2100000000000080 44332211 ddccbbaa 01000000";
  EXPECT_EQ(ToHex(EncodeChecksums(chunk)), PlainHex(hex));
  const auto again = DecodeChecksums(FromHex(hex));
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->present, chunk.present);
  EXPECT_EQ(again->crc32c, chunk.crc32c);
}

TEST(ChecksumRecord, RefusesDamage) {
  for (const char* hex : {"", "0000000000000000", "01000000000000", "0100000000000000",
                          "0100000000000000 112233", "0100000000000000 11223344 55",
                          "0300000000000000 11223344"})
    EXPECT_TRUE(DecodeChecksums(FromHex(hex)).Is(ErrorCode::kCorrupt)) << hex;
}

TEST(ChecksumRecord, LaterBlocksWinAndTheOthersStay) {
  ChecksumChunk earlier, later;
  earlier.present = 0b0111;
  later.present = 0b1010;
  for (size_t i = 0; i < kChecksumChunkBlocks; ++i) {
    earlier.crc32c[i] = static_cast<uint32_t>(100 + i);
    later.crc32c[i] = static_cast<uint32_t>(200 + i);
  }
  const ChecksumChunk merged = MergeChecksums(earlier, later);
  EXPECT_EQ(merged.present, 0b1111u);
  EXPECT_EQ(merged.crc32c[0], 100u);
  EXPECT_EQ(merged.crc32c[1], 201u);
  EXPECT_EQ(merged.crc32c[2], 102u);
  EXPECT_EQ(merged.crc32c[3], 203u);
}

TEST(InodeCounter, GoldenBytes) {
  EXPECT_EQ(ToHex(EncodeInodeCounter(InodeId{0x1234})), "3412000000000000");
  EXPECT_EQ(*DecodeInodeCounter(FromHex("3412000000000000")), InodeId{0x1234});
  for (const char* hex : {"", "34120000000000", "341200000000000000", "0f00000000000000"})
    EXPECT_TRUE(DecodeInodeCounter(FromHex(hex)).Is(ErrorCode::kCorrupt)) << hex;
}

ScrubRecord ScrubExample() {
  ScrubRecord record;
  record.inode = InodeId{42};
  record.file_offset = FileOffset{0x100000};
  record.verified_bytes = 0x0102030405;
  record.damage_count = 3;
  record.started_s = 0x65000000;
  record.saved_s = 0x65000010;
  return record;
}

TEST(ScrubRecordTest, GoldenBytes) {
  const char kGolden[] =
      "0000000000000000 2a00000000000000 0000100000000000 0504030201000000"
      "0300000000000000 0000006500000000 1000006500000000";
  EXPECT_EQ(ToHex(EncodeScrub(ScrubExample())), PlainHex(kGolden));
  EXPECT_EQ(*DecodeScrub(FromHex(kGolden)), ScrubExample());
  ScrubRecord finished;
  finished.is_finished = true;
  EXPECT_EQ(*DecodeScrub(EncodeScrub(finished)), finished);
}

TEST(ScrubRecordTest, RefusesDamage) {
  const std::string good = EncodeScrub(ScrubExample());
  std::string state = good, offset = good, far = good;
  state[0] = 2;
  offset[16] = 1;
  far.replace(16, 8, FromHex("0000000000000080"));
  for (const std::string& bad : {std::string(), good.substr(1), good + "x", state, offset, far})
    EXPECT_TRUE(DecodeScrub(bad).Is(ErrorCode::kCorrupt)) << ToHex(bad);
}

// Every decoder takes any bytes without harm, and what it accepts is what would have been
// written: a value has one encoding.
TEST(Records, AnyBytesAreRefusedOrAreCanonical) {
  TestRandom random;
  const std::string seeds[] = {EncodeInode(FileInode()), EncodeInode(DirectoryInode()),
                               EncodeInode(SymlinkInode()), FromHex("2a00000000000000 08 61"),
                               FromHex("00 808010 8004"), FromHex("8004 03"),
                               FromHex("2100000000000080 44332211 ddccbbaa 01000000"),
                               EncodeScrub(ScrubExample()), DentryKey(InodeId{1}, 1280), XattrKey(InodeId{1}, "user.a"), ""};
  for (int i = 0; i < 40000; ++i) {
    std::string bytes = seeds[random.Below(std::size(seeds))];
    for (uint64_t changes = random.Below(5); changes > 0; --changes) {
      if (bytes.empty() || random.OneIn(8))
        bytes.push_back(static_cast<char>(random.Below(256)));
      else if (random.OneIn(8))
        bytes.resize(random.Below(bytes.size()));
      else
        bytes[random.Below(bytes.size())] = static_cast<char>(random.Below(256));
    }
    if (const auto r = DecodeInode(bytes); r.ok()) {
      ASSERT_EQ(EncodeInode(*r), bytes);
    }
    if (const auto r = DecodeDentry(bytes); r.ok()) {
      ASSERT_EQ(EncodeDentry(*r), bytes);
    }
    if (const auto r = DecodeExtent(FileOffset{0}, bytes); r.ok()) {
      ASSERT_EQ(EncodeExtent(*r), bytes);
    }
    if (const auto r = DecodeShared(bytes); r.ok()) {
      ASSERT_EQ(EncodeShared(*r), bytes);
    }
    if (const auto r = DecodeChecksums(bytes); r.ok()) {
      ASSERT_EQ(EncodeChecksums(*r), bytes);
    }
    if (const auto r = DecodeScrub(bytes); r.ok()) {
      ASSERT_EQ(EncodeScrub(*r), bytes);
    }
    if (const auto r = DecodeInodeCounter(bytes); r.ok()) {
      ASSERT_EQ(EncodeInodeCounter(*r), bytes);
    }
    ParseKey(bytes).IgnoreError("any answer will do");
  }
}

}  // namespace
}  // namespace cofs
