// docs/FORMAT.md shows in hexadecimal what the code writes.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "extent_map/heartbeat.h"
#include "extent_map/records.h"
#include "extent_map/superblock.h"
#include "tests/extent_map/hex.h"

namespace cofs {
namespace {

// The hexadecimal of the document's code blocks, one after the other.
std::string HexOfDocument() {
  std::ifstream file(COFS_SOURCE_DIR "/docs/FORMAT.md");
  std::string all;
  bool is_code = false;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("```"))
      is_code = !is_code;
    else if (is_code)
      all += PlainHex(line);
  }
  return all;
}

TEST(FormatDocument, ShowsTheBytesOfItsExamples) {
  const std::string document = HexOfDocument();
  ASSERT_FALSE(document.empty()) << "docs/FORMAT.md can't be read";
  const SipHashKey key{0x0706050403020100, 0x0f0e0d0c0b0a0908};
  const InodeId inode{42};
  const DeviceOffset place{0x40000000};
  InodeRecord record;
  record.mode = S_IFREG | 0644;
  record.uid = 1000;
  record.gid = 100;
  record.link_count = 1;
  record.size_bytes = 5000;
  record.allocated_bytes = 8192;
  record.atime = {0x65000000, 1};
  record.mtime = {0x65000001, 999999999};
  record.ctime = {-1, 3};
  record.btime = {0x65000003, 4};
  record.flags = kInodeHasXattr;
  ChecksumChunk sums;
  sums.present = 3;
  sums.crc32c[0] = 0x11223344;
  sums.crc32c[1] = 0xaabbccdd;
  Superblock superblock;
  superblock.compat = 0x11;
  superblock.ro_compat = 0x22;
  superblock.sequence = 7;
  for (size_t i = 0; i < 16; ++i) superblock.uuid.bytes[i] = static_cast<uint8_t>(i);
  superblock.label = "data";
  superblock.volume_bytes = 1 << 30;
  superblock.name_hash_key = key;
  superblock.created_s = 0x65000000;
  superblock.journal = {DeviceOffset{2 << 20}, 1 << 20};
  superblock.journal_generation = 3;
  superblock.clean = true;
  superblock.allocator_image = {DeviceOffset{0x10000000}, 0x3000};
  superblock.allocator_image_crc32c = 0xaabbccdd;
  ScrubRecord scrub;
  scrub.inode = inode;
  scrub.file_offset = FileOffset{1 << 20};
  scrub.verified_bytes = 0x0102030405;
  scrub.damage_count = 3;
  scrub.started_s = 0x65000000;
  scrub.saved_s = 0x65000010;
  Heartbeat heartbeat;
  heartbeat.state = HeartbeatState::kMounted;
  heartbeat.sequence = 0x0102;
  for (size_t i = 0; i < 16; ++i) {
    heartbeat.volume.bytes[i] = static_cast<uint8_t>(i);
    heartbeat.holder.bytes[i] = static_cast<uint8_t>(0x10 + i);
    heartbeat.boot.bytes[i] = static_cast<uint8_t>(0x20 + i);
  }
  heartbeat.written_s = 0x65000000;
  heartbeat.interval_ms = 2000;
  heartbeat.pid_namespace = 0xeffffffc;
  heartbeat.pid_start = 0x1234;
  heartbeat.pid = 77;
  heartbeat.host = "alpha";
  heartbeat.device = "/dev/sda1";
  const std::string parts[] = {
      EncodeSuperblock(superblock).substr(0, 192),
      DentryKey(kRootInode, CookieBase(key, "hello.txt")) +
          EncodeDentry({"hello.txt", inode, S_IFREG >> 12}),
      InodeKey(inode) + EncodeInode(record),
      ExtentKey(inode, FileOffset{0}) +
          EncodeExtent({FileOffset{0}, place, 8192, kExtentShared}),
      ChecksumKey(place) + EncodeChecksums(sums),
      SharedKey(place) + EncodeShared({8192, 2}),
      XattrKey(inode, "user.a"),
      ScrubKey() + EncodeScrub(scrub),
      EncodeHeartbeat(heartbeat).substr(0, 184),
      InodeCounterKey() + EncodeInodeCounter(InodeId{0x1234}),
  };
  for (const std::string& bytes : parts)
    EXPECT_NE(document.find(ToHex(bytes)), std::string::npos) << ToHex(bytes);
}

}  // namespace
}  // namespace cofs
