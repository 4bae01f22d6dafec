#include "fsck/store_salvage.h"

#include <algorithm>
#include <charconv>
#include <set>
#include <tuple>

#include "base/log.h"
#include "extent_map/allocator.h"
#include "extent_map/records.h"
#include "extent_map/store/detached_store.h"
#include "fsck/block_runs.h"
#include "fsck/pool_space.h"
#include "fsck/store_blocks.h"
#include "fsck/store_tables.h"

namespace cofs {
namespace {

using salvage::FileBytes;
using salvage::ManifestSummary;
using salvage::StoreFile;
using salvage::StoreFiles;
using salvage::TableSummary;
using salvage::Version;
using salvage::VersionType;

constexpr size_t kPassBytes = 256 << 20;    // of versions in memory at a time
constexpr size_t kVersionOverhead = 160;    // of a Version, with its two strings
constexpr size_t kSalvageBatchBytes = 512 << 10;
constexpr size_t kSampleStep = 256;
// More than one unreadable block in so many: the device is dying, or not connected.
constexpr uint64_t kUnreadableShare = 8;

std::string DescribeKey(const std::string& key) {
  if (key.empty()) return "an end";
  const auto parsed = ParseKey(key);
  if (!parsed.ok()) return "an unknown record";
  switch (parsed->kind) {
    case RecordKind::kInodeCounter:
      return "the inode counter";
    case RecordKind::kScrub:
      return "where the last scrub stands";
    case RecordKind::kInode:
      return StrCat("inode ", parsed->inode);
    case RecordKind::kDentry:
      return StrCat("entries of inode ", parsed->inode);
    case RecordKind::kExtent:
      return StrCat("extents of inode ", parsed->inode);
    case RecordKind::kXattr:
      return StrCat("attributes of inode ", parsed->inode);
    case RecordKind::kOrphan:
      return StrCat("orphan ", parsed->inode);
    case RecordKind::kChecksums:
      return StrCat("checksums at device offset ", parsed->position);
    case RecordKind::kShared:
      return StrCat("the shared range at device offset ", parsed->position);
  }
  return "?";
}

// "000123.sst" and "MANIFEST-000123" are 123.
std::optional<uint64_t> NumberOf(std::string_view name) {
  const size_t first = name.find_first_of("0123456789");
  if (first == std::string_view::npos) return std::nullopt;
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(name.data() + first,
                                            name.data() + name.size(), number);
  if (error != std::errc{} || end == name.data() + first) return std::nullopt;
  return number;
}

enum class Kind { kOther, kTable, kLog, kManifest };

struct Source {
  const StoreFile* file = nullptr;
  Kind kind = Kind::kOther;
  std::optional<uint64_t> number;  // of RocksDB
  TableSummary table;
  uint64_t sequence_max = 0;  // of a log
  uint64_t lost_blocks = 0;
  std::string name() const {
    return file->name.empty() ? StrCat("file ", file->id) : Printable(file->name);
  }
};

class Salvage {
 public:
  Salvage(BlockDevice& device, SuperblockSlots& slots, const CheckOptions& options,
          Report& report)
      : device_(device),
        slots_(slots),
        superblock_(slots.current()),
        options_(options),
        report_(report) {}

  Status Run() {
    TRY_ASSIGN(files_, salvage::FindStoreFiles(device_, superblock_));
    TRY(ReadAll());
    SelectSources();
    if (version_count_ == 0)
      return Error(ErrorCode::kCorrupt, "nothing of the metadata is readable");
    if (unreadable_blocks_ > 0 && unreadable_blocks_ * kUnreadableShare > block_count_)
      return Error(ErrorCode::kIo,
                   StrCat("the device fails ", unreadable_blocks_, " of ", block_count_,
                          " reads of metadata: nothing is changed"));
    TRY(FindFreeSpace());
    TRY(Build());
    Tell();
    return OkStatus();
  }

 private:
  // What a file without a name is, shows when it is read.
  static Kind KindOfName(std::string_view name) {
    if (name.ends_with(".sst")) return Kind::kTable;
    if (name.ends_with(".log")) return Kind::kLog;
    if (name.starts_with("MANIFEST-")) return Kind::kManifest;
    return Kind::kOther;
  }

