#include "fsck/store_tables.h"

#include <algorithm>
#include <cstring>

#include "base/crc32c.h"
#include "extent_map/records.h"

namespace cofs::salvage {
namespace {

constexpr size_t kKeyTrailer = 8;
constexpr size_t kBlockTrailer = 5;

// Varints and fixed numbers; ok() is false once anything was wrong.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}
  bool ok() const { return ok_; }
  bool empty() const { return bytes_.empty(); }
  size_t remaining() const { return bytes_.size(); }

  uint64_t Varint() {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && !bytes_.empty(); shift += 7) {
      const auto byte = static_cast<uint8_t>(bytes_.front());
      bytes_.remove_prefix(1);
      value |= uint64_t{byte & 0x7fu} << shift;
      if ((byte & 0x80) == 0) return value;
    }
    ok_ = false;
    return 0;
  }
  std::string_view Bytes(uint64_t length) {
    if (length > bytes_.size()) {
      ok_ = false;
      return {};
    }
    const std::string_view out = bytes_.substr(0, length);
    bytes_.remove_prefix(length);
    return out;
  }
  std::string_view Prefixed() { return Bytes(Varint()); }
  uint64_t Fixed(size_t length) {
    uint64_t value = 0;
    const std::string_view bytes = Bytes(length);
    if (ok_) std::memcpy(&value, bytes.data(), bytes.size());
    return value;
  }

 private:
  std::string_view bytes_;
  bool ok_ = true;
};

struct Entry {
  size_t offset = 0;
  std::string key;
  std::string_view value;
};

bool IsKnownType(uint8_t type) { return type <= 2 || type == 7; }

struct InternalKey {
  std::string_view user_key;
  uint64_t sequence = 0;
  uint8_t type = 0;
};
std::optional<InternalKey> SplitKey(std::string_view key) {
  if (key.size() <= kKeyTrailer) return std::nullopt;
  const uint64_t packed = Reader(key.substr(key.size() - kKeyTrailer)).Fixed(kKeyTrailer);
  const auto type = static_cast<uint8_t>(packed);
  if (!IsKnownType(type)) return std::nullopt;
  return InternalKey{key.substr(0, key.size() - kKeyTrailer), packed >> 8, type};
}

// In the order of a table.
bool IsBefore(const InternalKey& a, const InternalKey& b) {
  const int order = a.user_key.compare(b.user_key);
  return order != 0 ? order < 0 : a.sequence >= b.sequence;
}

// Parses the block at the start of `bytes`. Its length with trailer, 0 when there is none.
size_t ParseBlock(std::string_view bytes, bool has_internal_keys,
                  std::vector<Entry>& entries) {
  entries.clear();
  Reader in(bytes);
  std::string key;
  for (;;) {
    const size_t offset = bytes.size() - in.remaining();
    Reader ahead = in;
    const uint64_t shared = ahead.Varint();
    const uint64_t rest = ahead.Varint();
    const uint64_t value_length = ahead.Varint();
    if (!ahead.ok()) return 0;
    if (shared == 0 && rest == 0 && value_length == 0) break;  // the first restart: 0
    if (shared > key.size() || rest == 0) return 0;
    const std::string_view key_rest = ahead.Bytes(rest);
    const std::string_view value = ahead.Bytes(value_length);
    if (!ahead.ok()) return 0;
    std::string next = key.substr(0, shared);
    next += key_rest;
    if (has_internal_keys) {
      const auto split = SplitKey(next);
      if (!split) return 0;
      if (!entries.empty() && !IsBefore(*SplitKey(key), *split)) return 0;
    }
    key = std::move(next);
    entries.push_back({offset, key, value});
    in = ahead;
  }
  if (entries.empty()) return 0;
  // Restarts are places of entries, in order; each is larger than their count can be.
  uint64_t count = 0;
  auto entry = entries.begin();
  for (;; ++count) {
    const uint64_t restart = in.Fixed(4);
    if (!in.ok()) return 0;
    if (count > 0 && restart == count) break;
    entry = std::lower_bound(entry, entries.end(), restart,
                             [](const Entry& e, uint64_t at) { return e.offset < at; });
    if (entry == entries.end() || entry->offset != restart) return 0;
  }
  const std::string_view trailer = in.Bytes(kBlockTrailer);
  if (!in.ok() || trailer[0] != 0) return 0;
  return bytes.size() - in.remaining();
}

// Runs of bytes that were read.
class GoodRuns {
 public:
  explicit GoodRuns(const FileBytes& file) {
    for (const FileBytes::Block& block : file.blocks) {
      if (!block.is_good) continue;
      if (!ends_.empty() && ends_.back().second == block.begin)
        ends_.back().second += block.length;
      else
        ends_.push_back({block.begin, block.begin + block.length});
    }
  }
  // The end of the run that holds `at`; `at` itself when that is lost.
  size_t EndAt(size_t at) const {
    const auto run = std::upper_bound(
        ends_.begin(), ends_.end(), at,
        [](size_t place, const auto& r) { return place < r.second; });
    return run == ends_.end() || run->first > at ? at : run->second;
  }

