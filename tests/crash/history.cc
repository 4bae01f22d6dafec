#include "tests/crash/history.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>

#include "base/check.h"
#include "tests/core/test_volume.h"

namespace cofs {
namespace {

// What an operation may answer when the device below it fails.
bool IsDeviceError(const Outcome& got) {
  // A copy that only the device may do, after it has failed at one.
  return got == ErrorCode::kIo || got == ErrorCode::kReadOnly ||
         got == ErrorCode::kNotSupported;
}

}  // namespace

std::string CrashBytes(uint64_t seed, uint64_t length) {
  std::string bytes(length, '\0');
  uint64_t state = seed * 0x9e3779b97f4a7c15 + 1;
  for (uint64_t i = 0; i < length; ++i) {
    if (i % 7 == 0) state = state * 6364136223846793005 + 1442695040888963407;
    bytes[i] = static_cast<char>((state >> (8 + i % 7 * 8)) % 255 + 1);
  }
  return bytes;
}

History::History(Volume& volume, const Options& options)
    : volume_(&volume),
      options_(options),
      base_(kRootInode, kRootInode),
      model_(base_) {}

void History::Did(std::string what, const Outcome& got,
                  std::function<Outcome(Model&)> apply, std::optional<InodeId> torn) {
  if (options_.device_fails && IsDeviceError(got)) {
    ++failed_count_;
    const bool is_read_only = volume_->usage().read_only;
    // The one that met the failure; those after it were refused.
    if (is_read_only && !was_read_only_)
      last_gasp_ = Change{std::move(what), std::move(apply), torn};
    was_read_only_ = is_read_only;
    return;
  }
  if (options_.device_fails) was_read_only_ = volume_->usage().read_only;
  const Outcome wanted = apply(model_);
  EXPECT_EQ(Describe(wanted), Describe(got)) << what;
  if (!wanted && !got) changes_.push_back({std::move(what), std::move(apply), torn});
}

InodeId History::Made(const Result<InodeStat>& made) {
  return made.ok() ? made->id : InodeId{};
}

void History::Durable() {
  durable_count_ = changes_.size();
  if (options_.recorder != nullptr) options_.recorder->Mark(changes_.size());
}

InodeId History::Create(InodeId directory, const std::string& name,
                        const NewInode& inode) {
  const auto made = volume_->Create(directory, name, inode);
  const InodeId id = Made(made);
  Did("create " + name, OutcomeOf(made),
      [=](Model& m) { return m.Create(directory, name, inode, "", id); });
  return id;
}

InodeId History::MakeSymlink(InodeId directory, const std::string& name,
                             const std::string& target) {
  const auto made = volume_->MakeSymlink(directory, name, target, {});
  const InodeId id = Made(made);
  Did("symlink " + name, OutcomeOf(made), [=](Model& m) {
    return m.Create(directory, name, {.mode = S_IFLNK | 0777}, target, id);
  });
  return id;
}

void History::CreateUnnamed(InodeId directory, const std::string& name) {
  const NewInode inode{.mode = S_IFREG | 0600};
  const auto made = volume_->CreateTemporary(inode);
  const InodeId id = Made(made);
  Did("create a file without a name", OutcomeOf(made),
      [=](Model& m) { return m.CreateTemporary(inode, id); });
  if (!made.ok()) return;
  Write(id, 0, 5000);
  Link(id, directory, name);
  volume_->Forget(id, 1);
  if (model_.Find(id)->link_count == 0) model_.Drop(id);
}

void History::Link(InodeId inode, InodeId directory, const std::string& name) {
  const auto linked = volume_->Link(inode, directory, name);
  Did("link " + name, OutcomeOf(linked),
      [=](Model& m) { return m.Link(inode, directory, name); });
  if (linked.ok()) volume_->Forget(inode, 1);
}

void History::Unlink(InodeId directory, const std::string& name) {
  Did("unlink " + name, OutcomeOf(volume_->Unlink(directory, name)),
      [=](Model& m) { return m.Unlink(directory, name); });
}

void History::RemoveDirectory(InodeId directory, const std::string& name) {
  Did("rmdir " + name, OutcomeOf(volume_->RemoveDirectory(directory, name)),
      [=](Model& m) { return m.RemoveDirectory(directory, name); });
}

void History::Rename(InodeId from, const std::string& from_name, InodeId to,
                     const std::string& to_name, RenameMode mode) {
  Did(StrCat("rename ", from_name, " to ", to_name, ", mode ", static_cast<int>(mode)),
      OutcomeOf(volume_->Rename(from, from_name, to, to_name, mode)),
      [=](Model& m) { return m.Rename(from, from_name, to, to_name, mode); });
}

void History::SetAttributes(InodeId inode, const AttributeChange& change) {
  Did(StrCat("attributes of ", inode), OutcomeOf(volume_->SetAttributes(inode, change)),
      [=](Model& m) { return m.SetAttributes(inode, change); });
}

void History::Truncate(InodeId inode, uint64_t size_bytes) {
  AttributeChange change;
  change.size_bytes = size_bytes;
  Did(StrCat("truncate ", inode, " to ", size_bytes),
      OutcomeOf(volume_->SetAttributes(inode, change)),
      [=](Model& m) { return m.SetAttributes(inode, change); }, inode);
}

void History::SetXattr(InodeId inode, const std::string& name, const std::string& value) {
  Did(StrCat("set ", name, " of ", inode),
      OutcomeOf(volume_->SetXattr(inode, name, value, XattrMode::kSet)),
      [=](Model& m) { return m.SetXattr(inode, name, value, XattrMode::kSet); });
}

void History::RemoveXattr(InodeId inode, const std::string& name) {
  Did(StrCat("remove ", name, " of ", inode), OutcomeOf(volume_->RemoveXattr(inode, name)),
      [=](Model& m) { return m.RemoveXattr(inode, name); });
}

void History::Write(InodeId inode, uint64_t offset, uint64_t length, bool sync) {
  const std::string bytes = CrashBytes(next_bytes_++, length);
  WriteOptions options;
  options.sync = sync;
  const Status written = volume_->Write(inode, FileOffset{offset}, bytes, options);
  Did(StrCat("write ", length, " bytes at ", offset, " of ", inode, sync ? ", synced" : ""),
      OutcomeOf(written), [=](Model& m) { return m.Write(inode, offset, bytes); });
  if (written.ok() && sync) Durable();
}

void History::Append(InodeId inode, uint64_t length) {
  const Model::Node* node = model_.Find(inode);
  if (node != nullptr) Write(inode, node->size_bytes(), length);
}

void History::Allocate(InodeId inode, int mode, uint64_t offset, uint64_t length) {
  Did(StrCat("allocate ", length, " bytes at ", offset, " of ", inode, ", mode ", mode),
      OutcomeOf(volume_->Allocate(inode, mode, FileOffset{offset}, length)),
      [=](Model& m) { return m.Allocate(inode, mode, offset, length); }, inode);
}

void History::Copy(InodeId source, uint64_t from, InodeId destination, uint64_t to,
                   uint64_t length) {
  const std::string what = StrCat("copy ", length, " bytes at ", from, " of ", source,
                                  " to ", to, " of ", destination);
  const auto copied = volume_->Copy({.source = source,
                                     .source_offset = FileOffset{from},
                                     .destination = destination,
                                     .destination_offset = FileOffset{to},
                                     .length_bytes = length});
  if (copied.ok()) {
    const Model::Node* node = model_.Find(source);
    const uint64_t size = node == nullptr ? 0 : node->size_bytes();
    const uint64_t wanted = from >= size ? 0 : std::min(length, size - from);
    EXPECT_TRUE(*copied == wanted || (options_.device_fails && *copied < wanted))
        << what << ": " << *copied << " not " << wanted;
    length = *copied;
  }
  Did(what, OutcomeOf(copied),
      [=](Model& m) { return m.Copy(source, from, destination, to, length); },
      destination);
}

void History::Clone(InodeId source, uint64_t from, InodeId destination, uint64_t to,
                    uint64_t length) {
  Did(StrCat("clone ", length, " bytes at ", from, " of ", source, " to ", to, " of ",
             destination),
      OutcomeOf(volume_->Clone({.source = source,
                                .source_offset = FileOffset{from},
                                .destination = destination,
                                .destination_offset = FileOffset{to},
                                .length_bytes = length})),
      [=](Model& m) { return m.Clone(source, from, destination, to, length); });
}

void History::Sync(InodeId inode) {
  const Status synced = volume_->Sync(inode);
  Did(StrCat("sync ", inode), OutcomeOf(synced), [](Model&) { return Outcome{}; });
  if (synced.ok()) Durable();
}

void History::SyncAll() {
  const Status synced = volume_->SyncAll();
  Did("sync", OutcomeOf(synced), [](Model&) { return Outcome{}; });
  if (synced.ok()) Durable();
}

}  // namespace cofs
