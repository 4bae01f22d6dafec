#include "tests/mount/model_driver.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/falloc.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/check.h"
#include "fs/fuse/cofs_ioctl.h"
#include "tests/mount/crash_model.h"
#include "tests/mount/file_io.h"

namespace cofs {
namespace {

constexpr size_t kHeldMax = 4;

InodeId InodeOf(const std::string& path) { return InodeId(Stat(path).st_ino); }

// The errno that a model's outcome is shown as; 0 for success.
int ErrnoOfOutcome(const Outcome& outcome) { return outcome ? ErrnoOf(*outcome) : 0; }

// Everything below `root`, and of `shared` what has the prefix.
class KernelTreeReader {
 public:
  KernelTreeReader(const std::string& root, const std::string& shared,
                   const std::string& prefix)
      : root_(root),
        shared_(shared),
        prefix_(prefix),
        model_(InodeOf(root), InodeOf(shared)) {}

  Model Read() {
    ReadDirectory(root_, model_.root(), "");
    ReadDirectory(shared_, model_.shared(), prefix_);
    for (const auto& [id, links] : links_) {
      const Model::Node* node = model_.Find(id);
      EXPECT_EQ(node->link_count, links) << "links of inode " << id;
    }
    return std::move(model_);
  }

 private:
  void ReadDirectory(const std::string& path, InodeId id, const std::string& prefix) {
    for (const std::string& name : ListDirectory(path))
      if (name.starts_with(prefix)) ReadInode(path + "/" + name, id, name);
  }

  void ReadInode(const std::string& path, InodeId directory, const std::string& name) {
    const struct stat st = Stat(path);
    const InodeId id(st.st_ino);
    links_[id] = st.st_nlink;
    if (model_.Find(id) != nullptr) {
      EXPECT_FALSE(model_.Link(id, directory, name)) << path;
      return;
    }
    std::string target;
    if (S_ISLNK(st.st_mode)) {
      target.resize(4096);
      const ssize_t length = readlink(path.c_str(), target.data(), target.size());
      target.resize(static_cast<size_t>(std::max<ssize_t>(length, 0)));
    }
    EXPECT_FALSE(model_.Create(
        directory, name, {.mode = st.st_mode, .uid = st.st_uid, .gid = st.st_gid}, target,
        id))
        << path;
    if (S_ISREG(st.st_mode)) model_.SetData(id, ReadFile(path));
    if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)) ReadXattrs(path, id);
    if (S_ISDIR(st.st_mode)) ReadDirectory(path, id, "");
  }

  void ReadXattrs(const std::string& path, InodeId id) {
    char names[4096], value[70'000];
    const ssize_t length = listxattr(path.c_str(), names, sizeof names);
    EXPECT_GE(length, 0) << path;
    for (ssize_t at = 0; at < length; at += static_cast<ssize_t>(strlen(names + at)) + 1) {
      const ssize_t bytes = getxattr(path.c_str(), names + at, value, sizeof value);
      EXPECT_GE(bytes, 0) << path;
      if (bytes < 0) continue;
      model_.SetXattr(id, names + at, std::string(value, static_cast<size_t>(bytes)),
                      XattrMode::kSet);
    }
  }

  const std::string root_, shared_, prefix_;
  Model model_;
  std::map<InodeId, uint64_t> links_;
};

}  // namespace

MountDriver::MountDriver(const Options& options)
    : options_(options),
      random_(options.seed),
      model_(InodeOf(options.root), InodeOf(options.shared)),
      base_(model_) {
  const std::pair<void (MountDriver::*)(), unsigned> kWeights[] = {
      {&MountDriver::Create, 10},       {&MountDriver::MakeSymlink, 2},
      {&MountDriver::Link, 3},          {&MountDriver::Unlink, 5},
      {&MountDriver::RemoveDirectory, 2}, {&MountDriver::Rename, 8},
      {&MountDriver::ChangeMode, 2},    {&MountDriver::Truncate, 5},
      {&MountDriver::Xattr, 4},         {&MountDriver::Write, 16},
      {&MountDriver::WriteMapped, 3},   {&MountDriver::Read, 10},
      {&MountDriver::Allocate, 5},      {&MountDriver::Seek, 3},
      {&MountDriver::Copy, 7},          {&MountDriver::Clone, 7},
      {&MountDriver::ListDirectory, 2}, {&MountDriver::CheckAttributes, 4},
      {&MountDriver::Sync, 2},          {&MountDriver::HoldOrClose, 4},
  };
  // Every run has tastes of its own.
  for (const auto& [operation, weight] : kWeights)
    operations_.insert(operations_.end(), weight * (1 + Random(3)), operation);
}