 private:
  std::vector<std::pair<size_t, size_t>> ends_;
};

void TakeProperties(const std::vector<Entry>& entries, TableSummary& summary) {
  for (const Entry& entry : entries) {
    if (entry.key == "rocksdb.num.entries")
      summary.recorded_entry_count = Reader(entry.value).Varint();
    if (entry.key == "rocksdb.original.file.number")
      summary.file_number = Reader(entry.value).Varint();
  }
}

bool IsDataBlock(const std::vector<Entry>& entries) {
  const auto key = SplitKey(entries.front().key);
  return key && ParseKey(key->user_key).ok();
}

}  // namespace

TableSummary ReadTable(const FileBytes& file, uint64_t order, const VersionSink& sink) {
  TableSummary summary;
  const GoodRuns good(file);
  const std::string_view bytes = file.bytes;
  std::vector<Entry> entries;
  std::string last_key;
  bool is_chained = true, has_gap = false;
  for (size_t at = 0; at < bytes.size();) {
    const size_t end = good.EndAt(at);
    // The first key of a block is not cut.
    if (!is_chained && end > at && bytes[at] != 0) {
      ++at;
      continue;
    }
    const size_t length = ParseBlock(bytes.substr(at, end - at), true, entries);
    if (length == 0 || (!is_chained && !IsDataBlock(entries))) {
      if (end - at > kBlockTrailer &&
          ParseBlock(bytes.substr(at, end - at), false, entries) != 0 &&
          entries.front().key.starts_with("rocksdb."))
        TakeProperties(entries, summary);
      is_chained = false;
      if (end == at) has_gap = true;
      ++at;
      continue;
    }
    if (has_gap)
      summary.gaps.push_back({last_key, std::string(SplitKey(entries[0].key)->user_key)});
    has_gap = false;
    for (const Entry& entry : entries) {
      const InternalKey key = *SplitKey(entry.key);
      summary.sequence_max = std::max(summary.sequence_max, key.sequence);
      ++summary.entry_count;
      last_key = key.user_key;
      const uint8_t type = key.type == 7 ? 0 : key.type;
      sink({std::string(key.user_key), std::string(entry.value), key.sequence, order,
            static_cast<VersionType>(type)});
    }
    at += length;
    is_chained = true;
  }
  if (has_gap) summary.gaps.push_back({last_key, ""});
  // Its count says whether what is missing was data at all.
  if (summary.recorded_entry_count == summary.entry_count) summary.gaps.clear();
  return summary;
}

namespace {

constexpr size_t kFragmentHeader = 7;
enum FragmentType : uint8_t { kZero = 0, kFull = 1, kFirst = 2, kMiddle = 3, kLast = 4 };

// The records of one log, from groups that are given one after another.
class LogRecords {
 public:
  explicit LogRecords(const std::function<void(std::string_view)>& record)
      : record_(record) {}

  void Break() { is_open_ = false; }
  // False when the bytes do not begin with a fragment, or stop being fragments.
  bool TakeGroup(std::string_view rest) {
    while (rest.size() >= kFragmentHeader) {
      const auto type = static_cast<uint8_t>(rest[6]);
      const uint64_t length = Reader(rest.substr(4)).Fixed(2);
      if (type == kZero && length == 0) {  // zeros fill the end of 32 KiB
        rest.remove_prefix(1);
        continue;
      }
      if (type > kLast || length > rest.size() - kFragmentHeader) return false;
      const std::string_view checked = rest.substr(6, 1 + length);
      const uint32_t crc = Crc32c(checked.data(), checked.size());
      const uint32_t masked = ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
      if (masked != Reader(rest).Fixed(4)) return false;
      TakeFragment(type, checked.substr(1));
      rest.remove_prefix(kFragmentHeader + length);
    }
    return true;
  }

 private:
  void TakeFragment(uint8_t type, std::string_view payload) {
    if (type == kFull || type == kFirst) {
      whole_.clear();
      is_open_ = true;
    }
    if (!is_open_) return;
    whole_ += payload;
    if (type != kFull && type != kLast) return;
    record_(whole_);
    is_open_ = false;
  }

  const std::function<void(std::string_view)>& record_;
  std::string whole_;
  bool is_open_ = false;
};

}  // namespace

