// Reading tables (*.sst) and logs (WAL, MANIFEST) of RocksDB without RocksDB, as far as
// they are readable.
//
// A table of the store is a sequence of data blocks without compression, then blocks that
// are not needed here, but for one with properties. A data block is
//
//   entries    varint shared, varint rest, varint value length, key's rest, value
//   restarts   4 bytes each: where keys are not cut; their count, 4 bytes
//   trailer    compression (0), checksum, 4 bytes
//
// and a key ends with 8 bytes: type, and sequence number in the upper 56 bits. Where a
// block begins is only said by the index; here the end of one is the beginning of the
// next, and behind damage every byte is tried: a block is only believed when all of it
// fits together. The bytes have been verified by their envelopes.
// A log is a sequence of records, each in fragments with a header of 7 bytes: checksum,
// length, type. A sync group ends with the end of a record, so that a reader can go on
// behind a group that is lost.
// Formats: table/block_based/ and db/log_format.h of RocksDB 7 to 10.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "fsck/store_blocks.h"

namespace cofs::salvage {

enum class VersionType : uint8_t { kDelete = 0, kPut = 1, kMerge = 2 };

// One version of a record.
struct Version {
  std::string key, value;
  uint64_t sequence = 0;
  uint64_t order = 0;  // of two with one sequence number, the one of the later file
  VersionType type = VersionType::kPut;
};
using VersionSink = std::function<void(Version&&)>;

struct TableSummary {
  uint64_t entry_count = 0;
  uint64_t sequence_max = 0;
  std::optional<uint64_t> recorded_entry_count;  // by its properties
  std::optional<uint64_t> file_number;
  // Keys around each place where data is missing; empty: at an end.
  std::vector<std::pair<std::string, std::string>> gaps;
};
TableSummary ReadTable(const FileBytes& file, uint64_t order, const VersionSink& sink);

// Calls `record` for each whole record; the number of blocks that are lost.
uint64_t ReadLog(const FileBytes& file,
                 const std::function<void(std::string_view)>& record);

// The versions in one record of a WAL; false when it is none.
bool ReadBatch(std::string_view record, uint64_t order, const VersionSink& sink);

// What a MANIFEST says of tables and logs.
struct ManifestSummary {
  bool is_manifest = false;
  bool is_whole = true;
  std::set<uint64_t> live, deleted;  // file numbers of tables
  uint64_t log_number = 0;           // older WALs are in tables
};
ManifestSummary ReadManifest(const FileBytes& file);

}  // namespace cofs::salvage
