// The session and the operations behind the protocol, without a kernel.
#include "fs/fuse/fuse_session.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <sys/stat.h>

#include <atomic>
#include <thread>

#include "fs/fuse/cofs_ioctl.h"
#include "fs/fuse/operations.h"
#include "tests/core/test_volume.h"
#include "tests/fuse/fake_kernel.h"

namespace cofs {
namespace {

constexpr uint64_t kRoot = FUSE_ROOT_ID;
constexpr uint64_t kOffered =
    FUSE_INIT_EXT | FUSE_MAX_PAGES | FUSE_HANDLE_KILLPRIV_V2 | FUSE_WRITEBACK_CACHE |
    FUSE_PARALLEL_DIROPS | FUSE_ATOMIC_O_TRUNC | FUSE_DO_READDIRPLUS | FUSE_BIG_WRITES |
    FUSE_HAS_IOCTL_DIR | FUSE_NO_OPENDIR_SUPPORT | kFuseDirectIoAllowMmap;

class SessionTest : public testing::Test {
 protected:
  void SetUp() override { StartSession(4); }

  void StartSession(unsigned threads) {
    operations_.emplace(*volume_);
    Operations::Options options;
    options.stats_text = [] { return std::string(10'000, 's'); };
    options.after_write_back = [](InodeId, FileOffset, fuse_req_t request,
                                  std::function<void(Reply&)> answer) {
      Reply reply(request);
      answer(reply);
    };
    options.invalidate_attributes = [this](InodeId) { ++invalidations_; };
    operations_->set_options(std::move(options));
    FuseSession::Options session_options;
    session_options.thread_count = threads;
    session_options.on_destroy = [this] { ++destroy_count_; };
    session_options.on_end = [this] { ++end_count_; };
    auto session = FuseSession::Create(*operations_, std::move(session_options));
    ASSERT_TRUE(session.ok());
    session_ = std::move(*session);
    std::thread kernel([this] {
      fuse_init_in in{};
      in.major = FUSE_KERNEL_VERSION;
      in.minor = 38;
      in.max_readahead = 128 << 10;
      in.flags = static_cast<uint32_t>(kOffered);
      in.flags2 = static_cast<uint32_t>(kOffered >> 32);
      init_ = kernel_.Ask(FUSE_INIT, 0, BytesOf(in));
    });
    const Status started = session_->Start(kernel_.TakeDaemonEnd());
    kernel.join();
    ASSERT_TRUE(started.ok());
  }
  void TearDown() override {
    kernel_.Close();
    session_.reset();
    EXPECT_EQ(end_count_, 1);
  }

  // A file, open; its number.
  uint64_t Create(const std::string& name, uint32_t mode = 0644, uint32_t flags = O_RDWR) {
    fuse_create_in in{};
    in.flags = flags | O_CREAT;
    in.mode = S_IFREG | mode;
    created_ = kernel_.Ask(FUSE_CREATE, kRoot, BytesOf(in) + NameBytes(name));
    EXPECT_TRUE(created_.ok()) << created_.error_number;
    return created_.as<fuse_entry_out>().nodeid;
  }
  Answer Write(uint64_t node, uint64_t offset, const std::string& data,
               uint32_t write_flags = 0) {
    fuse_write_in in{};
    in.fh = 1;
    in.offset = offset;
    in.size = static_cast<uint32_t>(data.size());
    in.write_flags = write_flags;
    return kernel_.Ask(FUSE_WRITE, node, BytesOf(in) + data);
  }
  Answer Read(uint64_t node, uint64_t offset, uint32_t size, uint32_t read_flags = 0) {
    fuse_read_in in{};
    in.offset = offset;
    in.size = size;
    in.read_flags = read_flags;
    return kernel_.Ask(FUSE_READ, node, BytesOf(in));
  }
  fuse_attr Attributes(uint64_t node) {
    return kernel_.Ask(FUSE_GETATTR, node, BytesOf(fuse_getattr_in{})).as<fuse_attr_out>().attr;
  }
  Answer Ioctl(uint64_t node, uint32_t command, const std::string& in, uint32_t out_bytes) {
    fuse_ioctl_in request{};
    request.cmd = command;
    request.in_size = static_cast<uint32_t>(in.size());
    request.out_size = out_bytes;
    return kernel_.Ask(FUSE_IOCTL, node, BytesOf(request) + in);
  }

  TestVolume volume_;
  FakeKernel kernel_;
  std::optional<Operations> operations_;
  std::unique_ptr<FuseSession> session_;
  Answer init_, created_;
  std::atomic<int> destroy_count_{0}, end_count_{0}, invalidations_{0};
};

TEST_F(SessionTest, NegotiatesWhatLibfuseCanNotExpress) {
  ASSERT_TRUE(init_.ok());
  const auto out = init_.as<fuse_init_out>();
  const uint64_t flags = out.flags | static_cast<uint64_t>(out.flags2) << 32;
  for (const uint64_t flag : {uint64_t{FUSE_HANDLE_KILLPRIV_V2}, uint64_t{FUSE_PARALLEL_DIROPS},
                              uint64_t{FUSE_WRITEBACK_CACHE}, kFuseDirectIoAllowMmap})
    EXPECT_TRUE((flags & flag) != 0) << std::hex << flag;
  EXPECT_EQ(flags & (FUSE_POSIX_LOCKS | FUSE_FLOCK_LOCKS | FUSE_HANDLE_KILLPRIV), 0u);
  EXPECT_EQ(out.max_write, 1u << 20);
  EXPECT_EQ(out.max_pages, 256);
  EXPECT_EQ(session_->features().flags, flags);
}

TEST_F(SessionTest, OpenedFilesAreCachedAndWrittenInParallel) {
  Create("cached");
  auto open = created_.as<fuse_open_out>(sizeof(fuse_entry_out));
  EXPECT_EQ(open.open_flags,
            static_cast<uint32_t>(FOPEN_KEEP_CACHE | FOPEN_PARALLEL_DIRECT_WRITES));
  const uint64_t node = Create("direct", 0644, O_RDWR | O_DIRECT);
  open = created_.as<fuse_open_out>(sizeof(fuse_entry_out));
  EXPECT_TRUE((open.open_flags & FOPEN_DIRECT_IO) != 0);
  fuse_open_in in{};
  in.flags = O_RDONLY;
  const auto reopened = kernel_.Ask(FUSE_OPEN, node, BytesOf(in)).as<fuse_open_out>();
  EXPECT_EQ(reopened.open_flags,
            static_cast<uint32_t>(FOPEN_KEEP_CACHE | FOPEN_PARALLEL_DIRECT_WRITES));
}

TEST_F(SessionTest, DataGoesThereAndBack) {
  const uint64_t node = Create("file");
  const std::string data(50'000, 'd');
  const Answer written = Write(node, 1000, data);
  ASSERT_TRUE(written.ok());
  EXPECT_EQ(written.as<fuse_write_out>().size, data.size());
  EXPECT_EQ(Read(node, 0, 60'000).payload, std::string(1000, '\0') + data);
  EXPECT_EQ(Read(node, 51'000, 4096).payload, "");
  // A direct read that ends early looks again after writing back.
  EXPECT_EQ(Read(node, 50'999, 4096, FUSE_READ_LOCKOWNER).payload, "d");
  EXPECT_EQ(Attributes(node).size, 51'000u);
  EXPECT_EQ(Read(node, 1ull << 63, 4096).error_number, EINVAL);
  EXPECT_EQ(Write(node, INT64_MAX - 1, "abc").error_number, EFBIG);
}

TEST_F(SessionTest, SetIdBitsGoWhenTheKernelSaysSo) {
  const uint64_t node = Create("file", 06755);
  ASSERT_TRUE(Write(node, 0, "by root").ok());
  EXPECT_EQ(Attributes(node).mode & 07777, 06755u);
  ASSERT_TRUE(Write(node, 0, "by a user", FUSE_WRITE_KILL_SUIDGID).ok());
  EXPECT_EQ(Attributes(node).mode & 07777, 0755u);

  const uint64_t truncated = Create("truncated", 04755);
  fuse_setattr_in set{};
  set.valid = FATTR_SIZE | FATTR_KILL_SUIDGID;
  ASSERT_TRUE(kernel_.Ask(FUSE_SETATTR, truncated, BytesOf(set)).ok());
  EXPECT_EQ(Attributes(truncated).mode & 07777, 0755u);

  const uint64_t given_away = Create("given", 04755);
  set = {};
  set.valid = FATTR_UID;
  set.uid = 7;
  ASSERT_TRUE(kernel_.Ask(FUSE_SETATTR, given_away, BytesOf(set)).ok());
  EXPECT_EQ(Attributes(given_away).mode & 07777, 0755u);
  EXPECT_EQ(Attributes(given_away).uid, 7u);

  const uint64_t opened = Create("opened", 04755);
  fuse_open_in open{};
  open.flags = O_WRONLY | O_TRUNC;
  open.open_flags = FUSE_OPEN_KILL_SUIDGID;
  ASSERT_TRUE(kernel_.Ask(FUSE_OPEN, opened, BytesOf(open)).ok());
  EXPECT_EQ(Attributes(opened).mode & 07777, 0755u);
}

TEST_F(SessionTest, NamesThatAreNotThereAreRemembered) {
  const Answer missing = kernel_.Ask(FUSE_LOOKUP, kRoot, NameBytes("missing"));
  ASSERT_TRUE(missing.ok());
  EXPECT_EQ(missing.as<fuse_entry_out>().nodeid, 0u);
  EXPECT_GT(missing.as<fuse_entry_out>().entry_valid, 86'400u);
}

TEST_F(SessionTest, AttributesOfWrittenFilesExpire) {
  const uint64_t node = Create("file");
  const auto timeout = [&] {
    return kernel_.Ask(FUSE_GETATTR, node, BytesOf(fuse_getattr_in{}))
        .as<fuse_attr_out>()
        .attr_valid;
  };
  EXPECT_LE(timeout(), 1u);
  ASSERT_TRUE(kernel_.Ask(FUSE_FSYNC, node, BytesOf(fuse_fsync_in{})).ok());
  EXPECT_EQ(invalidations_, 1);
  fuse_release_in release{};
  release.fh = 1;
  ASSERT_TRUE(kernel_.Ask(FUSE_RELEASE, node, BytesOf(release)).ok());
  EXPECT_GT(timeout(), 86'400u);
}

TEST_F(SessionTest, DirectoriesInPieces) {
  constexpr int kFiles = 100;
  for (int i = 0; i < kFiles; ++i) Create("file" + std::to_string(i));
  for (const uint32_t opcode : {FUSE_READDIR, FUSE_READDIRPLUS}) {
    std::set<std::string> names;
    fuse_read_in in{};
    in.size = 1000;
    for (int round = 0; round < 1000; ++round) {
      const Answer page = kernel_.Ask(opcode, kRoot, BytesOf(in));
      ASSERT_TRUE(page.ok());
      ASSERT_LE(page.payload.size(), in.size);
      if (page.payload.empty()) break;
      for (size_t at = 0; at < page.payload.size();) {
        const size_t head = opcode == FUSE_READDIR ? 0 : sizeof(fuse_entry_out);
        const auto dirent = page.as<fuse_dirent>(at + head);
        const std::string name =
            page.payload.substr(at + head + FUSE_NAME_OFFSET, dirent.namelen);
        EXPECT_TRUE(names.insert(name).second) << name << " twice";
        if (opcode == FUSE_READDIRPLUS) {
          const auto entry = page.as<fuse_entry_out>(at);
          const bool dots = name == "." || name == "..";
          EXPECT_EQ(entry.nodeid, dots ? 0 : dirent.ino);
        }
        in.offset = dirent.off;
        at += FUSE_REC_ALIGN(head + FUSE_NAME_OFFSET + dirent.namelen);
      }
    }
    EXPECT_EQ(names.size(), kFiles + 2u);
  }
}

TEST_F(SessionTest, RequestsThatLibfuseDoesNotKnow) {
  EXPECT_EQ(kernel_.Ask(FUSE_SYNCFS, kRoot, BytesOf(fuse_syncfs_in{})).error_number, 0);
  fuse_create_in in{};
  in.flags = O_RDWR;
  in.mode = S_IFREG | 0600;
  const Answer temporary = kernel_.Ask(FUSE_TMPFILE, kRoot, BytesOf(in) + NameBytes("x"));
  ASSERT_TRUE(temporary.ok());
  EXPECT_EQ(temporary.payload.size(), sizeof(fuse_entry_out) + sizeof(fuse_open_out));
  EXPECT_EQ(temporary.as<fuse_entry_out>().attr.nlink, 0u);
  const Answer statx = kernel_.Ask(kFuseOpStatx, kRoot, BytesOf(FuseStatxIn{}));
  ASSERT_TRUE(statx.ok());
  EXPECT_EQ(statx.payload.size(), sizeof(FuseStatxOut));
  EXPECT_TRUE((statx.as<FuseStatxOut>().mask & STATX_BTIME) != 0);
  EXPECT_EQ(kernel_.Ask(FUSE_TMPFILE, kRoot, "").error_number, EIO);
}

TEST_F(SessionTest, RefusedRequests) {
  EXPECT_EQ(kernel_.Ask(1000, kRoot, "").error_number, ENOSYS);
  EXPECT_EQ(kernel_.Ask(FUSE_FLUSH, kRoot, BytesOf(fuse_flush_in{})).error_number, ENOSYS);
  EXPECT_EQ(kernel_.Ask(FUSE_OPENDIR, kRoot, BytesOf(fuse_open_in{})).error_number, ENOSYS);
  fuse_bmap_in bmap{};
  bmap.blocksize = 4096;
  EXPECT_EQ(kernel_.Ask(FUSE_BMAP, kRoot, BytesOf(bmap)).error_number, EOPNOTSUPP);
  fuse_getxattr_in get{};
  EXPECT_EQ(kernel_.Ask(FUSE_GETXATTR, kRoot,
                        BytesOf(get) + NameBytes("system.nfs4_acl"))
                .error_number,
            EOPNOTSUPP);
  fuse_rename2_in rename{};
  rename.newdir = kRoot;
  rename.flags = RENAME_WHITEOUT | RENAME_EXCHANGE;
  EXPECT_EQ(kernel_.Ask(FUSE_RENAME2, kRoot,
                        BytesOf(rename) + NameBytes("a") + NameBytes("b"))
                .error_number,
            EINVAL);
}

// The kernel asks with the newer request first. ENOSYS, to two of them at once, has made it
// take the older one for missing too.
TEST_F(SessionTest, CopiesWithACountOf64Bits) {
  const uint64_t source = Create("source"), destination = Create("destination");
  ASSERT_TRUE(Write(source, 0, std::string(8192, 'x')).ok());
  fuse_copy_file_range_in in{};
  in.nodeid_out = destination;
  in.len = uint64_t{1} << 40;
  for (const uint32_t opcode : {kFuseOpCopyFileRange64, uint32_t{FUSE_COPY_FILE_RANGE}}) {
    const auto answer = kernel_.Ask(opcode, source, BytesOf(in));
    ASSERT_TRUE(answer.ok());
    EXPECT_EQ(answer.as<uint64_t>(), 8192u);
  }
}

TEST_F(SessionTest, IoctlsCheckTheirArguments) {
  const uint64_t node = Create("file");
  ASSERT_TRUE(Write(node, 0, std::string(8192, 'x')).ok());
  const size_t head = sizeof(fuse_ioctl_out);

  EXPECT_EQ(Ioctl(node, 0x1234, "", 0).error_number, ENOTTY);
  EXPECT_EQ(Ioctl(node, COFS_IOC_STATS, "short", 8192).error_number, EINVAL);
  EXPECT_EQ(Ioctl(node, COFS_IOC_STATS, BytesOf(cofs_ioc_stats{}), 100).error_number, EINVAL);
  cofs_ioc_stats stats{};
  stats = Ioctl(kRoot, COFS_IOC_STATS, BytesOf(stats), sizeof(stats)).as<cofs_ioc_stats>(head);
  EXPECT_EQ(stats.total, 10'000u);
  EXPECT_EQ(stats.length, static_cast<uint32_t>(COFS_STATS_TEXT_BYTES));
  stats.offset = stats.length;
  const auto rest =
      Ioctl(kRoot, COFS_IOC_STATS, BytesOf(stats), sizeof(stats)).as<cofs_ioc_stats>(head);
  EXPECT_EQ(rest.length, 10'000u - COFS_STATS_TEXT_BYTES);
  stats.offset = UINT32_MAX;  // past the end
  EXPECT_EQ(Ioctl(kRoot, COFS_IOC_STATS, BytesOf(stats), sizeof(stats))
                .as<cofs_ioc_stats>(head)
                .length,
            0u);
  stats.snapshot += 100;
  EXPECT_EQ(Ioctl(kRoot, COFS_IOC_STATS, BytesOf(stats), sizeof(stats)).error_number, EAGAIN);

  cofs_ioc_map map{};
  map.end = UINT64_MAX;
  map.count = UINT32_MAX;
  map = Ioctl(node, COFS_IOC_MAP, BytesOf(map), sizeof(map)).as<cofs_ioc_map>(head);
  ASSERT_EQ(map.count, 1u);
  EXPECT_EQ(map.extents[0].length, 8192u);
  EXPECT_EQ(map.flags, 0u);
  cofs_ioc_map backwards{};
  backwards.begin = 100;
  EXPECT_EQ(Ioctl(node, COFS_IOC_MAP, BytesOf(backwards), sizeof(backwards))
                .as<cofs_ioc_map>(head)
                .count,
            0u);

  fstrim_range range{0, UINT64_MAX, 0};
  EXPECT_TRUE(Ioctl(kRoot, FITRIM, BytesOf(range), sizeof(range)).ok());
  range.start = UINT64_MAX;
  EXPECT_EQ(Ioctl(kRoot, FITRIM, BytesOf(range), sizeof(range)).error_number, EINVAL);
  kernel_.set_caller(1000);
  range.start = 0;
  EXPECT_EQ(Ioctl(kRoot, FITRIM, BytesOf(range), sizeof(range)).error_number, EPERM);
}

TEST_F(SessionTest, FlagsOfInodes) {
  const uint64_t node = Create("file");
  const uint32_t wanted = FS_NODUMP_FL;
  EXPECT_EQ(Ioctl(node, FS_IOC_SETFLAGS, BytesOf(uint32_t{FS_COMPR_FL}), 0).error_number,
            EOPNOTSUPP);
  ASSERT_TRUE(Ioctl(node, FS_IOC_SETFLAGS, BytesOf(wanted), 0).ok());
  EXPECT_EQ(Ioctl(node, FS_IOC_GETFLAGS, "", 8).as<uint32_t>(sizeof(fuse_ioctl_out)), wanted);
  EXPECT_EQ(Ioctl(node, FS_IOC_FSGETXATTR, "", sizeof(fsxattr))
                .as<fsxattr>(sizeof(fuse_ioctl_out))
                .fsx_xflags,
            static_cast<uint32_t>(FS_XFLAG_NODUMP));
  kernel_.set_caller(1000);  // not the owner
  EXPECT_EQ(Ioctl(node, FS_IOC_SETFLAGS, BytesOf(uint32_t{0}), 0).error_number, EPERM);
}

TEST_F(SessionTest, ManyRequestsAtOnce) {
  // More than there are workers, so that they park and are woken.
  const uint64_t node = Create("file");
  ASSERT_TRUE(Write(node, 0, std::string(4096, 'x')).ok());
  for (int round = 0; round < 20; ++round) {
    std::vector<uint64_t> uniques;
    fuse_read_in in{};
    in.size = 4096;
    for (int i = 0; i < 50; ++i)
      uniques.push_back(i % 2 == 0 ? kernel_.Send(FUSE_READ, node, BytesOf(in))
                                   : kernel_.Send(FUSE_LOOKUP, kRoot, NameBytes("file")));
    for (const uint64_t unique : uniques) EXPECT_TRUE(kernel_.Receive(unique).ok());
  }
  EXPECT_EQ(session_->counts()[FUSE_READ], 500u);
}

TEST_F(SessionTest, DestroyComesLast) {
  Create("file");
  EXPECT_EQ(destroy_count_, 0);
  EXPECT_TRUE(kernel_.Ask(FUSE_DESTROY, 0, "").ok());
  EXPECT_EQ(destroy_count_, 1);
  // Nobody may touch the volume any more.
  fuse_forget_in forget{};
  forget.nlookup = 1;
  kernel_.Send(FUSE_FORGET, kRoot, BytesOf(forget));
  kernel_.Close();
  EXPECT_TRUE(session_->WaitForEnd(std::chrono::seconds(60)));
  EXPECT_EQ(destroy_count_, 1);
}

TEST_F(SessionTest, StopEndsIdleWorkers) {
  session_->Stop();
  EXPECT_EQ(end_count_, 1);
}

}  // namespace
}  // namespace cofs