  Status Step() {
    // Each file is read at least twice: to see what there is, and to take it over.
    ++steps_;
    const uint64_t total = 2 * files_.files.size();
    if (options_.progress && steps_ <= total)
      options_.progress({2, "rebuild", steps_, total});
    if (options_.is_cancelled && options_.is_cancelled())
      return Error(ErrorCode::kInterrupted, "salvage");
    return OkStatus();
  }

  // The first reading: what the files are, what they have lost, which blocks of the
  // volume their records use.
  Status ReadAll() {
    ManifestSummary newest;
    for (const StoreFile& file : files_.files) {
      TRY(Step());
      const FileBytes bytes = salvage::ReadStoreFile(device_, file);
      block_count_ += file.blocks.size();
      unreadable_blocks_ += bytes.unreadable_blocks;
      Source source;
      source.file = &file;
      source.kind = KindOfName(file.name);
      const bool is_named = !file.name.empty();
      if (is_named) source.number = NumberOf(file.name);
      if (source.kind == Kind::kManifest || !is_named) {
        ManifestSummary manifest = salvage::ReadManifest(bytes);
        if (manifest.is_manifest) {
          source.kind = Kind::kManifest;
          if (!manifest.is_whole)
            source.lost_blocks = std::max<uint64_t>(bytes.damaged_blocks, 1);
          newest = std::move(manifest);  // ids ascend
        }
      }
      if (source.kind == Kind::kTable || (!is_named && source.kind == Kind::kOther)) {
        source.table = salvage::ReadTable(bytes, file.id, Survey());
        if (!is_named && source.table.entry_count > 0) {
          source.kind = Kind::kTable;
          source.number = source.table.file_number;
        }
        if (source.kind == Kind::kTable) source.lost_blocks = bytes.damaged_blocks;
      }
      if (source.kind == Kind::kLog || (!is_named && source.kind == Kind::kOther)) {
        bool is_log = is_named;
        const uint64_t lost = salvage::ReadLog(bytes, [&](std::string_view record) {
          is_log = salvage::ReadBatch(record, file.id, Survey(&source)) || is_log;
        });
        if (is_log) source.kind = Kind::kLog;
        if (is_log) source.lost_blocks = lost;
      }
      if (is_named && source.kind == Kind::kOther && bytes.damaged_blocks > 0)
        notes_.push_back(source.name() + " is damaged and not needed");
      if (source.kind != Kind::kOther) sources_.push_back(std::move(source));
    }
    manifest_ = std::move(newest);
    return OkStatus();
  }

  salvage::VersionSink Survey(Source* log = nullptr) {
    return [this, log](Version&& version) {
      ++version_count_;
      version_bytes_ += version.key.size() + version.value.size() + kVersionOverhead;
      if (version_count_ % kSampleStep == 0) samples_.push_back(version.key);
      if (log != nullptr) log->sequence_max = std::max(log->sequence_max, version.sequence);
      if (version.type != VersionType::kPut) return;
      const auto key = ParseKey(version.key);
      if (!key.ok() || key->kind != RecordKind::kExtent) return;
      const auto extent = DecodeExtent(FileOffset{key->position}, version.value);
      if (extent.ok())
        files_.used.push_back({extent->device_offset, extent->length_bytes});
    };
  }

  // Whether a table whose number is lost may be one that the manifest names and that is
  // not there otherwise: its number lies between those of its neighbours by id.
  bool MayBeLive(const Source& table) const {
    uint64_t low = 0, high = UINT64_MAX;
    std::set<uint64_t> missing = manifest_.live;
    for (const Source& other : sources_) {
      if (other.kind != Kind::kTable || !other.number) continue;
      missing.erase(*other.number);
      if (other.file->id < table.file->id) low = std::max(low, *other.number);
      if (other.file->id > table.file->id) high = std::min(high, *other.number);
    }
    const auto first = missing.upper_bound(low);
    return first != missing.end() && *first < high;
  }

