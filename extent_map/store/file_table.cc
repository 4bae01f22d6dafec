#include "extent_map/store/file_table.h"

#include <algorithm>
#include <utility>

#include "base/aligned_buffer.h"
#include "base/uuid.h"
#include "extent_map/superblock.h"

namespace cofs::store {
namespace {

constexpr uint64_t kIdLease = 4096;

uint64_t ExtentBytes(const std::vector<DeviceRange>& extents) {
  uint64_t bytes = 0;
  for (const DeviceRange& extent : extents) bytes += extent.length_bytes;
  return bytes;
}

Error NoSuchFile(const std::string& name) {
  return Error(ErrorCode::kNotFound, "file of the store " + name);
}

}  // namespace

VolumeFile::VolumeFile(FileTable& table, uint64_t file_id, FileKind file_kind,
                       std::string name)
    : id(file_id),
      kind(file_kind),
      is_wal(name.ends_with(".log")),
      is_table(name.ends_with(".sst")),
      table_(table),
      name_(std::move(name)) {}

VolumeFile::~VolumeFile() { table_.Retire(*this); }

FileTable::FileTable(BlockDevice& device, bool read_only, FailureLatch& latch,
                     Journal::Publish publish)
    : device_(device),
      read_only_(read_only),
      latch_(latch),
      publish_(std::move(publish)),
      commit_([this] { return latch_.Watch(CommitOnce()); }),
      journal_(device),
      pool_(kBlockBytes) {}

FileTable::~FileTable() {
  std::map<std::string, FileRef> files;
  MutexLock lock(mutex_);
  files.swap(files_);
  lock.Unlock();
}

Result<std::unique_ptr<FileTable>> FileTable::Load(BlockDevice& device, Origin origin,
                                                   bool read_only, FailureLatch& latch,
                                                   Journal::Publish publish) {
  std::unique_ptr<FileTable> table(
      new FileTable(device, read_only, latch, std::move(publish)));
  // What is read here may so far be in the device's cache only; what is written later
  // may refer to it.
  if (!read_only) TRY(device.Flush());
  TRY(table->Adopt(origin));
  TRY(table->FindEnds());
  if (!read_only) TRY(table->LeaseIds());
  return table;
}

Result<std::unique_ptr<FileTable>> FileTable::Format(BlockDevice& device,
                                                     DeviceRange pool,
                                                     uint64_t chunk_bytes,
                                                     FailureLatch& latch,
                                                     Journal::Publish publish) {
  std::unique_ptr<FileTable> table(
      new FileTable(device, /*read_only=*/false, latch, std::move(publish)));
  JournalState state;
  state.chunk_bytes = chunk_bytes;
  // Random starts: what an earlier volume has left on this device can't be taken for
  // this one's. Small enough to be counted on for ever, and short as a varint.
  state.file_id_limit = (RandomU64() >> 16) + 1;
  state.pool.push_back(pool);
  const std::string snapshot = EncodeSnapshot(state);
  const uint64_t wanted = Journal::SegmentBytesWanted(snapshot.size());
  const uint64_t length = RoundUp(wanted, chunk_bytes);
  if (length > pool.length_bytes)
    return Error(ErrorCode::kNoSpace, "the pool is smaller than its journal");
  const uint64_t last_chunk = RoundDown(pool.length_bytes, chunk_bytes);
  const DeviceRange segment{pool.offset + (last_chunk - length), length};
  const uint64_t generation = (RandomU64() >> 1) + 1;
  TRY(Journal(device).StartSegment(segment, generation, snapshot, table->publish_));
  TRY(table->Adopt({segment, generation}));
  TRY(table->LeaseIds());
  return table;
}

Status FileTable::Adopt(Origin origin) {
  MutexLock journal_lock(journal_mutex_);
  TRY_ASSIGN(JournalState state, journal_.Load(origin.segment, origin.generation));
  MutexLock lock(mutex_);
  wants_new_segment_ = journal_.wants_new_segment();
  pool_ = ChunkPool(state.chunk_bytes);
  for (const DeviceRange& range : state.pool) {
    if (range.offset < kReservedEnd ||
        !CheckRange(device_.geometry(), range.offset, range.length_bytes).ok())
      return Error(ErrorCode::kCorrupt,
                   StrCat("pool range at ", range.offset, " is outside the volume"));
    TRY(pool_.AddRange(range));
  }
  segment_ = journal_.segment();
  TRY(pool_.Take(segment_));
  for (const auto& [id, record] : state.files) {
    for (const DeviceRange& extent : record.layout.extents) TRY(pool_.Take(extent));
    auto file = std::make_shared<VolumeFile>(*this, id, record.kind, record.name);
    file->layout_ = record.layout;
    file->journaled_sections_ = record.layout.sections.size();
    Account(*file, ExtentBytes(record.layout.extents), 0);
    files_.emplace(record.name, std::move(file));
  }
  // mkfs starts below 2^48: only forged ones come near the end of the numbers.
  if (state.file_id_limit > INT64_MAX)
    return Error(ErrorCode::kCorrupt, "the file ids of the journal have run out");
  next_id_ = durable_id_limit_ = state.file_id_limit;
  state_ = std::move(state);
  if (!read_only_) KeepSpareSegment(EncodeSnapshot(state_).size());
  PublishPool();
  return OkStatus();
}

Status FileTable::FindEnds() {
  MutexLock lock(mutex_);
  for (const auto& [name, file] : files_) {
    if (file->kind != FileKind::kGroups) continue;
    FileLayout& layout = file->layout_;
    uint64_t last_group = 0;
    const Status status =
        ScanGroups(device_, file->id, layout.block_count, layout, last_group);
    if (!status.ok()) return status.error().Within(name);
    // A block that is seen now stays proven, whatever happens to it from now on.
    if (layout.block_count > state_.files.at(file->id).layout.block_count)
      grown_groups_.insert(file->id);
  }
  return OkStatus();
}

Status FileTable::LeaseIds() {
  uint64_t limit;
  {
    MutexLock lock(mutex_);
    limit = next_id_ + kIdLease;
    if (limit > state_.file_id_limit) {
      std::string change;
      EncodeFileIdLimit(change, limit);
      Stage(change);
    }
  }
  TRY(Commit());
  MutexLock lock(mutex_);
  durable_id_limit_ = std::max(durable_id_limit_, limit);
  return OkStatus();
}

Status FileTable::CheckWritable() const {
  if (read_only_) return Error(ErrorCode::kReadOnly, "the store is open read-only");
  return latch_.Check();
}

void FileTable::Stage(const std::string& change) {
  const Status applied = ApplyChanges(state_, change);
  CHECK(applied.ok(), applied.error().ToString());
  staged_ += change;
  ++staged_ticket_;
}

FileRef FileTable::EraseName(const std::string& name) {
  const auto found = files_.find(name);
  if (found == files_.end()) return nullptr;
  FileRef file = std::move(found->second);
  files_.erase(found);
  grown_groups_.erase(file->id);
  file->is_deleted_ = true;
  file->delete_ticket_ = staged_ticket_ + 1;  // of the change that the caller stages
  Account(*file, 0, ExtentBytes(file->layout_.extents));
  return file;
}

Result<FileRef> FileTable::Create(const std::string& name, FileKind kind) {
  TRY(CheckWritable());
  FileRef old;  // let go of after the lock
  for (;;) {
    MutexLock lock(mutex_);
    if (next_id_ == durable_id_limit_) {
      lock.Unlock();
      TRY(LeaseIds());
      continue;
    }
    old = EraseName(name);
    const uint64_t id = next_id_++;
    std::string change;
    EncodeCreate(change, id, kind, name);
    Stage(change);
    auto file = std::make_shared<VolumeFile>(*this, id, kind, name);
    files_.emplace(name, file);
    return file;
  }
}

FileRef FileTable::Find(const std::string& name) const {
  MutexLock lock(mutex_);
  const auto found = files_.find(name);
  return found == files_.end() ? nullptr : found->second;
}

Status FileTable::Rename(const std::string& from, const std::string& to) {
  TRY(CheckWritable());
  FileRef old;
  MutexLock lock(mutex_);
  const auto found = files_.find(from);
  if (found == files_.end()) return NoSuchFile(from);
  if (from == to) return OkStatus();
  FileRef file = found->second;
  old = EraseName(to);
  files_.erase(from);
  std::string change;
  EncodeRename(change, file->id, to);
  Stage(change);
  file->name_ = to;
  files_.emplace(to, std::move(file));
  lock.Unlock();
  return OkStatus();
}

Result<FileRef> FileTable::Delete(const std::string& name) {
  TRY(CheckWritable());
  MutexLock lock(mutex_);
  FileRef file = EraseName(name);
  if (file == nullptr) return NoSuchFile(name);
  std::string change;
  EncodeDelete(change, file->id);
  Stage(change);
  wal_shrunk_.NotifyAll();
  return file;
}

std::vector<std::string> FileTable::Names() const {
  MutexLock lock(mutex_);
  std::vector<std::string> names;
  for (const auto& [name, file] : files_) names.push_back(name);
  return names;
}

FileLayout FileTable::LayoutOf(const VolumeFile& file) const {
  MutexLock lock(mutex_);
  return file.layout_;
}

bool FileTable::IsDeleted(const VolumeFile& file) const {
  MutexLock lock(mutex_);
  return file.is_deleted_;
}

void FileTable::Extend(VolumeFile& file, const std::vector<DeviceRange>& ranges) {
  for (const DeviceRange& range : ranges) {
    AppendExtent(file.layout_.extents, range);
    if (file.is_deleted_) continue;
    Account(file, range.length_bytes, 0);
    std::string change;
    EncodeExtend(change, file.id, range);
    Stage(change);
  }
  PublishPool();
}

Result<FileTable::Capacity> FileTable::EnsureCapacity(VolumeFile& file,
                                                      uint64_t block_count,
                                                      uint64_t spare_bytes) {
  TRY(CheckWritable());
  CHECK(block_count <= UINT32_MAX, "file of the store with ", block_count, " blocks");
  bool has_committed = false;
  for (;;) {
    MutexLock lock(mutex_);
    FileLayout& layout = file.layout_;
    const uint64_t capacity = layout.capacity_blocks();
    if (capacity >= block_count) return Capacity{layout.extents, false};
    const uint64_t needed = (block_count - capacity) * kBlockBytes;
    const bool is_plenty = pool_.free_bytes() / 8 > needed + spare_bytes;
    std::optional<DeviceOffset> goal;
    if (!layout.extents.empty()) goal = layout.extents.back().end();
    auto ranges = pool_.Allocate(needed + (is_plenty ? spare_bytes : 0), goal);
    if (ranges.ok()) {
      Extend(file, ranges.value());
      return Capacity{layout.extents, true};
    }
    lock.Unlock();
    if (has_committed)
      return latch_.Watch(Error(ErrorCode::kNoSpace, "the pool of the store has run out"))
          .error();
    TRY(Commit());  // deleted files give their chunks back
    has_committed = true;
  }
}

void FileTable::AppendGroup(VolumeFile& file, uint64_t bytes) {
  MutexLock lock(mutex_);
  file.layout_.Append(bytes);
  if (!file.is_deleted_) grown_groups_.insert(file.id);
}

void FileTable::SetLength(VolumeFile& file, const FileLayout& layout, bool is_durable) {
  MutexLock lock(mutex_);
  file.layout_.block_count = layout.block_count;
  file.layout_.size_bytes = layout.size_bytes;
  file.layout_.sections = layout.sections;
  if (!is_durable || file.is_deleted_) return;
  std::string change;
  EncodeSynced(change, file.id, file.layout_, file.journaled_sections_);
  Stage(change);
  file.journaled_sections_ = file.layout_.sections.size();
}

void FileTable::TrimSpare(VolumeFile& file) {
  MutexLock lock(mutex_);
  if (file.is_deleted_ || latch_.failed()) return;
  uint64_t spare = file.layout_.capacity_blocks() - file.layout_.block_count;
  spare = RoundDown(spare * kBlockBytes, pool_.chunk_bytes());
  std::vector<DeviceRange> freed;
  while (spare > 0) {
    DeviceRange& last = file.layout_.extents.back();
    const uint64_t part = std::min(spare, last.length_bytes);
    const DeviceRange range{last.end() - part, part};
    last.length_bytes -= part;
    if (last.length_bytes == 0) file.layout_.extents.pop_back();
    std::string change;
    EncodeTrim(change, file.id, range);
    Stage(change);
    Account(file, 0, part);
    freed.push_back(range);
    spare -= part;
  }
  if (!freed.empty()) freed_.push_back({staged_ticket_, std::move(freed)});
  PublishPool();
}

void FileTable::StageLengths() {
  for (const uint64_t id : std::exchange(grown_groups_, {})) {
    const auto found = state_.files.find(id);
    if (found == state_.files.end()) continue;
    const auto file = files_.find(found->second.name);
    CHECK(file != files_.end() && file->second->id == id, "file ", id);
    FileLayout bound;
    bound.block_count = file->second->layout_.block_count;
    if (bound.block_count == found->second.layout.block_count) continue;
    std::string change;
    EncodeSynced(change, id, bound, 0);
    Stage(change);
  }
}

Status FileTable::Commit() {
  TRY(CheckWritable());
  return commit_.Run();
}

bool FileTable::HasStagedChanges() const {
  MutexLock lock(mutex_);
  return !staged_.empty() || !grown_groups_.empty();
}

// A segment is one run, and files leave none when the pool gets full and has been written
// to for long: the run for the next segment is kept from them.
void FileTable::KeepSpareSegment(size_t snapshot_bytes) {
  const uint64_t wanted = Journal::SegmentBytesWanted(snapshot_bytes);
  if (spare_segment_ && spare_segment_->length_bytes >= wanted) return;
  const uint64_t least = spare_segment_ ? spare_segment_->length_bytes + 1
                                        : Journal::SegmentBytesMin(snapshot_bytes);
  const auto run = pool_.AllocateRun(wanted, least);
  if (!run.ok()) return;
  if (spare_segment_) pool_.Release(*spare_segment_);
  spare_segment_ = run.value();
}

Result<DeviceRange> FileTable::NewSegment(size_t snapshot_bytes) {
  KeepSpareSegment(snapshot_bytes);
  const uint64_t least = Journal::SegmentBytesMin(snapshot_bytes);
  if (!spare_segment_ || spare_segment_->length_bytes < least)
    return Error(ErrorCode::kNoSpace, StrCat("one run of ", least, " bytes in the pool"));
  return *std::exchange(spare_segment_, std::nullopt);
}

Status FileTable::CommitOnce() {
  TRY(latch_.Check());
  MutexLock journal_lock(journal_mutex_);
  MutexLock lock(mutex_);
  StageLengths();
  const std::string changes = std::exchange(staged_, {});
  const uint64_t ticket = staged_ticket_;
  const bool fits = journal_.Fits(changes.size());
  if (changes.empty() && !wants_new_segment_) return OkStatus();
  const DeviceRange old_segment = segment_;
  if (wants_new_segment_ || !fits) {
    const std::string snapshot = EncodeSnapshot(state_);
    const auto segment = NewSegment(snapshot.size());
    if (!segment.ok() && !fits) return segment.error();
    if (segment.ok()) segment_ = segment.value();
    wants_new_segment_ = !segment.ok();
    PublishPool();
    if (segment.ok()) {
      lock.Unlock();
      TRY(journal_.StartSegment(segment.value(), journal_.generation() + 1, snapshot,
                                publish_));
      lock.Lock();
      pool_.Release(old_segment);
      KeepSpareSegment(snapshot.size());
    }
  }
  if (segment_ == old_segment && !changes.empty()) {
    lock.Unlock();
    TRY(journal_.Append(changes));
    lock.Lock();
  }
  durable_ticket_ = ticket;
  Reclaim();
  PublishPool();
  return OkStatus();
}

void FileTable::Reclaim() {
  const auto still_needed = std::partition(freed_.begin(), freed_.end(),
                                           [&](const Freed& freed) REQUIRES(mutex_) {
                                             return freed.ticket > durable_ticket_;
                                           });
  for (auto freed = still_needed; freed != freed_.end(); ++freed)
    for (const DeviceRange& extent : freed->extents) pool_.Release(extent);
  freed_.erase(still_needed, freed_.end());
}

void FileTable::Retire(VolumeFile& file) {
  MutexLock lock(mutex_);
  if (!file.is_deleted_ || file.layout_.extents.empty()) return;
  freed_.push_back({file.delete_ticket_, std::move(file.layout_.extents)});
  Reclaim();
  PublishPool();
}

void FileTable::Account(const VolumeFile& file, uint64_t more_bytes,
                        uint64_t less_bytes) {
  if (file.is_wal) wal_bytes_ += more_bytes - less_bytes;
  if (file.is_table) table_bytes_ += more_bytes - less_bytes;
}

uint64_t FileTable::FreeBytes() const {
  return pool_.free_bytes() + (spare_segment_ ? spare_segment_->length_bytes : 0);
}

void FileTable::PublishPool() {
  free_bytes_.store(FreeBytes(), std::memory_order_relaxed);
  pool_bytes_.store(pool_.total_bytes(), std::memory_order_relaxed);
}

Status FileTable::AddPoolRange(DeviceRange range) {
  TRY(CheckWritable());
  {
    MutexLock lock(mutex_);
    ChunkPool trial = pool_;
    TRY(trial.AddRange(range));
    std::string change;
    EncodePoolRange(change, range);
    Stage(change);
  }
  TRY(Commit());
  MutexLock lock(mutex_);
  const Status added = pool_.AddRange(range);
  CHECK(added.ok(), added.error().ToString());
  PublishPool();
  return OkStatus();
}

Result<std::vector<DeviceRange>> FileTable::GiveBack(uint64_t bytes_max) {
  TRY(CheckWritable());
  std::vector<DeviceRange> given;
  {
    MutexLock lock(mutex_);
    // A repair looks for the store's files from the range of mkfs on: it stays.
    given = pool_.GiveBack(bytes_max, state_.pool.front().offset);
    if (given.empty()) return given;
    std::string change;
    for (const DeviceRange& range : given) EncodeGiveBack(change, range);
    Stage(change);
    PublishPool();
  }
  TRY(Commit());
  return given;
}

std::vector<DeviceRange> FileTable::PoolRanges() const {
  MutexLock lock(mutex_);
  return state_.pool;
}

bool FileTable::HasFreedChunks() const {
  MutexLock lock(mutex_);
  return !freed_.empty();
}

Status FileTable::WaitForWalBytes(uint64_t bytes) {
  if (wal_bytes() <= bytes) return OkStatus();
  MutexLock lock(mutex_);
  while (wal_bytes() > bytes && !latch_.failed()) wal_shrunk_.Wait(mutex_);
  lock.Unlock();
  return latch_.Check();
}

void FileTable::WakeAll() {
  MutexLock lock(mutex_);
  wal_shrunk_.NotifyAll();
}

uint64_t FileTable::chunk_bytes() const {
  MutexLock lock(mutex_);
  return pool_.chunk_bytes();
}

FileTableUsage FileTable::usage() const {
  MutexLock lock(mutex_);
  FileTableUsage usage;
  usage.pool_bytes = pool_.total_bytes();
  usage.free_bytes = FreeBytes();
  usage.journal_bytes = segment_.length_bytes;
  for (const auto& [name, file] : files_) usage.table_count += file->is_table ? 1 : 0;
  return usage;
}

Status FileTable::VerifyAll(const std::function<void(const Error&)>& report,
                            const std::function<bool(uint64_t)>& pace) const {
  // Not held: chunks of files that are deleted meanwhile must not wait for their turn.
  std::vector<std::pair<std::string, std::weak_ptr<VolumeFile>>> files;
  {
    MutexLock lock(mutex_);
    files.assign(files_.begin(), files_.end());
  }
  {
    MutexLock lock(journal_mutex_);
    const Status journal = journal_.Verify();
    if (!journal.ok()) report(journal.error().Within("metadata journal"));
  }
  for (const auto& [name, weak] : files) {
    if (const FileRef file = weak.lock()) TRY(VerifyFile(name, *file, report, pace));
  }
  return OkStatus();
}

Status FileTable::VerifyFile(const std::string& name, const VolumeFile& file,
                             const std::function<void(const Error&)>& report,
                             const std::function<bool(uint64_t)>& pace) const {
  constexpr uint64_t kBlocksAtOnce = 256;
  AlignedBuffer buffer(kBlockBytes * kBlocksAtOnce);
  const FileLayout layout = LayoutOf(file);
  for (uint64_t first = 0; first < layout.block_count; first += kBlocksAtOnce) {
    const uint64_t count = std::min(kBlocksAtOnce, layout.block_count - first);
    const Status read =
        ReadBlocks(device_, layout.extents, first, count, buffer.data());
    if (!read.ok()) {
      report(read.error().Within(StrCat(name, ", block ", first)));
      continue;
    }
    for (uint64_t i = 0; i < count; ++i) {
      const auto label = OpenBlockOf(buffer.data() + i * kBlockBytes, file.id,
                                     static_cast<uint32_t>(first + i));
      if (!label.ok()) report(label.error().Within(StrCat(name, ", block ", first + i)));
    }
    if (pace && !pace(count * kBlockBytes))
      return Error(ErrorCode::kInterrupted, "verifying " + name);
  }
  return OkStatus();
}

}  // namespace cofs::store
