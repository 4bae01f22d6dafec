// JournalState: what the metadata journal says, and its encoding.
//
// The journal holds a snapshot of the state and the changes after it. The store changes
// its own state by applying the very bytes that it will write, so that a replay can't
// come to another result.
//
// A change is one byte of kind and its fields; numbers are varints (base/codec.h), names
// are length and bytes, ranges are offset and length in blocks:
//
//   1 pool range      range                     the pool owns it from now on
//   2 file ids        limit                     ids below `limit` may be in use
//   3 create          id, kind byte, name       an older file of that name is deleted
//   4 extend          id, range                 chunks at the end of the file
//   5 synced          id, blocks, bytes, count of new sections, (block, byte)...
//   6 rename          id, name                  an older file of that name is deleted
//   7 delete          id
//   8 trim            id, range                 chunks taken off the end of the file
//   9 give back       range                     chunks that the pool owns no more
//
// Snapshot: version byte 1, chunk bytes, id limit, count of pool ranges, ranges, count of
// files, and for each in order of id: id, kind byte, name, blocks, bytes, count of
// sections, (block, byte)..., count of extents, ranges.
// Pure functions; every decoder refuses what the encoder would not have written.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/codec.h"
#include "base/result.h"
#include "base/types.h"
#include "extent_map/store/file_layout.h"

namespace cofs::store {

enum class FileKind : uint8_t {
  // The journal says how long it is: tables, CURRENT, OPTIONS.
  kWhole = 1,
  // Its sync groups say how long it is: WAL and MANIFEST. What the journal says is a
  // lower bound.
  kGroups = 2,
};

struct FileRecord {
  std::string name;
  FileKind kind = FileKind::kWhole;
  FileLayout layout;  // what is durable; for kGroups without size and sections
  friend bool operator==(const FileRecord&, const FileRecord&) = default;
};

struct JournalState {
  uint64_t chunk_bytes = 0;
  uint64_t file_id_limit = 1;
  std::vector<DeviceRange> pool;
  std::map<uint64_t, FileRecord> files;
  std::map<std::string, uint64_t, std::less<>> ids;  // by name
  friend bool operator==(const JournalState&, const JournalState&) = default;
};

// Encoders of changes: each appends to `out`.
void EncodePoolRange(std::string& out, DeviceRange range);
void EncodeGiveBack(std::string& out, DeviceRange range);
void EncodeFileIdLimit(std::string& out, uint64_t limit);
void EncodeCreate(std::string& out, uint64_t id, FileKind kind, std::string_view name);
void EncodeExtend(std::string& out, uint64_t id, DeviceRange range);
// `new_sections`: those after the `known_sections` first ones of `layout`.
void EncodeSynced(std::string& out, uint64_t id, const FileLayout& layout,
                  size_t known_sections);
void EncodeRename(std::string& out, uint64_t id, std::string_view name);
void EncodeDelete(std::string& out, uint64_t id);
void EncodeTrim(std::string& out, uint64_t id, DeviceRange range);

// Applies a sequence of changes. On kCorrupt `state` is useless.
Status ApplyChanges(JournalState& state, std::string_view changes);

std::string EncodeSnapshot(const JournalState& state);
Result<JournalState> DecodeSnapshot(std::string_view bytes);

}  // namespace cofs::store