bool MountDriver::Step() {
  if (failed_ || gone_) return false;
  ++operation_count_;
  try {
    (this->*operations_[Random(operations_.size())])();
    if (!gone_ && model_.nodes().size() > options_.inode_count_max) Unlink();
  } catch (const std::system_error& error) {
    gone_ = IsGone(options_.mount_point, error.code().value());
    if (!gone_) Fail(error.what());
  }
  return !failed_ && !gone_;
}

void MountDriver::Fail(const std::string& what) {
  failed_ = true;
  std::string text;
  for (size_t i = history_.size() - std::min<size_t>(history_.size(), 400);
       i < history_.size(); ++i)
    text += StrCat("\n", i + 1, ": ", history_[i].what);
  ADD_FAILURE() << "driver \"" << options_.prefix << "\", seed " << options_.seed
                << ", operation " << operation_count_ << ": " << what
                << "\nThe operations that succeeded in this mount, at most 400:" << text;
}

void MountDriver::Did(std::string what, long result,
                      std::function<Outcome(Model&)> apply, std::optional<InodeId> torn) {
  const int error_number = result < 0 ? errno : 0;
  if (failed_) return;
  if (error_number != 0 && IsGone(options_.mount_point, error_number)) {
    // It may have been carried out all the same.
    gone_ = true;
    history_.push_back({what + " (met the crash)", std::move(apply), torn});
    return;
  }
  const Outcome wanted = apply(model_);
  if (ErrnoOfOutcome(wanted) != error_number) {
    Fail(StrCat(what, ": ", strerror(error_number), " instead of ", Describe(wanted)));
  } else if (!wanted) {
    history_.push_back({std::move(what), std::move(apply), torn});
  }
}

// ---- choosing ----

std::optional<InodeId> MountDriver::Pick(const Picker& accepts) {
  std::vector<InodeId> found;
  for (const auto& [id, node] : model_.nodes())
    if (accepts(node) && (node.link_count != 0 || held_.contains(id))) found.push_back(id);
  if (found.empty()) return std::nullopt;
  return found[Random(found.size())];
}

std::optional<InodeId> MountDriver::PickFile() {
  return Pick([](const Model::Node& node) { return node.is_file(); });
}

InodeId MountDriver::PickDirectory() {
  if (Chance(15)) return model_.shared();
  return *Pick([](const Model::Node& node) { return node.is_directory(); });
}

std::string MountDriver::PickName(InodeId directory) {
  const std::string name(Chance(2) ? 200 : 1, static_cast<char>('a' + Random(14)));
  return directory == model_.shared() ? options_.prefix + name : name;
}

std::string MountDriver::PickEntry(InodeId directory) {
  const Model::Node* node = model_.Find(directory);
  if (Chance(10) || node->entries.empty()) return PickName(directory);
  return std::next(node->entries.begin(),
                   static_cast<std::ptrdiff_t>(Random(node->entries.size())))
      ->first;
}

uint64_t MountDriver::PickOffset() {
  const uint64_t offset = Random(options_.file_bytes_max);
  return Chance(60) ? RoundDown(offset, kBlockBytes) : offset;
}

