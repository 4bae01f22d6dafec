// Rename, in its three modes.
#include <dirent.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/core/test_volume.h"

namespace cofs {
namespace {

constexpr InodeId kRoot = kRootInode;

// root: f (file), g (file), h (hard link of f), d (directory with inner and sub),
// e (empty directory).
class Rename : public ::testing::Test {
 protected:
  Rename() {
    f_ = MakeFile(*volume_, kRoot, "f");
    g_ = MakeFile(*volume_, kRoot, "g");
    EXPECT_OK(volume_->Link(f_, kRoot, "h"));
    volume_->Forget(f_, 1);
    d_ = MakeDirectory(*volume_, kRoot, "d");
    inner_ = MakeFile(*volume_, d_, "inner");
    sub_ = MakeDirectory(*volume_, d_, "sub");
    e_ = MakeDirectory(*volume_, kRoot, "e");
  }
  InodeId Directory(char name) const {
    switch (name) {
      case 'd':
        return d_;
      case 's':
        return sub_;
      case 'e':
        return e_;
      default:
        return kRoot;
    }
  }
  Status Run(char from, std::string_view from_name, char to, std::string_view to_name,
             RenameMode mode) {
    return volume_->Rename(Directory(from), from_name, Directory(to), to_name, mode);
  }

  TestVolume volume_;
  InodeId f_, g_, d_, inner_, sub_, e_;
};

TEST_F(Rename, Errors) {
  constexpr auto kReplace = RenameMode::kReplace;
  constexpr auto kNoReplace = RenameMode::kNoReplace;
  constexpr auto kExchange = RenameMode::kExchange;
  const struct {
    char from;
    const char* from_name;
    char to;
    const char* to_name;
    RenameMode mode;
    ErrorCode code;
  } kCases[] = {
      {'r', "none", 'r', "x", kReplace, ErrorCode::kNotFound},
      {'r', "none", 'r', "f", kExchange, ErrorCode::kNotFound},
      {'r', "f", 'r', "none", kExchange, ErrorCode::kNotFound},
      {'r', "f", 'r', "g", kNoReplace, ErrorCode::kExists},
      {'r', "f", 'r', "h", kNoReplace, ErrorCode::kExists},
      {'r', "f", 'r', "e", kReplace, ErrorCode::kIsDirectory},
      {'r', "e", 'r', "f", kReplace, ErrorCode::kNotDirectory},
      {'r', "e", 'r', "d", kReplace, ErrorCode::kNotEmpty},
      {'r', "d", 'd', "x", kReplace, ErrorCode::kInvalidArgument},
      {'r', "d", 's', "x", kReplace, ErrorCode::kInvalidArgument},
      {'r', "d", 'd', "sub", kReplace, ErrorCode::kInvalidArgument},
      {'r', "d", 'd', "sub", kExchange, ErrorCode::kInvalidArgument},
      {'d', "sub", 'r', "d", kExchange, ErrorCode::kInvalidArgument},
      {'d', "inner", 'r', "d", kExchange, ErrorCode::kInvalidArgument},
      {'d', "sub", 'r', "d", kReplace, ErrorCode::kNotEmpty},
      {'d', "inner", 'r', "d", kReplace, ErrorCode::kIsDirectory},
  };
  const auto before = EntriesOf(*volume_, kRoot);
  const InodeRecord root = RecordOf(*volume_, kRoot);
  for (const auto& c : kCases) {
    SCOPED_TRACE(std::string(c.from_name) + " -> " + c.to_name);
    EXPECT_EQ(Meaning(c.code), CodeOf(Run(c.from, c.from_name, c.to, c.to_name, c.mode)));
  }
  EXPECT_EQ(before, EntriesOf(*volume_, kRoot));
  EXPECT_EQ(root.mtime, RecordOf(*volume_, kRoot).mtime);
}

TEST_F(Rename, MovesAFile) {
  const Timestamp past{.seconds = 1000, .nanoseconds = 0};
  for (InodeId id : {kRoot, d_, g_})
    ASSERT_OK(volume_->SetAttributes(id, {.mtime = past, .ctime = past}));
  ASSERT_OK(Run('r', "g", 'd', "moved", RenameMode::kNoReplace));
  EXPECT_FALSE(HasEntry(*volume_, kRoot, "g"));
  EXPECT_EQ(g_, EntriesOf(*volume_, d_)["moved"]);
  EXPECT_EQ(4u, RecordOf(*volume_, kRoot).size_bytes);
  EXPECT_EQ(3u, RecordOf(*volume_, d_).size_bytes);
  for (InodeId id : {kRoot, d_}) EXPECT_GT(RecordOf(*volume_, id).mtime, past);
  EXPECT_GT(RecordOf(*volume_, g_).ctime, past);
  EXPECT_EQ(past, RecordOf(*volume_, g_).mtime);
}

TEST_F(Rename, ReplacesAFile) {
  ASSERT_OK(Run('r', "g", 'r', "f", RenameMode::kReplace));
  EXPECT_EQ(g_, EntriesOf(*volume_, kRoot)["f"]);
  EXPECT_EQ(1u, RecordOf(*volume_, f_).link_count);  // "h" is left
  EXPECT_EQ(4u, RecordOf(*volume_, kRoot).size_bytes);
  ASSERT_OK(Run('r', "f", 'r', "h", RenameMode::kReplace));
  ASSERT_OK(volume_->DrainRemoved());
  EXPECT_CODE(kStale, volume_->GetAttributes(f_));
}

TEST_F(Rename, MovesADirectory) {
  ASSERT_OK(Run('r', "d", 'e', "d", RenameMode::kReplace));
  EXPECT_EQ(3u, RecordOf(*volume_, kRoot).link_count);
  EXPECT_EQ(3u, RecordOf(*volume_, e_).link_count);
  EXPECT_EQ(e_, RecordOf(*volume_, d_).parent);
  EXPECT_EQ(3u, RecordOf(*volume_, d_).link_count);
}

TEST_F(Rename, ReplacesAnEmptyDirectory) {
  ASSERT_OK(Run('r', "d", 'r', "e", RenameMode::kReplace));
  EXPECT_EQ(3u, RecordOf(*volume_, kRoot).link_count);
  EXPECT_EQ(d_, EntriesOf(*volume_, kRoot)["e"]);
  ASSERT_OK(volume_->DrainRemoved());
  EXPECT_CODE(kStale, volume_->GetAttributes(e_));

  // From another directory: the link of the one that goes is the one that comes.
  const InodeId empty = MakeDirectory(*volume_, kRoot, "empty");
  ASSERT_OK(Run('d', "sub", 'r', "empty", RenameMode::kReplace));
  EXPECT_EQ(2u, RecordOf(*volume_, d_).link_count);
  EXPECT_EQ(4u, RecordOf(*volume_, kRoot).link_count);
  EXPECT_EQ(kRoot, RecordOf(*volume_, sub_).parent);
  ASSERT_OK(volume_->DrainRemoved());
  EXPECT_CODE(kStale, volume_->GetAttributes(empty));
}

TEST_F(Rename, HardLinksOfOneFileStay) {
  for (RenameMode mode : {RenameMode::kReplace, RenameMode::kExchange}) {
    ASSERT_OK(Run('r', "f", 'r', "h", mode));
    EXPECT_EQ(f_, EntriesOf(*volume_, kRoot)["f"]);
    EXPECT_EQ(f_, EntriesOf(*volume_, kRoot)["h"]);
    ASSERT_OK(Run('r', "f", 'r', "f", mode));
    ASSERT_OK(Run('r', "d", 'r', "d", mode));
  }
  EXPECT_EQ(2u, RecordOf(*volume_, f_).link_count);
}

TEST_F(Rename, Exchanges) {
  ASSERT_OK(Run('r', "f", 'd', "inner", RenameMode::kExchange));
  EXPECT_EQ(inner_, EntriesOf(*volume_, kRoot)["f"]);
  EXPECT_EQ(f_, EntriesOf(*volume_, d_)["inner"]);

  // A directory for a file: links and parents of both sides follow.
  ASSERT_OK(Run('d', "sub", 'r', "g", RenameMode::kExchange));
  EXPECT_EQ(2u, RecordOf(*volume_, d_).link_count);
  EXPECT_EQ(5u, RecordOf(*volume_, kRoot).link_count);
  EXPECT_EQ(kRoot, RecordOf(*volume_, sub_).parent);
  EXPECT_EQ(2u, RecordOf(*volume_, d_).size_bytes);
  ASSERT_OK(Run('r', "g", 'd', "sub", RenameMode::kExchange));
  EXPECT_EQ(3u, RecordOf(*volume_, d_).link_count);
  EXPECT_EQ(4u, RecordOf(*volume_, kRoot).link_count);
  EXPECT_EQ(d_, RecordOf(*volume_, sub_).parent);

  // Two directories of two parents.
  ASSERT_OK(Run('d', "sub", 'r', "e", RenameMode::kExchange));
  EXPECT_EQ(3u, RecordOf(*volume_, d_).link_count);
  EXPECT_EQ(d_, RecordOf(*volume_, e_).parent);
  EXPECT_EQ(kRoot, RecordOf(*volume_, sub_).parent);
  uint8_t type = 0;
  EXPECT_OK(volume_->ReadDirectory(d_, 0, [&](const DirectoryEntry& entry) {
    if (entry.name == "sub") type = entry.type;
    return true;
  }));
  EXPECT_EQ(DT_DIR, type);
}

TEST_F(Rename, LeavesAWhiteout) {
  RenameOptions options;
  options.whiteout = NewInode{.mode = S_IFCHR};
  const uint64_t entries = RecordOf(*volume_, kRoot).size_bytes;
  ASSERT_OK(volume_->Rename(kRoot, "f", d_, "inner", options));
  volume_.Remount();
  EXPECT_EQ(f_, EntriesOf(*volume_, d_)["inner"]);
  const auto left = volume_->Lookup(kRoot, "f");
  ASSERT_OK(left);
  EXPECT_EQ(uint32_t{S_IFCHR}, left->record.mode);
  EXPECT_EQ(0u, left->record.rdev);
  EXPECT_EQ(1u, left->record.link_count);
  volume_->Forget(left->id, 1);
  EXPECT_EQ(entries, RecordOf(*volume_, kRoot).size_bytes);

  options.mode = RenameMode::kNoReplace;
  EXPECT_CODE(kExists, volume_->Rename(kRoot, "g", kRoot, "f", options));
  ASSERT_OK(volume_->Rename(kRoot, "d", kRoot, "new", options));
  EXPECT_EQ(d_, EntriesOf(*volume_, kRoot)["new"]);
  EXPECT_EQ(4u, RecordOf(*volume_, kRoot).link_count);
  options.mode = RenameMode::kExchange;
  EXPECT_CODE(kInvalidArgument, volume_->Rename(kRoot, "g", kRoot, "f", options));
  volume_.Remount();
}

}  // namespace
}  // namespace cofs