uint64_t ReadLog(const FileBytes& file,
                 const std::function<void(std::string_view)>& record) {
  const std::vector<FileBytes::Block>& blocks = file.blocks;
  // What is behind the last complete group was never acknowledged, unless it is known to
  // have been durable.
  size_t end = 0;
  for (size_t i = 0; i < blocks.size(); ++i)
    if (blocks[i].is_good && blocks[i].last_of_group) end = i + 1;
  uint64_t lost = file.proven_blocks > end ? file.proven_blocks - end : 0;
  LogRecords records(record);
  for (size_t first = 0; first < end;) {
    size_t last = first;
    while (last < end && blocks[last].is_good && !blocks[last].last_of_group &&
           blocks[last].sync_group == blocks[first].sync_group)
      ++last;
    const bool is_complete = last < end && blocks[last].is_good &&
                             blocks[last].sync_group == blocks[first].sync_group;
    if (!is_complete) {
      records.Break();
      lost += last - first + (blocks[last].is_good ? 0 : 1);
      first = blocks[last].is_good ? last : last + 1;
      continue;
    }
    // Behind a lost block a group may have lost its beginning: its checksums tell.
    const size_t begin = blocks[first].begin;
    const size_t length = blocks[last].begin + blocks[last].length - begin;
    if (!records.TakeGroup(std::string_view(file.bytes).substr(begin, length))) {
      records.Break();
      lost += last - first + 1;
    }
    first = last + 1;
  }
  return lost;
}

bool ReadBatch(std::string_view record, uint64_t order, const VersionSink& sink) {
  enum { kDelete = 0, kPut = 1, kMerge = 2, kLogData = 3, kSingleDelete = 7, kNoop = 13 };
  Reader in(record);
  uint64_t sequence = in.Fixed(8);
  const uint64_t count = in.Fixed(4);
  if (!in.ok()) return false;
  uint64_t seen = 0;
  while (in.ok() && !in.empty()) {
    const uint64_t tag = in.Fixed(1);
    if (tag == kNoop) continue;
    if (tag == kLogData) {
      in.Prefixed();
      continue;
    }
    if (!IsKnownType(static_cast<uint8_t>(tag))) return false;
    const std::string_view key = in.Prefixed();
    const bool is_delete = tag == kDelete || tag == kSingleDelete;
    const std::string_view value = is_delete ? std::string_view() : in.Prefixed();
    if (!in.ok() || ++seen > count) return false;
    sink({std::string(key), std::string(value), sequence++, order,
          is_delete ? VersionType::kDelete : static_cast<VersionType>(tag)});
  }
  return in.ok() && seen == count;
}

namespace {

enum Tag : uint64_t {
  kComparator = 1,
  kLogNumber = 2,
  kNextFileNumber = 3,
  kLastSequence = 4,
  kCompactCursor = 5,
  kDeletedFile = 6,
  kPrevLogNumber = 9,
  kMinLogNumberToKeep = 10,
  kNewFile4 = 103,
  kColumnFamily = 200,
  kMaxColumnFamily = 203,
  kInAtomicGroup = 300,
  kSafeIgnore = 1 << 13,
};

void TakeNewFile(Reader& in, ManifestSummary& out) {
  constexpr uint64_t kTerminate = 1;
  in.Varint();  // level
  const uint64_t number = in.Varint();
  in.Varint();  // size
  in.Prefixed();
  in.Prefixed();
  in.Varint();
  in.Varint();
  while (in.ok() && in.Varint() != kTerminate) in.Prefixed();
  if (!in.ok()) return;
  out.live.insert(number);
  out.deleted.erase(number);
}

// False when it holds something that is not known here.
bool TakeEdit(std::string_view edit, ManifestSummary& out) {
  Reader in(edit);
  // A file that an edit moves to another level is deleted and added in it, in this order.
  while (in.ok() && !in.empty()) {
    const uint64_t tag = in.Varint();
    switch (tag) {
      case kComparator:
        out.is_manifest = out.is_manifest || in.Prefixed() == "leveldb.BytewiseComparator";
        break;
      case kLogNumber:
        out.log_number = in.Varint();
        break;
      case kNextFileNumber:
      case kLastSequence:
      case kPrevLogNumber:
      case kMinLogNumberToKeep:
      case kColumnFamily:
      case kMaxColumnFamily:
      case kInAtomicGroup:
        in.Varint();
        break;
      case kCompactCursor:
        in.Varint();
        in.Prefixed();
        break;
      case kDeletedFile: {
        in.Varint();
        const uint64_t number = in.Varint();
        out.live.erase(number);
        out.deleted.insert(number);
        break;
      }
      case kNewFile4:
        TakeNewFile(in, out);
        break;
      default:
        if (tag < kSafeIgnore) return false;
        in.Prefixed();
    }
  }
  return in.ok();
}

}  // namespace

ManifestSummary ReadManifest(const FileBytes& file) {
  ManifestSummary out;
  const uint64_t lost = ReadLog(file, [&](std::string_view record) {
    if (!TakeEdit(record, out)) out.is_whole = false;
  });
  if (lost > 0) out.is_whole = false;
  return out;
}

}  // namespace cofs::salvage