uint64_t MountDriver::PickLength() {
  const uint64_t length = 1 + Random(Chance(30) ? options_.file_bytes_max / 2 : 12'000);
  return Chance(50) ? RoundUp(length, kBlockBytes) : length;
}

std::string MountDriver::PickBytes(uint64_t length) {
  return Chance(5) ? std::string(length, '\0') : Pattern(random_(), 0, length);
}

std::string MountDriver::DirectoryPath(InodeId directory) const {
  if (directory == model_.root()) return options_.root;
  if (directory == model_.shared()) return options_.shared;
  const InodeId parent = model_.Find(directory)->parent;
  for (const auto& [name, id] : model_.Find(parent)->entries)
    if (id == directory) return Path(parent, name);
  throw std::logic_error("a directory without a name");
}

std::string MountDriver::Path(InodeId directory, const std::string& name) const {
  return DirectoryPath(directory) + "/" + name;
}

bool MountDriver::IsAtOrBelow(InodeId directory, InodeId ancestor) const {
  for (InodeId id = directory;; id = model_.Find(id)->parent) {
    if (id == ancestor) return true;
    if (model_.IsRoot(id)) return false;
  }
}

std::string MountDriver::PathOf(InodeId inode) const {
  for (const auto& [directory, node] : model_.nodes())
    if (node.link_count != 0)
      for (const auto& [name, id] : node.entries)
        if (id == inode) return Path(directory, name);
  throw std::logic_error("an inode without a name");
}

int MountDriver::Use(InodeId file, Fd& opened) {
  const auto held = held_.find(file);
  if (held != held_.end()) return held->second.get();
  opened = Open(PathOf(file), O_RDWR);
  return opened.get();
}

// ---- names ----

void MountDriver::Create() {
  static constexpr mode_t kTypes[] = {S_IFREG, S_IFREG, S_IFREG, S_IFREG,
                                      S_IFDIR, S_IFDIR, S_IFIFO};
  const InodeId directory = PickDirectory();
  const std::string name = PickName(directory);
  const std::string path = Path(directory, name);
  const mode_t type = kTypes[Random(std::size(kTypes))];
  const mode_t mode = 0600 + static_cast<mode_t>(Random(64) & 055);
  const int result = type == S_IFDIR ? mkdir(path.c_str(), mode)
                                     : mknod(path.c_str(), type | mode, 0);
  Made("create " + path, result, directory, name, {.mode = type | mode}, "");
}

// The number is asked for afterwards: when the daemon is gone by then, the recovered tree
// tells it.
void MountDriver::Made(std::string what, int result, InodeId directory,
                       const std::string& name, const NewInode& inode,
                       const std::string& target) {
  const int error_number = errno;
  const auto id = std::make_shared<InodeId>();
  bool is_gone = false;
  if (result == 0) {
    struct stat st {};
    if (lstat(Path(directory, name).c_str(), &st) == 0)
      *id = InodeId(st.st_ino);
    else if (IsGone(options_.mount_point, errno))
      is_gone = true;
    else
      return Fail("stat after " + what);
  }
  errno = error_number;
  Did(std::move(what), result, [=](Model& m) {
    return m.Create(directory, name, inode, target, *id);
  });
  gone_ |= is_gone;
  if (gone_) unknown_ = Unknown{directory, name, id};
}

void MountDriver::MakeSymlink() {
  const InodeId directory = PickDirectory();
  const std::string name = PickName(directory);
  const std::string path = Path(directory, name);
  const std::string target(1 + Random(Chance(5) ? 4094 : 40), 't');
  const int result = symlink(target.c_str(), path.c_str());
  Made("symlink " + path, result, directory, name, {.mode = S_IFLNK | 0777}, target);
}

void MountDriver::Link() {
  const auto inode = Pick(
      [&](const Model::Node& node) { return !node.is_directory() && node.link_count != 0; });
  if (!inode) return;
  const InodeId id = *inode;
  const InodeId directory = PickDirectory();
  const std::string name = PickName(directory);
  const std::string from = PathOf(id), to = Path(directory, name);
  Did("link " + from + " as " + to, link(from.c_str(), to.c_str()),
      [=](Model& m) { return m.Link(id, directory, name); });
}

void MountDriver::Unlink() {
  const InodeId directory = PickDirectory();
  const std::string name = PickEntry(directory);
  const std::string path = Path(directory, name);
  Did("unlink " + path, unlink(path.c_str()),
      [=](Model& m) { return m.Unlink(directory, name); });
}

void MountDriver::RemoveDirectory() {
  const InodeId directory = PickDirectory();
  const std::string name = PickEntry(directory);
  const std::string path = Path(directory, name);
  Did("rmdir " + path, rmdir(path.c_str()),
      [=](Model& m) { return m.RemoveDirectory(directory, name); });
}

void MountDriver::Rename() {
  const InodeId from = PickDirectory();
  const InodeId to = Chance(40) ? from : PickDirectory();
  const std::string from_name = PickEntry(from);
  const std::string to_name = Chance(50) ? PickEntry(to) : PickName(to);
  const auto mode = Chance(60)   ? RenameMode::kReplace
                    : Chance(30) ? RenameMode::kNoReplace
                                 : RenameMode::kExchange;
  const unsigned flags = mode == RenameMode::kNoReplace  ? RENAME_NOREPLACE
                         : mode == RenameMode::kExchange ? RENAME_EXCHANGE
                                                         : 0;
  // Onto a directory above the source: the kernel has an errno of its own for it.
  const auto& entries = model_.Find(to)->entries;
  const auto target = entries.find(to_name);
  if (target != entries.end() && IsAtOrBelow(from, target->second)) return;
  const std::string from_path = Path(from, from_name), to_path = Path(to, to_name);
  Did(StrCat("rename ", from_path, " to ", to_path, ", flags ", flags),
      renameat2(AT_FDCWD, from_path.c_str(), AT_FDCWD, to_path.c_str(), flags),
      [=](Model& m) { return m.Rename(from, from_name, to, to_name, mode); });
}

void MountDriver::ListDirectory() {
  const InodeId directory = PickDirectory();
  std::vector<std::string> wanted;
  for (const auto& [name, id] : model_.Find(directory)->entries) wanted.push_back(name);
  std::vector<std::string> found = cofs::ListDirectory(DirectoryPath(directory));
  if (directory == model_.shared())
    std::erase_if(found, [&](const std::string& name) {
      return !name.starts_with(options_.prefix);
    });
  if (found != wanted) Fail("entries of " + DirectoryPath(directory));
}

// ---- attributes ----

void MountDriver::CheckAttributes() {
  const auto id = Pick([](const Model::Node& node) { return node.link_count != 0; });
  if (model_.IsRoot(*id)) return;
  const std::string path = PathOf(*id);
  const struct stat st = Stat(path);
  const Model::Node& node = *model_.Find(*id);
  if (st.st_ino != id->value() || st.st_mode != node.mode ||
      st.st_nlink != node.link_count ||
      (!node.is_directory() && static_cast<uint64_t>(st.st_size) != node.size_bytes()))
    Fail(StrCat("attributes of ", path, ": inode ", st.st_ino, " not ", *id, ", mode ",
                st.st_mode, " not ", node.mode, ", links ", st.st_nlink, " not ",
                node.link_count, ", size ", st.st_size, " not ", node.size_bytes()));
}

void MountDriver::ChangeMode() {
  const auto id = Pick([](const Model::Node& node) {
    return (node.is_file() || node.is_directory()) && node.link_count != 0;
  });
  if (model_.IsRoot(*id)) return;
  AttributeChange change;
  change.mode = 0600 + static_cast<uint32_t>(Random(64) & 055);
  const std::string path = PathOf(*id);
  Did("chmod " + path, chmod(path.c_str(), *change.mode),
      [=, id = *id](Model& m) { return m.SetAttributes(id, change); });
}

void MountDriver::Truncate() {
  const auto id = PickFile();
  if (!id) return;
  AttributeChange change;
  change.size_bytes = Chance(20) ? 0 : PickOffset();
  Fd opened;
  const int fd = Use(*id, opened);
  Did(StrCat("truncate ", *id, " to ", *change.size_bytes),
      ftruncate(fd, static_cast<off_t>(*change.size_bytes)),
      [=, id = *id](Model& m) { return m.SetAttributes(id, change); }, *id);
}

void MountDriver::Xattr() {
  const auto picked = Pick([](const Model::Node& node) {
    return (node.is_file() || node.is_directory()) && node.link_count != 0;
  });
  const InodeId id = *picked;
  if (model_.IsRoot(id)) return;
  const std::string path = PathOf(id), name = "user." + std::to_string(Random(4));
  if (Chance(30)) {
    Did("remove " + name + " of " + path, removexattr(path.c_str(), name.c_str()),
        [=](Model& m) { return m.RemoveXattr(id, name); });
    return;
  }
  const std::string value = Pattern(random_(), 0, Random(Chance(5) ? 60'000 : 100));
  const auto mode = static_cast<XattrMode>(Random(3));
  const int flags = mode == XattrMode::kCreate    ? XATTR_CREATE
                    : mode == XattrMode::kReplace ? XATTR_REPLACE
                                                  : 0;
  Did("set " + name + " of " + path,
      setxattr(path.c_str(), name.c_str(), value.data(), value.size(), flags),
      [=](Model& m) { return m.SetXattr(id, name, value, mode); });
}

// ---- data ----

void MountDriver::Write() {
  const auto id = PickFile();
  if (!id) return;
  const bool appends = Chance(15), direct = Chance(30), synced = Chance(3);
  uint64_t offset = appends ? model_.Find(*id)->size_bytes() : PickOffset();
  uint64_t length = PickLength();
  if (direct && !appends) {
    offset = RoundDown(offset, kBlockBytes);
    length = RoundUp(length, kBlockBytes);
  }
  const std::string bytes = PickBytes(length);
  Fd opened;
  // Flags need a descriptor of their own, and so a name.
  const bool is_plain = !direct && !synced && !appends;
  if (is_plain || model_.Find(*id)->link_count == 0) {
    Use(*id, opened);
  } else {
    opened = Open(PathOf(*id), O_RDWR | (appends ? O_APPEND : 0) |
                                   (direct ? O_DIRECT : 0) | (synced ? O_DSYNC : 0));
  }
  const int fd = opened.valid() ? opened.get() : held_.at(*id).get();
  const AlignedBuffer buffer = AlignedCopy(bytes);
  ssize_t count = pwrite(fd, buffer.data(), bytes.size(), static_cast<off_t>(offset));
  if (count >= 0 && static_cast<size_t>(count) != bytes.size()) {
    if (!IsGone(options_.mount_point, EIO))
      return Fail(StrCat("a write of ", bytes.size(), " bytes wrote ", count));
    // Cut off by the end of the daemon.
    errno = ENOTCONN;
    count = -1;
  }
  Did(StrCat("write ", length, " bytes at ", offset, " of ", *id, appends ? ", append" : "",
             direct ? ", direct" : "", synced ? ", synced" : ""),
      count, [=, id = *id](Model& m) { return m.Write(id, offset, bytes); }, *id);
  if (count >= 0 && synced && opened.valid() && writes_through_ &&
      model_.Find(*id)->link_count != 0) {
    durable_count_ = history_.size();
    ++sync_count_;
  }
}

void MountDriver::WriteMapped() {
  if (writes_through_) return;
  const auto id = Pick(
      [](const Model::Node& node) { return node.is_file() && node.size_bytes() > 0; });
  if (!id) return;
  const uint64_t size = model_.Find(*id)->size_bytes();
  const uint64_t offset = Random(size);
  const std::string bytes = PickBytes(1 + Random(std::min<uint64_t>(size - offset, 20'000)));
  Fd opened;
  const int fd = Use(*id, opened);
  void* const mapped = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (mapped == MAP_FAILED) return Fail(StrCat("mmap of ", *id, ": ", strerror(errno)));
  memcpy(static_cast<char*>(mapped) + offset, bytes.data(), bytes.size());
  munmap(mapped, size);
  Did(StrCat("write ", bytes.size(), " mapped bytes at ", offset, " of ", *id), 0,
      [=, id = *id](Model& m) { return m.Write(id, offset, bytes); }, *id);
}

void MountDriver::Read() {
  const auto id = PickFile();
  if (!id) return;
  const uint64_t offset = PickOffset(), length = PickLength();
  Fd opened;
  const bool direct = Chance(25) && model_.Find(*id)->link_count != 0;
  if (direct)
    opened = Open(PathOf(*id), O_RDONLY | O_DIRECT);
  else
    Use(*id, opened);
  const int fd = opened.valid() ? opened.get() : held_.at(*id).get();
  AlignedBuffer buffer(RoundUp(length, kBlockBytes));
  const Model::Node& node = *model_.Find(*id);
  const std::string wanted =
      offset >= node.size_bytes() ? "" : node.data->substr(offset, length);
  size_t done = 0;
  // A read that meets the crash ends with the page before it; the next one is an error.
  do {
    const ssize_t count = pread(fd, buffer.data() + done, length - done,
                                static_cast<off_t>(offset + done));
    if (count < 0) {
      gone_ = IsGone(options_.mount_point, errno);
      if (!gone_) Fail(StrCat("read of ", *id, ": ", strerror(errno)));
      return;
    }
    if (count == 0) break;
    done += static_cast<size_t>(count);
  } while (done < wanted.size());
  const auto same = SameBytes({buffer.data(), done}, wanted);
  if (!same)
    Fail(StrCat("read of ", length, " bytes at ", offset, " of ", *id,
                direct ? ", direct: " : ": ", same.message()));
}

void MountDriver::Allocate() {
  static constexpr int kModes[] = {
      0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
      FALLOC_FL_ZERO_RANGE, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE};
  const auto id = PickFile();
  if (!id) return;
  const int mode = kModes[Random(std::size(kModes))];
  const uint64_t offset = PickOffset(), length = PickLength();
  Fd opened;
  const int fd = Use(*id, opened);
  Did(StrCat("fallocate ", length, " bytes at ", offset, " of ", *id, ", mode ", mode),
      fallocate(fd, mode, static_cast<off_t>(offset), static_cast<off_t>(length)),
      [=, id = *id](Model& m) { return m.Allocate(id, mode, offset, length); }, *id);
}

// What is skipped as a hole must be zeros.
void MountDriver::Seek() {
  const auto id = PickFile();
  if (!id) return;
  const uint64_t offset = PickOffset();
  Fd opened;
  const int fd = Use(*id, opened);
  const Model::Node& node = *model_.Find(*id);
  const uint64_t size = node.size_bytes();
  const off_t found = lseek(fd, static_cast<off_t>(offset), SEEK_DATA);
  if (found < 0 && errno != ENXIO) {
    gone_ = IsGone(options_.mount_point, errno);
    if (!gone_) Fail(StrCat("SEEK_DATA in ", *id, ": ", strerror(errno)));
    return;
  }
  if (offset >= size) {
    if (found >= 0) Fail(StrCat("SEEK_DATA past the end of ", *id));
    return;
  }
  const uint64_t data = found < 0 ? size : static_cast<uint64_t>(found);
  if (data < offset || data > size || node.data->find_first_not_of('\0', offset) < data)
    Fail(StrCat("SEEK_DATA from ", offset, " of ", *id, " skips data: ", found));
}

void MountDriver::Copy() {
  const auto source = PickFile(), destination = PickFile();
  if (!source) return;
  const uint64_t from = PickOffset();
  const uint64_t to = Chance(50)
                          ? RoundDown(PickOffset(), kBlockBytes) + from % kBlockBytes
                          : PickOffset();
  uint64_t length = PickLength();
  // A source that is its own destination grows: not past where it ended before.
  const uint64_t size = model_.Find(*source)->size_bytes();
  if (from < size) length = std::min(length, size - from);
  Fd opened_source, opened_destination;
  const int in = Use(*source, opened_source), out = Use(*destination, opened_destination);
  auto in_offset = static_cast<off_t>(from), out_offset = static_cast<off_t>(to);
  ssize_t count = 0;
  uint64_t done = 0;
  do {
    count = copy_file_range(in, &in_offset, out, &out_offset, length - done, 0);
    if (count > 0) done += static_cast<uint64_t>(count);
  } while (count > 0 && done < length);
  if (count >= 0) ++copy_count_;
  Did(StrCat("copy ", length, " bytes at ", from, " of ", *source, " to ", to, " of ",
             *destination),
      count,
      [=, source = *source, destination = *destination](Model& m) {
        return m.Copy(source, from, destination, to, length);
      },
      *destination);
}

// An armed copy: nothing of it may be seen before all of it is.
void MountDriver::Clone() {
  const auto source = PickFile(), destination = PickFile();
  if (!source) return;
  const uint64_t size = model_.Find(*source)->size_bytes();
  const uint64_t from = Chance(40) ? 0 : RoundDown(PickOffset(), kBlockBytes);
  const uint64_t to = Chance(40) ? 0 : RoundDown(PickOffset(), kBlockBytes);
  if (from >= size) return;
  const uint64_t length =
      Chance(30) ? size - from : std::min(RoundUp(PickLength(), kBlockBytes), size - from);
  Fd opened_source, opened_destination;
  const int in = Use(*source, opened_source), out = Use(*destination, opened_destination);
  cofs_ioc_copy_arm arm{};
  arm.source_offset = from;
  arm.destination_offset = to;
  arm.length = length;
  arm.how = COFS_ARM_CLONE;
  const auto apply = [=, source = *source, destination = *destination](Model& m) {
    return m.Clone(source, from, destination, to, length);
  };
  const std::string what = StrCat("clone ", length, " bytes at ", from, " of ", *source,
                                  " to ", to, " of ", *destination);
  if (ioctl(out, COFS_IOC_COPY_ARM, &arm) != 0) return Did(what, -1, apply);
  auto in_offset = static_cast<off_t>(from), out_offset = static_cast<off_t>(to);
  const ssize_t count = copy_file_range(in, &in_offset, out, &out_offset, length, 0);
  if (count >= 0) {
    ++clone_count_;
    if (static_cast<uint64_t>(count) != length)
      return Fail(StrCat(what, ": ", count, " bytes"));
    return Did(what, count, apply);
  }
  // What the kernel refuses by itself leaves the arm where it is.
  const int error_number = errno;
  arm = {};
  ioctl(out, COFS_IOC_COPY_ARM, &arm);
  errno = error_number;
  Did(what, count, apply);
}

void MountDriver::Sync() {
  const auto id = PickFile();
  if (!id || !Chance(50)) {
    const Fd root = Open(options_.root, O_RDONLY | O_DIRECTORY);
    Did("fsync of the directory", fsync(root.get()), [](Model&) { return Outcome{}; });
  } else {
    Fd opened;
    const int fd = Use(*id, opened);
    Did(StrCat("fsync of ", *id), Chance(50) ? fsync(fd) : fdatasync(fd),
        [](Model&) { return Outcome{}; });
  }
  if (failed_ || gone_ || !writes_through_) return;
  durable_count_ = history_.size();
  ++sync_count_;
}

void MountDriver::HoldOrClose() {
  if (held_.size() >= kHeldMax || (Chance(40) && !held_.empty())) {
    const auto at = std::next(held_.begin(), static_cast<std::ptrdiff_t>(Random(held_.size())));
    const InodeId id = at->first;
    held_.erase(at);
    if (model_.Find(id)->link_count == 0) model_.Drop(id);
    return;
  }
  const auto id = PickFile();
  if (id && !held_.contains(*id)) held_.emplace(*id, Open(PathOf(*id), O_RDWR));
}

// ---- between mounts ----

void MountDriver::CloseAll() {
  held_.clear();
  model_.DropOrphans();
}

Model MountDriver::ReadTree() const {
  return KernelTreeReader(options_.root, options_.shared, options_.prefix).Read();
}

void MountDriver::Check() {
  if (failed_) return;
  ExpectSame(model_, ReadTree());
  if (::testing::Test::HasFailure()) Fail("the tree differs");
}

void MountDriver::Remounted() {
  Check();
  base_ = model_;
  history_.clear();
  durable_count_ = 0;
}

void MountDriver::Recovered() {
  gone_ = false;
  held_.clear();
  if (failed_) return;
  const Model found = ReadTree();
  if (unknown_) {
    const Model::Node* directory = found.Find(unknown_->directory);
    if (directory != nullptr && directory->entries.contains(unknown_->name))
      *unknown_->id = directory->entries.at(unknown_->name);
    unknown_.reset();
  }
  Model reached = base_;
  if (!FindPrefix(base_, history_, durable_count_, found, reached)) {
    Fail(StrCat("after the crash the tree is that after none of the operations ",
                durable_count_, " to ", history_.size()));
    ExpectSame(model_, found);
    return;
  }
  model_ = std::move(reached);
  model_.DropOrphans();
  Remounted();
}

}  // namespace cofs