  // Drops what the store had given up, as far as that is known.
  void SelectSources() {
    const bool has_manifest = manifest_.is_manifest;
    const bool is_exact = has_manifest && manifest_.is_whole;
    // Numbers of files and ids both count up: a log that is older than a table with a
    // number below the manifest's log number is older than that log.
    uint64_t old_id = 0, newest_log = 0;
    for (const Source& source : sources_) {
      if (source.kind == Kind::kTable && source.number &&
          *source.number < manifest_.log_number)
        old_id = std::max(old_id, source.file->id);
      if (source.kind == Kind::kLog) newest_log = std::max(newest_log, source.file->id);
    }
    std::set<uint64_t> unknown_and_dead;  // ids
    for (const Source& source : sources_)
      if (source.kind == Kind::kTable && !source.number && is_exact && !MayBeLive(source))
        unknown_and_dead.insert(source.file->id);
    std::erase_if(sources_, [&](const Source& source) {
      switch (source.kind) {
        case Kind::kTable:
          if (!has_manifest) return false;
          if (!source.number) return unknown_and_dead.contains(source.file->id);
          return manifest_.deleted.contains(*source.number) ||
                 (is_exact && !manifest_.live.contains(*source.number));
        case Kind::kLog:
          if (source.number) return has_manifest && *source.number < manifest_.log_number;
          return has_manifest ? source.file->id < old_id : source.file->id != newest_log;
        default:
          return false;
      }
    });
  }

  Status FindFreeSpace() {
    const DeviceOffset end{superblock_.volume_bytes};
    files_.used.push_back({DeviceOffset{}, kReservedEnd.value()});
    std::erase_if(files_.used, [&](const DeviceRange& range) {
      return range.offset >= end || range.length_bytes > end - range.offset;
    });
    std::ranges::sort(files_.used, {}, &DeviceRange::offset);
    std::vector<DeviceRange> used;
    for (const DeviceRange& range : files_.used) AppendRun(used, range);
    used.push_back({end, 0});
    free_space_ = std::make_unique<Allocator>(superblock_.volume_bytes);
    DeviceOffset at;
    for (const DeviceRange& range : used) {
      if (at < range.offset) TRY(free_space_->Release({at, range.offset - at}));
      at = range.end();
    }
    return OkStatus();
  }

  Status Build() {
    AllocateOptions wanted;
    wanted.length_bytes = Store::InitialPoolBytes(superblock_.volume_bytes);
    wanted.run_count_max = 1;
    const auto pool = free_space_->Allocate(wanted);
    if (!pool.ok())
      return Error(ErrorCode::kNoSpace,
                   StrCat("the metadata can't be rebuilt without ", wanted.length_bytes,
                          " bytes of free space in one piece"));
    Superblock next = superblock_;
    PoolSpace growth;  // outlives the store
    growth.Use(free_space_.get());
    {
      TRY_ASSIGN(const auto store, CreateDetachedStore(device_, pool->front(), next));
      store->StartGrowing(&growth);
      TRY(Fill(*store));
      TRY(store->Commit());
      TRY(store->Close());
    }
    return slots_.Update([&](Superblock& superblock) {
      superblock.journal = next.journal;
      superblock.journal_generation = next.journal_generation;
      superblock.clean = false;
      superblock.allocator_image = {};
      superblock.allocator_image_crc32c = 0;
    });
  }

  // In passes over ranges of keys, so that memory is bounded.
  Status Fill(Store& store) {
    std::ranges::sort(samples_);
    const size_t passes = std::min(version_bytes_ / kPassBytes + 1, samples_.size() + 1);
    std::string first;
    for (size_t pass = 1; pass <= passes; ++pass) {
      const std::string last =
          pass == passes ? "" : samples_[samples_.size() * pass / passes];
      TRY(FillRange(store, first, last));
      first = last;
    }
    return OkStatus();
  }

