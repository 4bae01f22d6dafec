#include "extent_map/store/range_compaction.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace cofs::store {
namespace {

// The last key of each range but the last one, in order.
std::vector<std::string> RangeEnds(rocksdb::DB& db, uint64_t range_bytes) {
  std::vector<rocksdb::LiveFileMetaData> tables;
  db.GetLiveFilesMetaData(&tables);
  std::sort(tables.begin(), tables.end(),
            [](const auto& a, const auto& b) { return a.largestkey < b.largestkey; });
  std::vector<std::string> ends;
  uint64_t bytes = 0;
  for (rocksdb::LiveFileMetaData& table : tables) {
    bytes += table.size;
    if (bytes < range_bytes) continue;
    bytes = 0;
    if (ends.empty() || ends.back() != table.largestkey)
      ends.push_back(std::move(table.largestkey));
  }
  return ends;
}

}  // namespace

rocksdb::Status CompactByRanges(rocksdb::DB& db, uint64_t range_bytes) {
  const std::vector<std::string> ends = RangeEnds(db, range_bytes);
  std::optional<rocksdb::Slice> begin;
  for (size_t i = 0; i <= ends.size(); ++i) {
    std::optional<rocksdb::Slice> end;
    if (i < ends.size()) end = rocksdb::Slice(ends[i]);
    const rocksdb::Status status =
        db.CompactRange(rocksdb::CompactRangeOptions(), begin ? &*begin : nullptr,
                        end ? &*end : nullptr);
    if (!status.ok()) return status;
    begin = end;
  }
  return rocksdb::Status::OK();
}

}  // namespace cofs::store
