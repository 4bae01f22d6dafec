// Directories: making, finding, removing, listing.
#include <dirent.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <set>

#include "tests/core/test_volume.h"

namespace cofs {
namespace {

constexpr InodeId kRoot = kRootInode;

TEST(Names, RefusesWhatCanBeNoName) {
  TestVolume volume;
  const struct {
    std::string name;
    ErrorCode code;
  } kCases[] = {
      {"", ErrorCode::kInvalidArgument},
      {".", ErrorCode::kInvalidArgument},
      {"..", ErrorCode::kInvalidArgument},
      {"a/b", ErrorCode::kInvalidArgument},
      {std::string("a\0b", 3), ErrorCode::kInvalidArgument},
      {std::string(256, 'n'), ErrorCode::kNameTooLong},
  };
  const InodeId file = MakeFile(*volume, kRoot, "file");
  for (const auto& c : kCases) {
    SCOPED_TRACE(c.name);
    EXPECT_EQ(Meaning(c.code), CodeOf(volume->Lookup(kRoot, c.name)));
    EXPECT_EQ(Meaning(c.code), CodeOf(volume->Create(kRoot, c.name, File())));
    EXPECT_EQ(Meaning(c.code), CodeOf(volume->MakeSymlink(kRoot, c.name, "t", {})));
    EXPECT_EQ(Meaning(c.code), CodeOf(volume->Link(file, kRoot, c.name)));
    EXPECT_EQ(Meaning(c.code), CodeOf(volume->Unlink(kRoot, c.name)));
    EXPECT_EQ(Meaning(c.code), CodeOf(volume->RemoveDirectory(kRoot, c.name)));
    EXPECT_EQ(Meaning(c.code),
              CodeOf(volume->Rename(kRoot, c.name, kRoot, "x", RenameMode::kReplace)));
    EXPECT_EQ(Meaning(c.code),
              CodeOf(volume->Rename(kRoot, "file", kRoot, c.name, RenameMode::kReplace)));
  }
  EXPECT_EQ(1u, EntriesOf(*volume, kRoot).size());
  for (const std::string& name :
       {std::string(255, 'n'), std::string("\xff\x01 \n"), std::string("...")}) {
    MakeFile(*volume, kRoot, name);
    EXPECT_TRUE(HasEntry(*volume, kRoot, name));
  }
}

TEST(Names, CreateGivesWhatWasAskedFor) {
  TestVolume volume;
  const struct {
    uint32_t mode, rdev;
    uint32_t expected_rdev, expected_links;
  } kCases[] = {
      {S_IFREG | 0644, 7, 0, 1},     {S_IFDIR | 0755, 0, 0, 2},
      {S_IFIFO | 0600, 0, 0, 1},     {S_IFSOCK | 06777, 0, 0, 1},
      {S_IFCHR | 0600, 259, 259, 1}, {S_IFBLK | 01600, 2049, 2049, 1},
  };
  for (const auto& c : kCases) {
    const std::string name = std::to_string(c.mode);
    const auto made = volume->Create(
        kRoot, name, {.mode = c.mode, .uid = 12, .gid = 34, .rdev = c.rdev});
    ASSERT_OK(made);
    EXPECT_EQ(c.mode, made->record.mode);
    EXPECT_EQ(12u, made->record.uid);
    EXPECT_EQ(34u, made->record.gid);
    EXPECT_EQ(c.expected_rdev, made->record.rdev);
    EXPECT_EQ(c.expected_links, made->record.link_count);
    EXPECT_EQ(made->record.mtime, made->record.btime);
    const auto found = volume->Lookup(kRoot, name);
    ASSERT_OK(found);
    EXPECT_EQ(made->id, found->id);
    EXPECT_EQ(made->record, found->record);
    EXPECT_GE(made->id, kFirstFreeInode);
  }
  EXPECT_EQ(std::size(kCases), RecordOf(*volume, kRoot).size_bytes);
  EXPECT_EQ(3u, RecordOf(*volume, kRoot).link_count);
  EXPECT_CODE(kInvalidArgument, volume->Create(kRoot, "none", {.mode = 0644}));
  EXPECT_CODE(kInvalidArgument, volume->Create(kRoot, "link", {.mode = S_IFLNK | 0777}));
}

TEST(Names, ErrorsOfDirectories) {
  TestVolume volume;
  const InodeId file = MakeFile(*volume, kRoot, "file");
  const InodeId directory = MakeDirectory(*volume, kRoot, "directory");
  MakeFile(*volume, directory, "inner");
  EXPECT_CODE(kExists, volume->Create(kRoot, "file", File()));
  EXPECT_CODE(kExists, volume->Create(kRoot, "file", Directory()));
  EXPECT_CODE(kNotFound, volume->Lookup(kRoot, "nothing"));
  EXPECT_CODE(kNotDirectory, volume->Lookup(file, "x"));
  EXPECT_CODE(kNotDirectory, volume->Create(file, "x", File()));
  EXPECT_CODE(kStale, volume->Create(InodeId{999}, "x", File()));
  EXPECT_CODE(kNotFound, volume->Unlink(kRoot, "nothing"));
  EXPECT_CODE(kIsDirectory, volume->Unlink(kRoot, "directory"));
  EXPECT_CODE(kNotDirectory, volume->RemoveDirectory(kRoot, "file"));
  EXPECT_CODE(kNotEmpty, volume->RemoveDirectory(kRoot, "directory"));
  EXPECT_CODE(kNotPermitted, volume->Link(directory, kRoot, "hard"));
  EXPECT_CODE(kExists, volume->Link(file, kRoot, "directory"));
  EXPECT_CODE(kStale, volume->LookupById(InodeId{999}));
  EXPECT_CODE(kStale, volume->LookupById(InodeId{0}));
}

TEST(Names, LinksAndTimes) {
  TestVolume volume;
  const InodeId directory = MakeDirectory(*volume, kRoot, "d");
  const InodeId file = MakeFile(*volume, directory, "a");
  const Timestamp past{.seconds = 1000, .nanoseconds = 5};
  const auto age = [&] {
    for (InodeId id : {directory, file})
      ASSERT_OK(volume->SetAttributes(id, {.atime = past, .mtime = past, .ctime = past}));
  };
  age();
  const auto linked = volume->Link(file, directory, "b");
  ASSERT_OK(linked);
  EXPECT_EQ(2u, linked->record.link_count);
  EXPECT_GT(linked->record.ctime, past);
  EXPECT_EQ(past, linked->record.mtime);
  EXPECT_GT(RecordOf(*volume, directory).mtime, past);
  EXPECT_GT(RecordOf(*volume, directory).ctime, past);
  EXPECT_EQ(past, RecordOf(*volume, directory).atime);

  age();
  ASSERT_OK(volume->Unlink(directory, "a"));
  EXPECT_EQ(1u, RecordOf(*volume, file).link_count);
  EXPECT_GT(RecordOf(*volume, file).ctime, past);
  EXPECT_GT(RecordOf(*volume, directory).mtime, past);
  EXPECT_FALSE(HasEntry(*volume, directory, "a"));
  EXPECT_TRUE(HasEntry(*volume, directory, "b"));
  EXPECT_EQ(1u, RecordOf(*volume, directory).size_bytes);
}

TEST(Names, SetGroupIdDirectories) {
  TestVolume volume;
  const auto made = volume->Create(
      kRoot, "d", {.mode = S_IFDIR | 02755, .uid = 1, .gid = 77, .rdev = 0});
  ASSERT_OK(made);
  const auto file = volume->Create(made->id, "f", {.mode = S_IFREG | 0644, .gid = 5});
  const auto inner = volume->Create(made->id, "i", {.mode = S_IFDIR | 0700, .gid = 5});
  const auto symlink = volume->MakeSymlink(made->id, "s", "f", {.gid = 5});
  ASSERT_OK(file);
  ASSERT_OK(inner);
  ASSERT_OK(symlink);
  EXPECT_EQ(77u, file->record.gid);
  EXPECT_EQ(S_IFREG | 0644u, file->record.mode);
  EXPECT_EQ(77u, inner->record.gid);
  EXPECT_EQ(S_IFDIR | 02700u, inner->record.mode);
  EXPECT_EQ(77u, symlink->record.gid);
}

TEST(Names, Symlinks) {
  TestVolume volume;
  const std::string longest(kSymlinkBytesMax, 't');
  const auto made = volume->MakeSymlink(kRoot, "s", longest, {.uid = 3});
  ASSERT_OK(made);
  EXPECT_EQ(S_IFLNK | 0777u, made->record.mode);
  EXPECT_EQ(longest.size(), made->record.size_bytes);
  const auto target = volume->ReadLink(made->id);
  ASSERT_OK(target);
  EXPECT_EQ(longest, *target);
  EXPECT_CODE(kNameTooLong, volume->MakeSymlink(kRoot, "t", longest + "t", {}));
  EXPECT_CODE(kNotFound, volume->MakeSymlink(kRoot, "t", "", {}));
  EXPECT_CODE(kInvalidArgument,
              volume->MakeSymlink(kRoot, "t", std::string_view("a\0b", 3), {}));
  EXPECT_CODE(kInvalidArgument, volume->ReadLink(kRoot));
  EXPECT_CODE(kInvalidArgument, volume->SetAttributes(made->id, {.size_bytes = 1}));
  EXPECT_OK(volume->Link(made->id, kRoot, "hard"));
}

TEST(Names, RemovedDirectoriesAreDead) {
  TestVolume volume;
  const auto made = volume->Create(kRoot, "d", Directory());
  ASSERT_OK(made);
  ASSERT_OK(volume->RemoveDirectory(kRoot, "d"));
  EXPECT_EQ(0u, RecordOf(*volume, made->id).link_count);
  EXPECT_EQ(2u, RecordOf(*volume, kRoot).link_count);
  EXPECT_CODE(kNotFound, volume->Create(made->id, "x", File()));
  EXPECT_CODE(kNotFound, volume->Lookup(made->id, "x"));
  const InodeId file = MakeFile(*volume, kRoot, "f");
  EXPECT_CODE(kNotFound, volume->Link(file, made->id, "x"));
  EXPECT_CODE(kNotFound, volume->Rename(kRoot, "f", made->id, "x", RenameMode::kReplace));
  EXPECT_CODE(kNotFound, volume->LookupParent(made->id));
  int seen = 0;
  EXPECT_OK(volume->ReadDirectory(made->id, 0, [&](const DirectoryEntry&) {
    ++seen;
    return true;
  }));
  EXPECT_EQ(0, seen);
  volume->Forget(made->id, 1);
  ASSERT_OK(volume->DrainRemoved());
  EXPECT_CODE(kStale, volume->GetAttributes(made->id));
}

TEST(Names, ParentsFollow) {
  TestVolume volume;
  const InodeId a = MakeDirectory(*volume, kRoot, "a");
  const InodeId b = MakeDirectory(*volume, a, "b");
  const auto parent = volume->LookupParent(b);
  ASSERT_OK(parent);
  EXPECT_EQ(a, parent->id);
  const auto top = volume->LookupParent(kRoot);
  ASSERT_OK(top);
  EXPECT_EQ(kRoot, top->id);
  ASSERT_OK(volume->Rename(a, "b", kRoot, "b", RenameMode::kReplace));
  const auto moved = volume->LookupParent(b);
  ASSERT_OK(moved);
  EXPECT_EQ(kRoot, moved->id);
}

TEST(Names, ReadDirectoryGoesOnBehindACookie) {
  TestVolume volume;
  const InodeId directory = MakeDirectory(*volume, kRoot, "d");
  std::set<std::string> names{".", ".."};
  for (int i = 0; i < 300; ++i) {
    names.insert(Numbered("n", i));
    MakeFile(*volume, directory, Numbered("n", i));
  }
  for (size_t step : {1u, 2u, 7u, 1000u}) {
    std::set<std::string> seen;
    uint64_t cookie = 0;
    for (bool more = true; more;) {
      size_t count = 0;
      more = false;
      EXPECT_OK(
          volume->ReadDirectory(directory, cookie, [&](const DirectoryEntry& entry) {
            if (count == step) {
              more = true;
              return false;
            }
            ++count;
            EXPECT_TRUE(seen.emplace(entry.name).second) << entry.name;
            EXPECT_EQ(entry.name.starts_with('.') ? DT_DIR : DT_REG, entry.type);
            cookie = entry.cookie;
            return true;
          }));
    }
    EXPECT_EQ(names, seen);
  }
  EXPECT_OK(volume->ReadDirectory(directory, UINT64_MAX, [](const DirectoryEntry&) {
    ADD_FAILURE();
    return true;
  }));
  EXPECT_CODE(kNotDirectory, volume->ReadDirectory(MakeFile(*volume, kRoot, "f"), 0,
                                                   [](const auto&) { return true; }));
}

TEST(Names, CookiesOutliveChangesAndRemounts) {
  TestVolume volume;
  const InodeId directory = MakeDirectory(*volume, kRoot, "d");
  for (int i = 0; i < 100; ++i) MakeFile(*volume, directory, std::to_string(i));
  // Read half; then everything odd goes and other names come; then read on.
  std::set<std::string> seen;
  uint64_t cookie = 0;
  EXPECT_OK(volume->ReadDirectory(directory, 0, [&](const DirectoryEntry& entry) {
    if (seen.size() == 50) return false;
    seen.emplace(entry.name);
    cookie = entry.cookie;
    return true;
  }));
  for (int i = 1; i < 100; i += 2)
    ASSERT_OK(volume->Unlink(directory, std::to_string(i)));
  for (int i = 0; i < 100; ++i) MakeFile(*volume, directory, Numbered("new", i));
  volume.Remount();
  EXPECT_OK(volume->ReadDirectory(directory, cookie, [&](const DirectoryEntry& entry) {
    EXPECT_TRUE(seen.emplace(entry.name).second) << entry.name;
    return true;
  }));
  for (int i = 0; i < 100; i += 2) EXPECT_TRUE(seen.contains(std::to_string(i))) << i;
}

TEST(Names, ImmutableAndAppendOnly) {
  TestVolume volume;
  const InodeId directory = MakeDirectory(*volume, kRoot, "d");
  const InodeId file = MakeFile(*volume, directory, "f");
  ASSERT_OK(volume->SetAttributes(file, {.flags = kInodeImmutable}));
  EXPECT_CODE(kNotPermitted, volume->Unlink(directory, "f"));
  EXPECT_CODE(kNotPermitted, volume->Link(file, directory, "g"));
  EXPECT_CODE(kNotPermitted,
              volume->Rename(directory, "f", directory, "g", RenameMode::kReplace));
  EXPECT_CODE(kNotPermitted, volume->SetAttributes(file, {.mode = 0600}));
  EXPECT_CODE(kNotPermitted, volume->SetAttributes(file, {.size_bytes = 0}));
  EXPECT_CODE(kNotPermitted, volume->SetXattr(file, "user.a", "1", XattrMode::kSet));
  MakeFile(*volume, directory, "other");
  EXPECT_CODE(kNotPermitted,
              volume->Rename(directory, "other", directory, "f", RenameMode::kReplace));
  ASSERT_OK(volume->SetAttributes(file, {.flags = 0}));
  ASSERT_OK(volume->SetAttributes(directory, {.flags = kInodeAppendOnly}));
  EXPECT_CODE(kNotPermitted, volume->Unlink(directory, "f"));
  EXPECT_OK(volume->Create(directory, "g", File()));
  ASSERT_OK(volume->SetAttributes(directory, {.flags = kInodeImmutable}));
  EXPECT_CODE(kNotPermitted, volume->Create(directory, "h", File()));
  EXPECT_CODE(kNotSupported, volume->SetAttributes(file, {.flags = kInodeHasXattr}));
}

}  // namespace
}  // namespace cofs