  Status FillRange(Store& store, const std::string& first, const std::string& last) {
    std::vector<Version> versions;
    const salvage::VersionSink collect = [&](Version&& version) {
      if (version.key >= first && (last.empty() || version.key < last))
        versions.push_back(std::move(version));
    };
    for (const Source& source : sources_) {
      TRY(Step());
      if (source.kind == Kind::kManifest) continue;
      const FileBytes bytes = salvage::ReadStoreFile(device_, *source.file);
      if (source.kind == Kind::kTable)
        salvage::ReadTable(bytes, source.file->id, collect);
      else
        salvage::ReadLog(bytes, [&](std::string_view record) {
          salvage::ReadBatch(record, source.file->id, collect);
        });
    }
    std::ranges::sort(versions, [](const Version& a, const Version& b) {
      return std::tie(a.key, b.sequence, b.order) < std::tie(b.key, a.sequence, a.order);
    });
    Batch batch;
    for (size_t begin = 0; begin < versions.size();) {
      size_t end = begin;
      while (end < versions.size() && versions[end].key == versions[begin].key) ++end;
      const auto value = Resolve({&versions[begin], end - begin});
      if (value) batch.Put(versions[begin].key, *value);
      begin = end;
      if (batch.size_bytes() < kSalvageBatchBytes) continue;
      TRY(Write(store, batch));
    }
    return Write(store, batch);
  }

  static Status Write(Store& store, Batch& batch) {
    TRY(store.AdmitGrowth(batch.size_bytes()));
    TRY(store.Write(std::move(batch)));
    batch = Batch();
    return OkStatus();
  }

  // The value of a record by its versions, the newest first; nullopt: it is deleted.
  static std::optional<std::string> Resolve(std::span<const Version> versions) {
    std::vector<std::string_view> operands;
    std::optional<std::string_view> base;
    for (const Version& version : versions) {
      if (version.type == VersionType::kMerge) {
        operands.push_back(version.value);
        continue;
      }
      if (version.type == VersionType::kPut) base = version.value;
      break;
    }
    if (operands.empty()) return base ? std::optional(std::string(*base)) : std::nullopt;
    ChecksumChunk chunk;
    if (base)
      if (const auto decoded = DecodeChecksums(*base); decoded.ok()) chunk = *decoded;
    for (auto operand = operands.rbegin(); operand != operands.rend(); ++operand)
      if (const auto decoded = DecodeChecksums(*operand); decoded.ok())
        chunk = MergeChecksums(chunk, *decoded);
    if (chunk.present == 0) return std::nullopt;
    return EncodeChecksums(chunk);
  }

  void Tell() {
    if (!files_.from_journal)
      report_.AddLoss({}, "the journal of the metadata store; its files were found by the "
                          "labels of their blocks");
    for (const std::string& note : notes_) report_.AddLoss({}, note);
    for (const Source& source : sources_) {
      if (source.lost_blocks == 0) continue;
      std::string text = StrCat(source.lost_blocks, " of ", source.file->blocks.size(),
                                " blocks of ", source.name(), " of the metadata store");
      if (source.kind == Kind::kLog) text += ", with some of the newest changes";
      if (source.kind == Kind::kManifest) text += ", its list of tables";
      if (source.kind == Kind::kTable) {
        const TableSummary& table = source.table;
        if (table.recorded_entry_count)
          text += StrCat(", with ",
                         *table.recorded_entry_count - std::min(*table.recorded_entry_count,
                                                                table.entry_count),
                         " of ", *table.recorded_entry_count, " records");
        else
          text += StrCat("; ", table.entry_count, " records of it were found");
      }
      report_.AddLoss({}, text);
      for (const auto& [before, behind] : source.table.gaps)
        report_.AddLoss({}, StrCat("records between ", DescribeKey(before), " and ",
                                   DescribeKey(behind)));
    }
  }

  BlockDevice& device_;
  SuperblockSlots& slots_;
  const Superblock superblock_;
  const CheckOptions& options_;
  Report& report_;
  StoreFiles files_;
  std::vector<Source> sources_;
  ManifestSummary manifest_;
  std::vector<std::string> notes_;
  std::vector<std::string> samples_;
  uint64_t steps_ = 0;
  uint64_t version_count_ = 0;
  size_t version_bytes_ = 0;
  uint64_t block_count_ = 0;
  uint64_t unreadable_blocks_ = 0;
  std::unique_ptr<Allocator> free_space_;
};

}  // namespace

Status SalvageStore(BlockDevice& device, SuperblockSlots& slots,
                    const CheckOptions& options, Report& report) {
  return Salvage(device, slots, options, report).Run();
}

}  // namespace cofs
