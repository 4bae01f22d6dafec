// What is put into libfuse's answers, attributes both ways, and interrupts.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "fs/fuse/attributes.h"
#include "fs/fuse/init_reply.h"
#include "fs/fuse/interrupts.h"
#include "fs/fuse/kernel_mount.h"
#include "fs/fuse/open_writers.h"

namespace cofs {
namespace {

using testing::Contains;

fuse_init_in Offer(uint64_t flags) {
  fuse_init_in in{};
  in.major = 7;
  in.minor = 40;
  in.max_readahead = 128 << 10;
  in.flags = static_cast<uint32_t>(flags);
  in.flags2 = static_cast<uint32_t>(flags >> 32);
  return in;
}

TEST(InitReplyTest, AddsWhatTheKernelOffers) {
  const fuse_init_in in = Offer(FUSE_INIT_EXT | FUSE_HANDLE_KILLPRIV_V2 | FUSE_MAX_PAGES |
                                kFuseDirectIoAllowMmap | FUSE_WRITEBACK_CACHE);
  fuse_init_out out{};
  out.flags = FUSE_WRITEBACK_CACHE | FUSE_HANDLE_KILLPRIV | FUSE_POSIX_LOCKS |
              FUSE_POSIX_ACL | FUSE_SPLICE_READ;
  out.max_write = 4u << 20;
  const FuseFeatures features = AdjustInitReply(in, out);
  EXPECT_TRUE(features.has(FUSE_HANDLE_KILLPRIV_V2));
  EXPECT_TRUE(features.has(FUSE_WRITEBACK_CACHE));
  EXPECT_TRUE(features.has(kFuseDirectIoAllowMmap));
  EXPECT_FALSE(features.has(FUSE_HANDLE_KILLPRIV));
  EXPECT_FALSE(features.has(FUSE_POSIX_LOCKS));
  EXPECT_FALSE(features.has(FUSE_SPLICE_READ));
  EXPECT_TRUE(features.has(FUSE_POSIX_ACL));
  EXPECT_EQ(features.protocol_minor, 40u);
  EXPECT_EQ(out.flags | static_cast<uint64_t>(out.flags2) << 32, features.flags);
  // The second word of flags counts only with this one.
  EXPECT_TRUE((out.flags & FUSE_INIT_EXT) != 0);
  EXPECT_EQ(out.max_pages, 256);
  EXPECT_EQ(out.max_write, 1u << 20);
  EXPECT_THAT(NamesOf(features), Contains("handle_killpriv_v2"));
}

TEST(InitReplyTest, AddsNothingThatTheKernelDoesNotKnow) {
  // An old kernel: whatever is in flags2 without FUSE_INIT_EXT is not an offer.
  fuse_init_in in = Offer(kFuseDirectIoAllowMmap);
  fuse_init_out out{};
  out.flags = FUSE_ASYNC_READ;
  out.max_write = 128 << 10;
  const FuseFeatures features = AdjustInitReply(in, out);
  EXPECT_EQ(features.flags, uint64_t{FUSE_ASYNC_READ});
  EXPECT_EQ(out.flags2, 0u);
  EXPECT_EQ(out.max_pages, 0);
  EXPECT_EQ(out.max_write, 128u << 10);
}

InodeStat SomeInode() {
  InodeStat inode;
  inode.id = InodeId(77);
  inode.record.mode = S_IFREG | 04755;
  inode.record.uid = 1;
  inode.record.gid = 2;
  inode.record.link_count = 3;
  inode.record.size_bytes = 10'000;
  inode.record.allocated_bytes = 12'288;
  inode.record.atime = {-5, 1};
  inode.record.mtime = {1'700'000'000, 999'999'999};
  inode.record.ctime = {5'000'000'000, 2};
  inode.record.btime = {4, 5};
  inode.record.rdev = 0x12345678;
  return inode;
}

TEST(AttributesTest, AllThreeFormsAgree) {
  const InodeStat inode = SomeInode();
  const struct stat stat = StatOf(inode);
  const fuse_attr raw = RawAttributesOf(inode);
  const FuseStatxOut statx = RawStatxOf(inode, 1.5);
  EXPECT_EQ(stat.st_ino, 77u);
  EXPECT_EQ(stat.st_blocks, 24);
  EXPECT_EQ(stat.st_blksize, 4096);
  EXPECT_EQ(stat.st_atim.tv_sec, -5);
  EXPECT_EQ(raw.blocks, 24u);
  EXPECT_EQ(statx.blocks, 24u);
  EXPECT_EQ(raw.mode, stat.st_mode);
  EXPECT_EQ(statx.mode, stat.st_mode);
  EXPECT_EQ(static_cast<int64_t>(raw.atime), -5);
  EXPECT_EQ(raw.mtimensec, 999'999'999u);
  EXPECT_EQ(statx.ctime.seconds, 5'000'000'000);
  EXPECT_EQ(statx.btime.seconds, 4);
  EXPECT_EQ(statx.attr_valid, 1u);
  EXPECT_EQ(statx.attr_valid_nsec, 500'000'000u);
  // new_encode_dev: 12 bits of major number inside 20 bits of minor.
  EXPECT_EQ(raw.rdev, 0x12345678u);
  EXPECT_EQ(statx.rdev_major, 0x456u);
  EXPECT_EQ(statx.rdev_minor, 0x12378u);
}

TEST(AttributesTest, Changes) {
  struct stat attributes {};
  attributes.st_mode = S_IFREG | 0640;
  attributes.st_uid = 5;
  attributes.st_size = 4096;
  attributes.st_atim = {7, 8};
  attributes.st_mtim = {9, 10};
  attributes.st_ctim = {11, 12};
  const Timestamp now{100, 200};

  AttributeChange change = ChangeOf(attributes, FUSE_SET_ATTR_MODE, 0, now);
  EXPECT_EQ(change.mode, 0640u);
  EXPECT_FALSE(change.uid || change.size_bytes || change.atime || change.kill_privileges);

  change = ChangeOf(attributes, FUSE_SET_ATTR_UID, 0, now);
  EXPECT_EQ(change.uid, 5u);
  EXPECT_TRUE(change.kill_privileges);  // chown(2) always does

  change = ChangeOf(attributes, FUSE_SET_ATTR_SIZE, FATTR_SIZE, now);
  EXPECT_EQ(change.size_bytes, 4096u);
  EXPECT_FALSE(change.kill_privileges);
  EXPECT_TRUE(ChangeOf(attributes, FUSE_SET_ATTR_SIZE, FATTR_SIZE | FATTR_KILL_SUIDGID, now)
                  .kill_privileges);

  change = ChangeOf(attributes,
                    FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_ATIME_NOW | FUSE_SET_ATTR_MTIME |
                        FUSE_SET_ATTR_CTIME,
                    0, now);
  EXPECT_EQ(change.atime, now);
  EXPECT_EQ(change.mtime, (Timestamp{9, 10}));
  EXPECT_EQ(change.ctime, (Timestamp{11, 12}));
}

TEST(AttributesTest, StatvfsHasNoNegativeSpace) {
  VolumeUsage usage;
  usage.space.volume_bytes = 1 << 20;
  usage.space.free_bytes = 8192;
  usage.space.pending_bytes = 4096;
  usage.space.reserve_bytes = 1 << 19;
  usage.inodes_used = 5;
  const struct statvfs out = StatvfsOf(usage);
  EXPECT_EQ(out.f_blocks, 256u);
  EXPECT_EQ(out.f_bfree, 3u);
  EXPECT_EQ(out.f_bavail, 0u);
  EXPECT_EQ(out.f_files, out.f_ffree + 5);
  EXPECT_EQ(out.f_namemax, 255u);
}

TEST(InterruptsTest, FindsTheRequestBeforeAndAfterItRegisters) {
  Interrupts interrupts;
  Request request;
  request.unique = 10;
  {
    Interrupts::Registration registration(interrupts, request);
    interrupts.Interrupt(12);
    EXPECT_FALSE(request.interrupted);
    interrupts.Interrupt(10);
    EXPECT_TRUE(request.interrupted);
  }
  // Read by another worker before the request that it means had registered.
  Request early;
  early.unique = 12;
  Interrupts::Registration registration(interrupts, early);
  EXPECT_TRUE(early.interrupted);
  // Long after it has ended: nobody.
  interrupts.Interrupt(10);
  Request other;
  other.unique = 14;
  Interrupts::Registration other_registration(interrupts, other);
  EXPECT_FALSE(other.interrupted);
}

TEST(OpenWritersTest, Counts) {
  OpenWriters writers;
  EXPECT_FALSE(writers.IsOpen(InodeId(3)));
  writers.Opened(InodeId(3));
  writers.Opened(InodeId(3));
  writers.Opened(InodeId(3 + 16));  // of the same shard
  int last_count = 0;
  writers.Released(InodeId(3), [&] { ++last_count; });
  EXPECT_TRUE(writers.IsOpen(InodeId(3)));
  EXPECT_EQ(last_count, 0);
  writers.Released(InodeId(3), [&] { ++last_count; });
  EXPECT_FALSE(writers.IsOpen(InodeId(3)));
  EXPECT_EQ(last_count, 1);
  EXPECT_TRUE(writers.IsOpen(InodeId(19)));
}

TEST(MountInfoTest, Parses) {
  const auto mounts = ParseMountInfo(
      "22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n"
      "36 22 7:3 / /mnt/a\\040b rw master:2 shared:9 - fuseblk.cofs /dev/loop3 rw,user_id=0\n"
      "37 22 0:51 /sub /x rw - fuse.cofs /img\\134x rw\n"
      "broken\n");
  ASSERT_EQ(mounts.size(), 3u);
  EXPECT_EQ(mounts[0].type, "ext4");
  EXPECT_EQ(mounts[1].major, 7u);
  EXPECT_EQ(mounts[1].minor, 3u);
  EXPECT_EQ(mounts[1].directory, "/mnt/a b");
  EXPECT_EQ(mounts[1].type, "fuseblk.cofs");
  EXPECT_EQ(mounts[2].root, "/sub");
  EXPECT_EQ(mounts[2].source, "/img\\x");
}

}  // namespace
}  // namespace cofs
