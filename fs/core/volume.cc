// Volume: what is asked of it goes to the part that does it.
#include "fs/core/volume.h"

#include "base/check.h"
#include "fs/core/volume_parts.h"

namespace cofs {

VolumeUsage Volume::usage() const {
  VolumeUsage usage;
  usage.space = core_.space->usage();
  usage.store = core_.store->usage();
  usage.inodes_used = parts_->census.inode_count();
  usage.inodes_cached = core_.inodes->inode_count();
  usage.inodes_looked_up = core_.inodes->lookup_count();
  usage.stalls = parts_->device->totals();
  usage.read_only = core_.committer->read_only();
  {
    MutexLock lock(parts_->failure_mutex);
    usage.read_only_reason = parts_->read_only_reason;
  }
  if (core_.copies != nullptr) {
    usage.copies = core_.copies->totals();
    usage.copy_ways = core_.copies->ways(core_.options.verify_copy);
  }
  return usage;
}

void Volume::SetLiveOptions(const VolumeOptions& options) {
  core_.options.copy = options.copy;
  core_.options.clone = options.clone;
  core_.options.verify_copy = options.verify_copy;
}

// ---- names ----

Result<InodeStat> Volume::Lookup(InodeId directory, std::string_view name) {
  return parts_->names->Lookup(directory, name);
}

Result<InodeStat> Volume::LookupParent(InodeId directory) {
  return parts_->names->LookupParent(directory);
}

Result<InodeStat> Volume::LookupById(InodeId id) { return parts_->names->LookupById(id); }

Result<InodeStat> Volume::Create(InodeId directory, std::string_view name,
                                 const NewInode& inode) {
  if ((inode.mode & 0170000) == 0120000)
    return Error(ErrorCode::kInvalidArgument, "symlink without a target");
  return parts_->names->Create(directory, name, inode);
}

Result<InodeStat> Volume::MakeSymlink(InodeId directory, std::string_view name,
                                      std::string_view target, const NewInode& inode) {
  NewInode symlink = inode;
  symlink.mode = 0120777;
  return parts_->names->Create(directory, name, symlink, target);
}

Result<InodeStat> Volume::CreateTemporary(const NewInode& inode) {
  return parts_->names->CreateTemporary(inode);
}

Result<InodeStat> Volume::Link(InodeId inode, InodeId directory, std::string_view name) {
  return parts_->names->Link(inode, directory, name);
}

Status Volume::Unlink(InodeId directory, std::string_view name) {
  return parts_->names->Unlink(directory, name);
}

Status Volume::RemoveDirectory(InodeId directory, std::string_view name) {
  return parts_->names->RemoveDirectory(directory, name);
}

Status Volume::Rename(InodeId from_directory, std::string_view from_name,
                      InodeId to_directory, std::string_view to_name,
                      const RenameOptions& options) {
  return parts_->names->Rename(from_directory, from_name, to_directory, to_name, options);
}

Result<std::string> Volume::ReadLink(InodeId inode) {
  return parts_->attributes->ReadLink(inode);
}

Status Volume::ReadDirectory(InodeId directory, uint64_t cookie,
                             const std::function<bool(const DirectoryEntry&)>& visit) {
  return parts_->names->ReadDirectory(directory, cookie, visit);
}

void Volume::Forget(InodeId inode, uint64_t count) {
  if (core_.inodes->Forget(inode, count)) parts_->reaper->Forgotten(inode);
}

// ---- attributes ----

Result<InodeStat> Volume::GetAttributes(InodeId inode) {
  return parts_->attributes->Get(inode);
}

Result<InodeStat> Volume::SetAttributes(InodeId inode, const AttributeChange& change) {
  return parts_->attributes->Set(inode, change);
}

bool Volume::NoteAccess(InodeId inode) {
  const Result<InodeRef> found = core_.inodes->Get(inode);
  return found.ok() && parts_->attributes->Accessed(*found);
}

Result<std::string> Volume::GetXattr(InodeId inode, std::string_view name) {
  return parts_->xattrs->Get(inode, name);
}

Status Volume::SetXattr(InodeId inode, std::string_view name, std::string_view value,
                        XattrMode mode, bool kill_set_group_id) {
  return parts_->xattrs->Set(inode, name, value, mode, kill_set_group_id);
}

Status Volume::RemoveXattr(InodeId inode, std::string_view name) {
  return parts_->xattrs->Remove(inode, name);
}

Result<std::vector<std::string>> Volume::ListXattrs(InodeId inode) {
  return parts_->xattrs->List(inode);
}

// ---- data ----

Result<InodeRef> Volume::UseFile(InodeId id) {
  TRY_ASSIGN(InodeRef inode, core_.inodes->Get(id));
  SharedLock lock(inode->mutex);
  if (inode->reaped) return Error(ErrorCode::kStale, StrCat("inode ", id));
  if (inode->is_directory()) return Error(ErrorCode::kIsDirectory, StrCat("inode ", id));
  if (!inode->is_regular())
    return Error(ErrorCode::kInvalidArgument,
                 StrCat("inode ", id, " is no regular file"));
  return inode;
}

Result<InodeRef> Volume::UseFileToChange(InodeId id) {
  TRY(core_.committer->CheckWritable());
  TRY_ASSIGN(InodeRef inode, UseFile(id));
  SharedLock lock(inode->mutex);
  if ((inode->record.flags & (kInodeImmutable | kInodeAppendOnly)) != 0)
    return Error(ErrorCode::kNotPermitted, StrCat("inode ", id));
  return inode;
}

Result<std::span<const char>> Volume::Read(InodeId id, FileOffset offset,
                                           uint64_t length_bytes, AlignedBuffer& buffer) {
  TRY_ASSIGN(const InodeRef inode, UseFile(id));
  auto data = parts_->data->Read(inode, offset, length_bytes, buffer);
  if (data.ok()) parts_->attributes->Accessed(inode);
  return data;
}

// Immutable and append-only files are for the one who opens them to write: pages that
// were dirty before the flag was set must still come home.
Status Volume::Write(InodeId id, FileOffset offset, std::span<const char> data,
                     WriteOptions options) {
  TRY(core_.committer->CheckWritable());
  TRY_ASSIGN(const InodeRef inode, UseFile(id));
  TRY(parts_->data->Write(inode, offset, data, options));
  return core_.committer->CommitIfSync();
}

Status Volume::Allocate(InodeId id, int mode, FileOffset offset, uint64_t length_bytes) {
  TRY_ASSIGN(const InodeRef inode, UseFileToChange(id));
  TRY(parts_->data->Allocate(inode, mode, offset, length_bytes));
  return core_.committer->CommitIfSync();
}

Status Volume::InsertIntoGrown(InodeId id, FileOffset offset, uint64_t length_bytes) {
  TRY_ASSIGN(const InodeRef inode, UseFileToChange(id));
  return parts_->data->InsertIntoGrown(inode, offset, length_bytes);
}

Result<FileOffset> Volume::Seek(InodeId id, FileOffset offset, int whence) {
  TRY_ASSIGN(const InodeRef inode, UseFile(id));
  return parts_->data->Seek(inode, offset, whence);
}

Result<std::vector<Extent>> Volume::Map(InodeId id, FileOffset begin, FileOffset end,
                                        size_t count_max) {
  TRY_ASSIGN(const InodeRef inode, UseFile(id));
  TRY_ASSIGN(const std::vector<Extent> extents,
             parts_->data->Map(inode, begin, end, count_max));
  std::vector<Extent> parts;
  for (const Extent& extent : extents) {
    if (parts.size() >= count_max) break;
    if (extent.shared() && !extent.unwritten())
      TRY(core_.shared_blocks->SplitBySharing(Clip(extent, begin, end),
                                              count_max - parts.size(), parts));
    else
      parts.push_back(extent);
  }
  return parts;
}

Result<CopyRangeRequest> Volume::RequestOf(const CopyCall& call) {
  TRY_ASSIGN(InodeRef source, UseFile(call.source));
  TRY_ASSIGN(InodeRef destination, UseFileToChange(call.destination));
  return CopyRangeRequest{.source = std::move(source),
                          .source_offset = call.source_offset,
                          .destination = std::move(destination),
                          .destination_offset = call.destination_offset,
                          .length_bytes = call.length_bytes,
                          .interrupted = call.interrupted,
                          .kill_privileges = call.kill_privileges,
                          .policy = call.policy,
                          .report = call.report};
}

Result<uint64_t> Volume::Copy(const CopyCall& call) {
  TRY_ASSIGN(const CopyRangeRequest request, RequestOf(call));
  Result<uint64_t> copied = parts_->copy_range->Copy(request);
  if (copied.ok()) parts_->attributes->Accessed(request.source);
  return copied;
}

Status Volume::Clone(const CopyCall& call) {
  TRY_ASSIGN(const CopyRangeRequest request, RequestOf(call));
  return parts_->copy_range->Clone(request);
}

Status Volume::CheckClone(const CopyCall& call) {
  TRY_ASSIGN(const CopyRangeRequest request, RequestOf(call));
  return parts_->copy_range->CheckClone(request);
}

Result<DedupeResult> Volume::Dedupe(const CopyCall& call) {
  TRY_ASSIGN(const CopyRangeRequest request, RequestOf(call));
  return parts_->copy_range->Dedupe(request);
}

Status Volume::Unshare(InodeId id, FileOffset offset, uint64_t length_bytes,
                       const std::function<bool()>& interrupted) {
  TRY_ASSIGN(const InodeRef inode, UseFileToChange(id));
  return parts_->copy_range->Unshare(inode, offset, length_bytes, interrupted);
}

Result<InodeId> Volume::Snapshot(InodeId source, FileOffset offset, uint64_t length_bytes,
                                 const std::function<bool()>& interrupted) {
  TRY(UseFile(source));
  TRY_ASSIGN(const InodeStat snapshot, CreateTemporary({.mode = 0100000}));
  const Status cloned = Clone({.source = source,
                               .source_offset = offset,
                               .destination = snapshot.id,
                               .destination_offset = offset,
                               .length_bytes = length_bytes,
                               .interrupted = interrupted});
  if (cloned.ok()) return snapshot.id;
  Forget(snapshot.id, 1);
  return cloned.error();
}

// ---- durability ----

Status Volume::Sync(InodeId /*inode*/) { return SyncAll(); }

Status Volume::SyncAll() {
  if (core_.options.read_only) return OkStatus();
  return core_.committer->Commit();
}

Status Volume::ShutDown() {
  if (!core_.options.read_only) TRY(core_.committer->Commit());
  core_.committer->Fail(Error(ErrorCode::kIo, "shut down on request"));
  return OkStatus();
}

Result<uint64_t> Volume::Trim(DeviceOffset begin, DeviceOffset end,
                              uint64_t minimum_bytes) {
  TRY(core_.committer->CheckWritable());
  return core_.space->Trim(begin, end, minimum_bytes);
}

Status Volume::StartScrub(const ScrubRequest& request) {
  return parts_->scrubber->Start(request);
}

void Volume::StopScrub() { parts_->scrubber->Stop(); }

ScrubReport Volume::scrub() const { return parts_->scrubber->report(); }

Status Volume::DrainRemoved() {
  TRY(parts_->reaper->Drain());
  return core_.committer->Commit();
}

}  // namespace cofs
