#include "tests/core/model_driver.h"

#include <gtest/gtest.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "base/check.h"
#include "base/log.h"
#include "tests/core/test_volume.h"

namespace cofs {
namespace {

std::string Short(const std::string& name) {
  return name.size() <= 20 ? Printable(name)
                           : StrCat(name.substr(0, 8), "...", name.size());
}

bool IsPlausible(uint8_t byte, size_t at, const std::string& before,
                 const std::string& after) {
  const auto of = [&](const std::string& bytes) {
    return at < bytes.size() ? static_cast<uint8_t>(bytes[at]) : uint8_t{0};
  };
  return byte == of(before) || byte == of(after);
}

// Contents that are half old and half new.
bool IsBetween(const Model::Node& found, const Model::Node& before,
               const Model::Node& after) {
  const std::string none;
  const std::string& bytes = found.data == nullptr ? none : *found.data;
  const std::string& old_bytes = before.data == nullptr ? none : *before.data;
  const std::string& new_bytes = after.data == nullptr ? none : *after.data;
  const auto [least, most] = std::minmax({old_bytes.size(), new_bytes.size()});
  if (bytes.size() < least || bytes.size() > most) return false;
  for (size_t i = 0; i < bytes.size(); ++i)
    if (!IsPlausible(static_cast<uint8_t>(bytes[i]), i, old_bytes, new_bytes))
      return false;
  return true;
}

}  // namespace

std::optional<size_t> FindPrefix(const Model& base,
                                 const std::vector<ModelDriver::Change>& history,
                                 size_t from, const Model& found, Model& reached) {
  const uint64_t fingerprint = found.Fingerprint();
  Model model = base;
  for (size_t i = 0;; ++i) {
    if (i >= from && model.Fingerprint() == fingerprint) {
      reached = model;
      return i;
    }
    if (i == history.size()) return std::nullopt;
    Model next = model;
    history[i].apply(next);
    const auto torn = history[i].torn;
    if (i + 1 >= from && torn && found.Find(*torn) != nullptr &&
        model.Find(*torn) != nullptr &&
        IsBetween(*found.Find(*torn), *model.Find(*torn), *next.Find(*torn))) {
      // The first piece of a copy takes the privileges with it.
      for (Model* side : {&model, &next}) {
        if (side->Fingerprint(torn) != found.Fingerprint(torn)) continue;
        const auto& data = found.Find(*torn)->data;
        side->SetData(*torn, data == nullptr ? "" : *data);
        reached = *side;
        return i;
      }
    }
    model = std::move(next);
  }
}

ModelDriver::ModelDriver(Volume& volume, const Options& options)
    : volume_(&volume),
      options_(options),
      random_(options.seed),
      model_(options.root, options.shared),
      base_(model_) {
  const std::pair<void (ModelDriver::*)(), unsigned> kWeights[] = {
      {&ModelDriver::Create, 10},       {&ModelDriver::CreateTemporary, 2},
      {&ModelDriver::MakeSymlink, 2},   {&ModelDriver::Link, 3},
      {&ModelDriver::Unlink, 5},        {&ModelDriver::RemoveDirectory, 3},
      {&ModelDriver::Rename, 8},        {&ModelDriver::Lookup, 4},
      {&ModelDriver::ForgetSome, 6},    {&ModelDriver::SetAttributes, 4},
      {&ModelDriver::Truncate, 4},      {&ModelDriver::Xattr, 4},
      {&ModelDriver::Write, 14},        {&ModelDriver::Read, 8},
      {&ModelDriver::Allocate, 5},      {&ModelDriver::Seek, 3},
      {&ModelDriver::Copy, 6},          {&ModelDriver::Clone, 6},
      {&ModelDriver::ReadDirectory, 2}, {&ModelDriver::LookupParent, 1},
  };
  // Every run has tastes of its own.
  for (const auto& [operation, weight] : kWeights) {
    const uint64_t count = weight * (1 + Random(3));
    operations_.insert(operations_.end(), count, operation);
  }
}

std::function<bool(std::string_view)> ModelDriver::is_own() const {
  return [prefix = options_.prefix](std::string_view name) {
    return name.starts_with(prefix);
  };
}

void ModelDriver::Step() {
  if (failed_) return;
  ++step_count_;
  (this->*operations_[Random(operations_.size())])();
  if (!failed_ && model_.nodes().size() > options_.inode_count_max) Unlink();
  DropUnused();
}

void ModelDriver::Fail(const std::string& what) {
  failed_ = true;
  ADD_FAILURE() << "driver \"" << options_.prefix << "\", seed " << options_.seed
                << ", step " << step_count_ << ": " << what;
}

void ModelDriver::Do(const std::string& what, const Outcome& got,
                     std::function<Outcome(Model&)> expected,
                     std::optional<InodeId> torn) {
  if (failed_) return;
  if (got == ErrorCode::kNoSpace) {
    ++no_space_count_;
    return;
  }
  const Outcome wanted = expected(model_);
  if (wanted != got) {
    Fail(StrCat(what, ": ", Describe(got), " instead of ", Describe(wanted)));
  } else if (!wanted) {
    history_.push_back({what, std::move(expected), torn});
  }
}

void ModelDriver::CheckStat(const std::string& what, const InodeStat& stat) {
  const Model::Node* node = model_.Find(stat.id);
  if (failed_ || node == nullptr || model_.IsRoot(stat.id)) return;
  const InodeRecord& record = stat.record;
  if (node->mode != record.mode || node->uid != record.uid || node->gid != record.gid ||
      node->link_count != record.link_count || node->size_bytes() != record.size_bytes)
    Fail(StrCat(what, ": attributes of inode ", stat.id, ": mode ", record.mode, " not ",
                node->mode, ", uid ", record.uid, " not ", node->uid, ", gid ",
                record.gid, " not ", node->gid, ", links ", record.link_count, " not ",
                node->link_count, ", size ", record.size_bytes, " not ",
                node->size_bytes()));
}

void ModelDriver::DropUnused() {
  std::vector<InodeId> unused;
  for (const auto& [id, node] : model_.nodes())
    if (node.link_count == 0 && !look_ups_.contains(id)) unused.push_back(id);
  for (InodeId id : unused) model_.Drop(id);
}

// ---- choosing ----

std::optional<InodeId> ModelDriver::Pick(const Picker& accepts) {
  std::vector<InodeId> found;
  for (const auto& [id, node] : model_.nodes())
    if (accepts(node)) found.push_back(id);
  if (found.empty()) return std::nullopt;
  return found[Random(found.size())];
}

std::optional<InodeId> ModelDriver::PickFile() {
  return Pick([](const Model::Node& node) { return node.is_file(); });
}

InodeId ModelDriver::PickDirectory() {
  if (Chance(15)) return options_.shared;
  const bool any = Chance(2);
  return *Pick([&](const Model::Node& node) { return any || node.is_directory(); });
}

std::string ModelDriver::PickName(InodeId directory) {
  std::string name(1, static_cast<char>('a' + Random(14)));
  if (Chance(2)) name = std::string(200 + Random(60), name[0]);
  if (Chance(1)) name = std::vector<std::string>{"", ".", "..", "x/y"}[Random(4)];
  return directory == options_.shared && !name.empty() && name[0] != '.'
             ? options_.prefix + name
             : name;
}

std::string ModelDriver::PickEntry(InodeId directory) {
  const Model::Node* node = model_.Find(directory);
  if (Chance(10) || node == nullptr || node->entries.empty()) return PickName(directory);
  return std::next(node->entries.begin(),
                   static_cast<std::ptrdiff_t>(Random(node->entries.size())))
      ->first;
}

uint64_t ModelDriver::PickOffset() {
  const uint64_t offset = Random(options_.file_bytes_max);
  return Chance(60) ? RoundDown(offset, kBlockBytes) : offset;
}

uint64_t ModelDriver::PickLength() {
  const uint64_t length = 1 + Random(Chance(30) ? options_.file_bytes_max / 2 : 12'000);
  return Chance(50) ? RoundUp(length, kBlockBytes) : length;
}

std::string ModelDriver::PickBytes(uint64_t length) {
  std::string bytes(length, '\0');
  if (Chance(5)) return bytes;
  const uint64_t start = random_();
  for (uint64_t i = 0; i < length; ++i)
    bytes[i] = static_cast<char>((start + i * (1 + start % 7) + i / 251) % 255 + 1);
  return bytes;
}

// ---- names ----

void ModelDriver::Create() {
  static constexpr uint32_t kTypes[] = {S_IFREG, S_IFREG, S_IFREG, S_IFREG, S_IFREG,
                                        S_IFDIR, S_IFDIR, S_IFIFO, S_IFCHR, S_IFSOCK};
  const InodeId directory = PickDirectory();
  const std::string name = PickName(directory);
  const uint32_t permissions =
      Chance(10) ? 02755 : 0600 + static_cast<uint32_t>(Random(64));
  const NewInode inode{.mode = kTypes[Random(std::size(kTypes))] | permissions,
                       .uid = static_cast<uint32_t>(Random(5)),
                       .gid = static_cast<uint32_t>(Random(5)),
                       .rdev = static_cast<uint32_t>(Random(1000))};
  const auto made = volume_->Create(directory, name, inode);
  const InodeId id = made.ok() ? made->id : InodeId{};
  if (made.ok()) Count(id);
  const std::string what = StrCat("create ", directory, "/", Short(name), " = ", id);
  Do(what, OutcomeOf(made),
     [=](Model& m) { return m.Create(directory, name, inode, "", id); });
  if (made.ok()) CheckStat(what, *made);
}

void ModelDriver::CreateTemporary() {
  const NewInode inode{.mode = S_IFREG | 0600};
  const auto made = volume_->CreateTemporary(inode);
  const InodeId id = made.ok() ? made->id : InodeId{};
  if (made.ok()) Count(id);
  Do(StrCat("create a temporary file = ", id), OutcomeOf(made),
     [=](Model& m) { return m.CreateTemporary(inode, id); });
}

void ModelDriver::MakeSymlink() {
  const InodeId directory = PickDirectory();
  const std::string name = PickName(directory);
  const std::string target(1 + Random(Chance(5) ? 4095 : 40), 't');
  const auto made = volume_->MakeSymlink(directory, name, target, {});
  const InodeId id = made.ok() ? made->id : InodeId{};
  if (made.ok()) Count(id);
  const std::string what = StrCat("symlink ", directory, "/", Short(name), " = ", id);
  Do(what, OutcomeOf(made), [=](Model& m) {
    return m.Create(directory, name, {.mode = S_IFLNK | 0777}, target, id);
  });
  if (made.ok()) CheckStat(what, *made);
}

void ModelDriver::Link() {
  const auto inode =
      Pick([&](const Model::Node& node) { return !node.is_directory() || Chance(2); });
  if (!inode) return;
  const InodeId id = *inode;
  const InodeId directory = PickDirectory();
  const std::string name = PickName(directory);
  const auto linked = volume_->Link(id, directory, name);
  if (linked.ok()) Count(id);
  const std::string what = StrCat("link ", id, " as ", directory, "/", Short(name));
  Do(what, OutcomeOf(linked), [=](Model& m) { return m.Link(id, directory, name); });
  if (linked.ok()) CheckStat(what, *linked);
}

void ModelDriver::Unlink() {
  const InodeId directory = PickDirectory();
  const std::string name = PickEntry(directory);
  Do(StrCat("unlink ", directory, "/", Short(name)),
     OutcomeOf(volume_->Unlink(directory, name)),
     [=](Model& m) { return m.Unlink(directory, name); });
}

void ModelDriver::RemoveDirectory() {
  const InodeId directory = PickDirectory();
  const std::string name = PickEntry(directory);
  Do(StrCat("rmdir ", directory, "/", Short(name)),
     OutcomeOf(volume_->RemoveDirectory(directory, name)),
     [=](Model& m) { return m.RemoveDirectory(directory, name); });
}

void ModelDriver::Rename() {
  const InodeId from = PickDirectory();
  const InodeId to = Chance(40) ? from : PickDirectory();
  const std::string from_name = PickEntry(from);
  const std::string to_name = Chance(50) ? PickEntry(to) : PickName(to);
  const auto mode = Chance(60)   ? RenameMode::kReplace
                    : Chance(30) ? RenameMode::kNoReplace
                                 : RenameMode::kExchange;
  Do(StrCat("rename ", from, "/", Short(from_name), " to ", to, "/", Short(to_name),
            ", mode ", static_cast<int>(mode)),
     OutcomeOf(volume_->Rename(from, from_name, to, to_name, mode)),
     [=](Model& m) { return m.Rename(from, from_name, to, to_name, mode); });
}

void ModelDriver::Lookup() {
  const InodeId directory = PickDirectory();
  const std::string name = PickEntry(directory);
  const auto found = volume_->Lookup(directory, name);
  const std::string what = StrCat("look-up ", directory, "/", Short(name));
  if (found.ok()) Count(found->id);
  const Outcome wanted = model_.Lookup(directory, name);
  if (wanted != OutcomeOf(found))
    return Fail(
        StrCat(what, ": ", Describe(OutcomeOf(found)), " instead of ", Describe(wanted)));
  if (!found.ok()) return;
  if (model_.Find(directory)->entries.at(name) != found->id)
    return Fail(StrCat(what, ": inode ", found->id));
  CheckStat(what, *found);
}

void ModelDriver::LookupParent() {
  const auto directory = Pick([](const Model::Node& node) {
    return node.is_directory() && node.parent.value() != 0 && node.link_count != 0;
  });
  if (!directory) return;
  const auto parent = volume_->LookupParent(*directory);
  if (!parent.ok()) return Fail("look-up of a parent: " + parent.error().ToString());
  Count(parent->id);
  if (parent->id != model_.Find(*directory)->parent)
    Fail(StrCat("parent of ", *directory, " is ", parent->id));
}

void ModelDriver::ReadDirectory() {
  const InodeId directory = PickDirectory();
  const Model::Node* node = model_.Find(directory);
  if (!node->is_directory() || node->link_count == 0) return;
  const auto own = is_own();
  std::map<std::string, InodeId> seen;
  uint64_t cookie = 0;
  const uint64_t step = 1 + Random(20);
  for (bool more = true; more && !failed_;) {
    more = false;
    uint64_t count = 0;
    const Status read =
        volume_->ReadDirectory(directory, cookie, [&](const DirectoryEntry& entry) {
          if (count++ == step) return !(more = true);
          cookie = entry.cookie;
          if (entry.name == "." || entry.name == "..") return true;
          if (directory == options_.shared && !own(entry.name)) return true;
          if (!seen.emplace(entry.name, entry.inode).second)
            Fail("an entry is seen twice");
          return true;
        });
    if (!read.ok()) return Fail("read directory: " + read.error().ToString());
  }
  if (seen != node->entries) Fail(StrCat("entries of directory ", directory));
}

void ModelDriver::ForgetSome() {
  if (look_ups_.empty()) return;
  const auto at =
      std::next(look_ups_.begin(), static_cast<std::ptrdiff_t>(Random(look_ups_.size())));
  volume_->Forget(at->first, at->second);
  look_ups_.erase(at);
}

void ModelDriver::ForgetAll() {
  for (const auto& [id, count] : look_ups_) volume_->Forget(id, count);
  look_ups_.clear();
  DropUnused();
}

// ---- attributes ----

void ModelDriver::SetAttributes() {
  const auto id = Pick([](const Model::Node&) { return true; });
  if (model_.IsRoot(*id)) return;
  AttributeChange change;
  if (Chance(50)) change.mode = static_cast<uint32_t>(Random(01000));
  if (Chance(50)) change.uid = static_cast<uint32_t>(Random(100));
  if (Chance(50)) change.gid = static_cast<uint32_t>(Random(100));
  if (Chance(50)) change.mtime = Timestamp{static_cast<int64_t>(Random(1 << 30)), 5};
  const auto changed = volume_->SetAttributes(*id, change);
  const std::string what = StrCat("attributes of ", *id);
  Do(what, OutcomeOf(changed), [=](Model& m) { return m.SetAttributes(*id, change); });
  if (changed.ok()) CheckStat(what, *changed);
}

void ModelDriver::Truncate() {
  const auto id =
      Pick([&](const Model::Node& node) { return node.is_file() || Chance(1); });
  if (!id || model_.IsRoot(*id)) return;
  AttributeChange change;
  change.size_bytes = Chance(20) ? 0 : PickOffset();
  if (Chance(20)) change.mode = 0640;
  const auto changed = volume_->SetAttributes(*id, change);
  const std::string what = StrCat("truncate ", *id, " to ", *change.size_bytes);
  Do(
      what, OutcomeOf(changed), [=](Model& m) { return m.SetAttributes(*id, change); },
      *id);
  if (changed.ok()) CheckStat(what, *changed);
}

void ModelDriver::Xattr() {
  const auto id = Pick([](const Model::Node&) { return true; });
  if (model_.IsRoot(*id)) return;
  const std::string name = Numbered("user.", static_cast<int64_t>(Random(4)));
  if (Chance(30)) {
    Do(StrCat("remove ", name, " of ", *id), OutcomeOf(volume_->RemoveXattr(*id, name)),
       [=](Model& m) { return m.RemoveXattr(*id, name); });
  } else if (Chance(20)) {
    const auto got = volume_->GetXattr(*id, name);
    const auto& xattrs = model_.Find(*id)->xattrs;
    const auto wanted = xattrs.find(name);
    if (got.ok() != (wanted != xattrs.end()) || (got.ok() && *got != wanted->second))
      Fail(StrCat("value of ", name, " of ", *id));
  } else {
    const std::string value(Random(Chance(5) ? 65536 : 100), 'v');
    const auto mode = static_cast<XattrMode>(Random(3));
    Do(StrCat("set ", name, " of ", *id, ", mode ", static_cast<int>(mode)),
       OutcomeOf(volume_->SetXattr(*id, name, value, mode)),
       [=](Model& m) { return m.SetXattr(*id, name, value, mode); });
  }
}

// ---- data ----

void ModelDriver::Write() {
  const auto id =
      Pick([&](const Model::Node& node) { return node.is_file() || Chance(1); });
  if (!id) return;
  const uint64_t offset = PickOffset();
  const std::string bytes = PickBytes(PickLength());
  WriteOptions options;
  options.sync = Chance(2);
  const Outcome got = OutcomeOf(volume_->Write(*id, FileOffset{offset}, bytes, options));
  Do(StrCat("write ", bytes.size(), " bytes at ", offset, " of ", *id), got,
     [=](Model& m) { return m.Write(*id, offset, bytes); });
  if (options.sync && !got && !failed_ && options_.on_durable) options_.on_durable();
}

void ModelDriver::Read() {
  const auto id = PickFile();
  if (!id) return;
  const uint64_t offset = PickOffset();
  const uint64_t length = PickLength();
  AlignedBuffer buffer;
  const auto got = volume_->Read(*id, FileOffset{offset}, length, buffer);
  const std::string what = StrCat("read ", length, " bytes at ", offset, " of ", *id);
  if (!got.ok()) return Fail(what + ": " + got.error().ToString());
  const Model::Node& node = *model_.Find(*id);
  const uint64_t size = node.size_bytes();
  const std::string wanted = offset >= size ? "" : node.data->substr(offset, length);
  if (std::string_view(got->data(), got->size()) != wanted)
    Fail(StrCat(what, ": wrong bytes, or ", got->size(), " instead of ", wanted.size()));
}

void ModelDriver::Allocate() {
  static constexpr int kModes[] = {
      0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
      FALLOC_FL_ZERO_RANGE, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
      FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE};
  const auto id = PickFile();
  if (!id) return;
  int mode = kModes[Random(std::size(kModes))];
  if (mode == FALLOC_FL_INSERT_RANGE &&
      model_.Find(*id)->size_bytes() > 2 * options_.file_bytes_max)
    mode = FALLOC_FL_COLLAPSE_RANGE;
  uint64_t offset = PickOffset();
  uint64_t length = PickLength();
  if ((mode == FALLOC_FL_COLLAPSE_RANGE || mode == FALLOC_FL_INSERT_RANGE) && Chance(90)) {
    const uint64_t size = model_.Find(*id)->size_bytes();
    offset = RoundDown(offset % (size + 1), kBlockBytes);
    length = RoundUp(length, kBlockBytes);
  }
  Do(
      StrCat("allocate ", length, " bytes at ", offset, " of ", *id, ", mode ", mode),
      OutcomeOf(volume_->Allocate(*id, mode, FileOffset{offset}, length)),
      [=](Model& m) { return m.Allocate(*id, mode, offset, length); }, *id);
}

// What is skipped as a hole must be zeros; that holes are found is for other tests.
void ModelDriver::Seek() {
  const auto id = PickFile();
  if (!id) return;
  const Model::Node& node = *model_.Find(*id);
  const uint64_t size = node.size_bytes();
  const uint64_t offset = PickOffset();
  const int whence = Chance(50) ? SEEK_DATA : SEEK_HOLE;
  const auto got = volume_->Seek(*id, FileOffset{offset}, whence);
  const std::string what = StrCat("seek from ", offset, " of ", *id, ", whence ", whence);
  if (offset >= size) {
    if (!got.Is(ErrorCode::kSeekPastEnd)) Fail(what + ": not past the end");
    return;
  }
  const auto is_zero = [&](uint64_t from, uint64_t to) {
    return node.data->find_first_not_of('\0', from) >= to;
  };
  if (whence == SEEK_DATA && got.Is(ErrorCode::kSeekPastEnd)) {
    if (!is_zero(offset, size)) Fail(what + ": there is data");
    return;
  }
  if (!got.ok()) return Fail(what + ": " + got.error().ToString());
  const uint64_t found = got->value();
  if (found < offset || found > size || (whence == SEEK_DATA && found == size))
    return Fail(StrCat(what, ": ", found));
  if (whence == SEEK_DATA
          ? !is_zero(offset, found)
          : !is_zero(found, std::min(size, RoundDown(found, kBlockBytes) + kBlockBytes)))
    Fail(StrCat(what, ": ", found, " skips data"));
}

void ModelDriver::Copy() {
  const auto source = PickFile();
  const auto destination = PickFile();
  if (!source) return;
  const uint64_t from = PickOffset();
  const uint64_t to = Chance(50)
                          ? RoundDown(PickOffset(), kBlockBytes) + from % kBlockBytes
                          : PickOffset();
  uint64_t length = PickLength();
  const auto copied =
      volume_->Copy({.source = *source,
                     .source_offset = FileOffset{from},
                     .destination = *destination,
                     .destination_offset = FileOffset{to},
                     .length_bytes = length});
  const std::string what = StrCat("copy ", length, " bytes at ", from, " of ", *source,
                                  " to ", to, " of ", *destination);
  if (copied.ok()) {
    const uint64_t size = model_.Find(*source)->size_bytes();
    const uint64_t wanted = from >= size ? 0 : std::min(length, size - from);
    const bool may_be_short = options_.may_be_full && *copied > 0 && *copied < wanted;
    if (*copied != wanted && !may_be_short)
      return Fail(StrCat(what, ": ", *copied, " not ", wanted));
    length = *copied;
  }
  Do(
      what, OutcomeOf(copied),
      [=](Model& m) { return m.Copy(*source, from, *destination, to, length); },
      *destination);
}

void ModelDriver::Clone() {
  const auto source = PickFile();
  const auto destination = PickFile();
  if (!source) return;
  const uint64_t unit = Chance(95) ? kBlockBytes : 1;
  const uint64_t from = RoundDown(Chance(40) ? 0 : PickOffset(), unit);
  const uint64_t to = RoundDown(Chance(40) ? 0 : PickOffset(), unit);
  const uint64_t length = Chance(30) ? 0 : RoundUp(PickLength(), unit);
  // Files here have far fewer extents than a clone may have to be atomic.
  Do(StrCat("clone ", length, " bytes at ", from, " of ", *source, " to ", to, " of ",
            *destination),
     OutcomeOf(volume_->Clone({.source = *source,
                               .source_offset = FileOffset{from},
                               .destination = *destination,
                               .destination_offset = FileOffset{to},
                               .length_bytes = length})),
     [=](Model& m) { return m.Clone(*source, from, *destination, to, length); });
}

// ---- remounts ----

void ModelDriver::Synced() {
  base_ = model_;
  history_.clear();
}

void ModelDriver::Remounted(Volume& volume) {
  volume_ = &volume;
  look_ups_.clear();
  model_.DropOrphans();
  Synced();
  Check();
}

void ModelDriver::Check() {
  if (failed_) return;
  ExpectSame(model_, ReadTree(*volume_, options_.root, options_.shared, is_own()));
  failed_ = failed_ || ::testing::Test::HasFailure();
}

void ModelDriver::Recovered(Volume& volume) {
  volume_ = &volume;
  look_ups_.clear();
  if (failed_) return;
  const Model found = ReadTree(*volume_, options_.root, options_.shared, is_own());
  Model reached = base_;
  if (!FindPrefix(base_, history_, 0, found, reached)) {
    Fail(StrCat("after a crash: no prefix of the last ", history_.size(), " operations"));
    ExpectSame(model_, found);
    return;
  }
  model_ = std::move(reached);
  model_.DropOrphans();
  Synced();
  Check();
}

}  // namespace cofs
