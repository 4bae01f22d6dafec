#include "extent_map/store/journal_state.h"

#include <algorithm>
#include <bit>

namespace cofs::store {
namespace {

enum class Change : uint8_t {
  kPoolRange = 1,
  kFileIdLimit = 2,
  kCreate = 3,
  kExtend = 4,
  kSynced = 5,
  kRename = 6,
  kDelete = 7,
  kTrim = 8,
  kGiveBack = 9,
};

constexpr uint8_t kSnapshotVersion = 1;
// A block index has 32 bits.
constexpr uint64_t kFileBlocksMax = 1ull << 32;
constexpr uint64_t kDeviceBlocksMax = 1ull << 50;

Error Refused(std::string what) { return Error(ErrorCode::kCorrupt, std::move(what)); }

void PutRange(ByteWriter& out, DeviceRange range) {
  CHECK(IsBlockAligned(range.offset.value()) && IsBlockAligned(range.length_bytes));
  out.Varint(range.offset.value() / kBlockBytes);
  out.Varint(range.length_bytes / kBlockBytes);
}

Result<DeviceRange> GetRange(ByteReader& in) {
  const uint64_t offset = in.Varint();
  const uint64_t length = in.Varint();
  if (!in.ok() || length == 0 || offset > kDeviceBlocksMax || length > kDeviceBlocksMax)
    return Refused("a range of the journal");
  return DeviceRange{DeviceOffset{offset * kBlockBytes}, length * kBlockBytes};
}

void PutSections(ByteWriter& out, const std::vector<Section>& sections, size_t from) {
  out.Varint(sections.size() - from);
  for (size_t i = from; i < sections.size(); ++i) {
    out.Varint(sections[i].first_block);
    out.Varint(sections[i].first_byte);
  }
}

Status GetSections(ByteReader& in, std::vector<Section>& sections) {
  const uint64_t count = in.Varint();
  if (!in.ok() || count > in.remaining_bytes() / 2) return Refused("count of sections");
  for (uint64_t i = 0; i < count; ++i) {
    Section section;
    section.first_block = in.Varint();
    section.first_byte = in.Varint();
    sections.push_back(section);
  }
  return in.ok() ? OkStatus() : Refused("sections cut short");
}

// Each section but the last ends with a partly filled block; the whole adds up.
bool IsPossible(FileKind kind, const FileLayout& layout) {
  if (layout.block_count > layout.capacity_blocks() ||
      layout.block_count > kFileBlocksMax)
    return false;
  if (kind == FileKind::kGroups) return layout.sections.empty() && layout.size_bytes == 0;
  Section begin;
  for (size_t i = 0; i <= layout.sections.size(); ++i) {
    const Section end = i < layout.sections.size()
                            ? layout.sections[i]
                            : Section{layout.block_count, layout.size_bytes};
    if (end.first_block < begin.first_block || end.first_byte < begin.first_byte)
      return false;
    const uint64_t blocks = end.first_block - begin.first_block;
    const uint64_t bytes = end.first_byte - begin.first_byte;
    if (blocks > kFileBlocksMax || bytes > blocks * kPayloadBytes ||
        (bytes + kPayloadBytes - 1) / kPayloadBytes != blocks)
      return false;
    const bool is_last = i == layout.sections.size();
    if (!is_last && bytes == blocks * kPayloadBytes) return false;
    if (is_last && i > 0 && blocks == 0) return false;
    begin = end;
  }
  return true;
}

Result<FileKind> GetKind(ByteReader& in) {
  const uint8_t kind = in.U8();
  if (kind != static_cast<uint8_t>(FileKind::kWhole) &&
      kind != static_cast<uint8_t>(FileKind::kGroups))
    return Refused(StrCat("file kind ", int{kind}));
  return static_cast<FileKind>(kind);
}

Result<std::string> GetName(ByteReader& in) {
  std::string name{in.LengthAndBytes()};
  if (!in.ok() || name.empty() || name.size() > 255) return Refused("name of a file");
  return name;
}

void Erase(JournalState& state, std::string_view name) {
  const auto old = state.ids.find(name);
  if (old == state.ids.end()) return;
  state.files.erase(old->second);
  state.ids.erase(old);
}

Status ApplyCreate(JournalState& state, uint64_t id, ByteReader& in) {
  TRY_ASSIGN(const FileKind kind, GetKind(in));
  TRY_ASSIGN(std::string name, GetName(in));
  if (id == 0 || id >= state.file_id_limit || state.files.contains(id))
    return Refused(StrCat("new file with the id ", id));
  Erase(state, name);
  state.ids[name] = id;
  FileRecord& file = state.files[id];
  file.name = std::move(name);
  file.kind = kind;
  return OkStatus();
}

Status ApplyRename(JournalState& state, uint64_t id, FileRecord& file, ByteReader& in) {
  TRY_ASSIGN(std::string name, GetName(in));
  if (name == file.name) return OkStatus();
  Erase(state, name);
  state.ids.erase(file.name);
  state.ids[name] = id;
  file.name = std::move(name);
  return OkStatus();
}

Status ApplySynced(uint64_t id, FileRecord& file, ByteReader& in) {
  FileLayout& layout = file.layout;
  const uint64_t before = layout.block_count;
  layout.block_count = in.Varint();
  layout.size_bytes = in.Varint();
  TRY(GetSections(in, layout.sections));
  if (layout.block_count < before || !IsPossible(file.kind, layout))
    return Refused(StrCat("length of file ", id));
  return OkStatus();
}

Status ApplyTrim(uint64_t id, FileRecord& file, DeviceRange range) {
  FileLayout& layout = file.layout;
  if (layout.extents.empty() || layout.extents.back().end() != range.end() ||
      layout.extents.back().length_bytes < range.length_bytes)
    return Refused(StrCat("trim of file ", id));
  layout.extents.back().length_bytes -= range.length_bytes;
  if (layout.extents.back().length_bytes == 0) layout.extents.pop_back();
  if (!IsPossible(file.kind, layout)) return Refused(StrCat("trim of file ", id));
  return OkStatus();
}

Status ApplyToFile(JournalState& state, Change change, ByteReader& in) {
  const uint64_t id = in.Varint();
  if (!in.ok()) return Refused("change of the journal cut short");
  if (change == Change::kCreate) return ApplyCreate(state, id, in);
  const auto found = state.files.find(id);
  if (found == state.files.end()) return Refused(StrCat("change of file ", id));
  FileRecord& file = found->second;
  switch (change) {
    case Change::kExtend: {
      TRY_ASSIGN(const DeviceRange range, GetRange(in));
      AppendExtent(file.layout.extents, range);
      return OkStatus();
    }
    case Change::kTrim: {
      TRY_ASSIGN(const DeviceRange range, GetRange(in));
      return ApplyTrim(id, file, range);
    }
    case Change::kSynced:
      return ApplySynced(id, file, in);
    case Change::kRename:
      return ApplyRename(state, id, file, in);
    case Change::kDelete:
      state.ids.erase(file.name);
      state.files.erase(found);
      return OkStatus();
    default:
      return Refused(StrCat("change of kind ", int{static_cast<uint8_t>(change)}));
  }
}

// What is left of the range that holds `given` stays where it is in the list: the first
// one is that of mkfs.
Status ApplyGiveBack(JournalState& state, DeviceRange given) {
  const auto owner = std::find_if(
      state.pool.begin(), state.pool.end(), [&](const DeviceRange& range) {
        return range.offset <= given.offset && given.end() <= range.end();
      });
  if (owner == state.pool.end()) return Refused("a range given back that the pool has not");
  const DeviceRange before{owner->offset, given.offset - owner->offset};
  const DeviceRange behind{given.end(), owner->end() - given.end()};
  auto place = state.pool.erase(owner);
  if (behind.length_bytes > 0) place = state.pool.insert(place, behind);
  if (before.length_bytes > 0) state.pool.insert(place, before);
  return OkStatus();
}

Status ApplyOne(JournalState& state, ByteReader& in) {
  const auto change = static_cast<Change>(in.U8());
  if (change == Change::kPoolRange) {
    TRY_ASSIGN(const DeviceRange range, GetRange(in));
    state.pool.push_back(range);
    return OkStatus();
  }
  if (change == Change::kGiveBack) {
    TRY_ASSIGN(const DeviceRange range, GetRange(in));
    return ApplyGiveBack(state, range);
  }
  if (change == Change::kFileIdLimit) {
    const uint64_t limit = in.Varint();
    if (!in.ok() || limit < state.file_id_limit) return Refused("limit of file ids");
    state.file_id_limit = limit;
    return OkStatus();
  }
  return ApplyToFile(state, change, in);
}

}  // namespace

void EncodePoolRange(std::string& out, DeviceRange range) {
  ByteWriter writer(out);
  writer.U8(static_cast<uint8_t>(Change::kPoolRange));
  PutRange(writer, range);
}

void EncodeGiveBack(std::string& out, DeviceRange range) {
  ByteWriter writer(out);
  writer.U8(static_cast<uint8_t>(Change::kGiveBack));
  PutRange(writer, range);
}

void EncodeFileIdLimit(std::string& out, uint64_t limit) {
  ByteWriter writer(out);
  writer.U8(static_cast<uint8_t>(Change::kFileIdLimit));
  writer.Varint(limit);
}

void EncodeCreate(std::string& out, uint64_t id, FileKind kind, std::string_view name) {
  ByteWriter writer(out);
  writer.U8(static_cast<uint8_t>(Change::kCreate));
  writer.Varint(id);
  writer.U8(static_cast<uint8_t>(kind));
  writer.LengthAndBytes(name);
}

void EncodeExtend(std::string& out, uint64_t id, DeviceRange range) {
  ByteWriter writer(out);
  writer.U8(static_cast<uint8_t>(Change::kExtend));
  writer.Varint(id);
  PutRange(writer, range);
}

void EncodeSynced(std::string& out, uint64_t id, const FileLayout& layout,
                  size_t known_sections) {
  ByteWriter writer(out);
  writer.U8(static_cast<uint8_t>(Change::kSynced));
  writer.Varint(id);
  writer.Varint(layout.block_count);
  writer.Varint(layout.size_bytes);
  PutSections(writer, layout.sections, known_sections);
}

void EncodeRename(std::string& out, uint64_t id, std::string_view name) {
  ByteWriter writer(out);
  writer.U8(static_cast<uint8_t>(Change::kRename));
  writer.Varint(id);
  writer.LengthAndBytes(name);
}

void EncodeDelete(std::string& out, uint64_t id) {
  ByteWriter writer(out);
  writer.U8(static_cast<uint8_t>(Change::kDelete));
  writer.Varint(id);
}

void EncodeTrim(std::string& out, uint64_t id, DeviceRange range) {
  ByteWriter writer(out);
  writer.U8(static_cast<uint8_t>(Change::kTrim));
  writer.Varint(id);
  PutRange(writer, range);
}

Status ApplyChanges(JournalState& state, std::string_view changes) {
  ByteReader in(changes);
  while (in.remaining_bytes() > 0) TRY(ApplyOne(state, in));
  if (!in.ok()) return Refused("changes of the journal cut short");
  return OkStatus();
}

std::string EncodeSnapshot(const JournalState& state) {
  std::string out;
  ByteWriter writer(out);
  writer.U8(kSnapshotVersion);
  writer.Varint(state.chunk_bytes);
  writer.Varint(state.file_id_limit);
  writer.Varint(state.pool.size());
  for (const DeviceRange& range : state.pool) PutRange(writer, range);
  writer.Varint(state.files.size());
  for (const auto& [id, file] : state.files) {
    writer.Varint(id);
    writer.U8(static_cast<uint8_t>(file.kind));
    writer.LengthAndBytes(file.name);
    writer.Varint(file.layout.block_count);
    writer.Varint(file.layout.size_bytes);
    PutSections(writer, file.layout.sections, 0);
    writer.Varint(file.layout.extents.size());
    for (const DeviceRange& extent : file.layout.extents) PutRange(writer, extent);
  }
  return out;
}

Result<JournalState> DecodeSnapshot(std::string_view bytes) {
  ByteReader in(bytes);
  JournalState state;
  if (in.U8() != kSnapshotVersion) return Refused("version of the snapshot");
  state.chunk_bytes = in.Varint();
  state.file_id_limit = in.Varint();
  if (!in.ok() || state.chunk_bytes < kBlockBytes || state.chunk_bytes > (1ull << 30) ||
      !std::has_single_bit(state.chunk_bytes) || state.file_id_limit == 0)
    return Refused("head of the snapshot");
  const uint64_t pool_count = in.Varint();
  for (uint64_t i = 0; in.ok() && i < pool_count; ++i) {
    TRY_ASSIGN(const DeviceRange range, GetRange(in));
    state.pool.push_back(range);
  }
  const uint64_t file_count = in.Varint();
  uint64_t previous = 0;
  for (uint64_t i = 0; in.ok() && i < file_count; ++i) {
    const uint64_t id = in.Varint();
    FileRecord file;
    TRY_ASSIGN(file.kind, GetKind(in));
    TRY_ASSIGN(file.name, GetName(in));
    file.layout.block_count = in.Varint();
    file.layout.size_bytes = in.Varint();
    TRY(GetSections(in, file.layout.sections));
    const uint64_t extent_count = in.Varint();
    for (uint64_t k = 0; in.ok() && k < extent_count; ++k) {
      TRY_ASSIGN(const DeviceRange extent, GetRange(in));
      if (!file.layout.extents.empty() &&
          file.layout.extents.back().end() == extent.offset)
        return Refused(StrCat("extents of file ", id));
      file.layout.extents.push_back(extent);
    }
    if (!in.ok() || id <= previous || id >= state.file_id_limit ||
        !IsPossible(file.kind, file.layout) || !state.ids.emplace(file.name, id).second)
      return Refused(StrCat("file ", id, " of the snapshot"));
    state.files.emplace(id, std::move(file));
    previous = id;
  }
  if (!in.Finished()) return Refused("the snapshot is cut short or too long");
  return state;
}

}  // namespace cofs::store
