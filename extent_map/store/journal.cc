#include "extent_map/store/journal.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "base/aligned_buffer.h"
#include "base/crc32c.h"
#include "base/log.h"

namespace cofs::store {
namespace {

struct RecordHeader {
  uint32_t magic;
  uint32_t crc32c;
  uint64_t generation;
  uint64_t sequence;
  uint32_t payload_bytes;
  uint8_t type;
  uint8_t zero[3];
};
static_assert(sizeof(RecordHeader) == 32);
static_assert(offsetof(RecordHeader, generation) == 8);
static_assert(offsetof(RecordHeader, sequence) == 16);
static_assert(offsetof(RecordHeader, payload_bytes) == 24);
static_assert(offsetof(RecordHeader, type) == 28);

constexpr uint32_t kMagic = 0x4e524a63;  // "cJRN"
constexpr size_t kUnchecked = offsetof(RecordHeader, generation);
enum class RecordType : uint8_t { kSnapshot = 1, kChanges = 2 };
constexpr uint64_t kSegmentBytesMax = 1ull << 30;

uint64_t RecordBytes(size_t payload_bytes) {
  return RoundUp(sizeof(RecordHeader) + payload_bytes, kBlockBytes);
}

void PutRecord(char* out, RecordType type, uint64_t generation, uint64_t sequence,
               std::string_view payload) {
  const uint64_t length = RecordBytes(payload.size());
  std::memset(out, 0, length);
  RecordHeader header{};
  header.magic = kMagic;
  header.generation = generation;
  header.sequence = sequence;
  header.payload_bytes = static_cast<uint32_t>(payload.size());
  header.type = static_cast<uint8_t>(type);
  std::memcpy(out, &header, sizeof(header));
  std::memcpy(out + sizeof(header), payload.data(), payload.size());
  header.crc32c = Crc32c(out + kUnchecked, length - kUnchecked);
  std::memcpy(out, &header, sizeof(header));
}

struct Record {
  RecordType type;
  uint64_t sequence;
  std::string_view payload;
};

// The whole record of `generation` that begins at `at`, if there is one.
std::optional<Record> GetRecord(std::string_view bytes, uint64_t at,
                                uint64_t generation) {
  if (at >= bytes.size() || bytes.size() - at < kBlockBytes) return std::nullopt;
  RecordHeader header;
  std::memcpy(&header, bytes.data() + at, sizeof(header));
  if (header.magic != kMagic || header.generation != generation) return std::nullopt;
  const uint64_t length = RecordBytes(header.payload_bytes);
  if (length > bytes.size() - at) return std::nullopt;
  if (header.crc32c != Crc32c(bytes.data() + at + kUnchecked, length - kUnchecked))
    return std::nullopt;
  if (header.type != static_cast<uint8_t>(RecordType::kSnapshot) &&
      header.type != static_cast<uint8_t>(RecordType::kChanges))
    return std::nullopt;
  return Record{static_cast<RecordType>(header.type), header.sequence,
                bytes.substr(at + sizeof(header), header.payload_bytes)};
}

}  // namespace

// A segment in memory.
struct Journal::Cursor {
  AlignedBuffer buffer;

  static Result<Cursor> Read(BlockDevice& device, DeviceRange segment) {
    if (segment.length_bytes < kBlockBytes || segment.length_bytes > kSegmentBytesMax ||
        !CheckRange(device.geometry(), segment.offset, segment.length_bytes).ok())
      return Error(ErrorCode::kCorrupt, StrCat("journal segment at ", segment.offset,
                                               " of ", segment.length_bytes, " bytes"));
    Cursor cursor{AlignedBuffer(segment.length_bytes)};
    TRY(device.Read(segment.offset, cursor.buffer.span()));
    return cursor;
  }
  std::string_view bytes() const { return {buffer.data(), buffer.size_bytes()}; }
};

uint64_t Journal::SegmentBytesMin(size_t snapshot_bytes) {
  return RecordBytes(snapshot_bytes) + 8 * kBlockBytes;
}

uint64_t Journal::SegmentBytesWanted(size_t snapshot_bytes) {
  return RecordBytes(snapshot_bytes) * 2 + 64 * kBlockBytes;
}

bool Journal::Fits(size_t payload_bytes) const {
  const uint64_t used = next_block_ * kBlockBytes;
  return 2 * RecordBytes(payload_bytes) <= segment_.length_bytes - used;
}

Result<JournalState> Journal::Load(DeviceRange segment, uint64_t generation) {
  TRY_ASSIGN(const Cursor cursor, Cursor::Read(device_, segment));
  segment_ = segment;
  generation_ = generation;
  damaged_copies_ = 0;
  last_copy_is_torn_ = false;
  const auto snapshot = GetRecord(cursor.bytes(), 0, generation);
  if (!snapshot || snapshot->type != RecordType::kSnapshot)
    return Error(ErrorCode::kCorrupt,
                 StrCat("snapshot of the journal at ", segment.offset));
  auto state = DecodeSnapshot(snapshot->payload);
  if (!state.ok()) return state.error().Within("journal");
  next_sequence_ = snapshot->sequence + 1;
  const uint64_t first = RecordBytes(snapshot->payload.size()) / kBlockBytes;
  TRY(ReplayChanges(cursor.bytes(), first, state.value()));
  return state;
}

Status Journal::ReplayChanges(std::string_view bytes, uint64_t block,
                              JournalState& state) {
  const uint64_t block_count = bytes.size() / kBlockBytes;
  for (;;) {
    next_block_ = block;
    // The first copy, else the second, which begins as many blocks behind as it is long.
    std::optional<Record> record;
    for (uint64_t at = block; at < block_count && !record; ++at) {
      const auto found = GetRecord(bytes, at * kBlockBytes, generation_);
      if (!found) continue;
      const uint64_t length = RecordBytes(found->payload.size()) / kBlockBytes;
      const bool in_place = at == block || at == block + length;
      if (found->type == RecordType::kChanges && found->sequence == next_sequence_ &&
          in_place) {
        if (at != block)
          LogInfo(StrCat("journal record ", found->sequence, " at ",
                         segment_.offset + block * kBlockBytes,
                         " is torn or damaged; its copy is good"));
        record = found;
      } else if (found->sequence >= next_sequence_) {
        return Error(ErrorCode::kCorrupt,
                     StrCat("journal record ", next_sequence_, " at ",
                            segment_.offset + block * kBlockBytes,
                            " is damaged, but record ", found->sequence, " follows"));
      }
    }
    if (!record) return OkStatus();
    const auto applied = ApplyChanges(state, record->payload);
    if (!applied.ok())
      return applied.error().Within(StrCat("journal record ", next_sequence_));
    if (last_copy_is_torn_) ++damaged_copies_;
    const uint64_t length = RecordBytes(record->payload.size()) / kBlockBytes;
    last_copy_is_torn_ = false;
    for (const uint64_t at : {block, block + length}) {
      const auto copy = GetRecord(bytes, at * kBlockBytes, generation_);
      if (!copy || copy->sequence != next_sequence_) last_copy_is_torn_ = true;
    }
    block += 2 * length;
    ++next_sequence_;
  }
}

Status Journal::Append(std::string_view changes) {
  const uint64_t length = RecordBytes(changes.size());
  CHECK(Fits(changes.size()), "journal record without room");
  AlignedBuffer buffer(2 * length);
  PutRecord(buffer.data(), RecordType::kChanges, generation_, next_sequence_, changes);
  std::memcpy(buffer.data() + length, buffer.data(), length);
  TRY(device_.Write(segment_.offset + next_block_ * kBlockBytes, buffer.span(),
                    /*fua=*/true));
  next_block_ += 2 * length / kBlockBytes;
  ++next_sequence_;
  return OkStatus();
}

Status Journal::StartSegment(DeviceRange segment, uint64_t generation,
                             std::string_view snapshot, const Publish& publish) {
  const uint64_t length = RecordBytes(snapshot.size());
  CHECK(length <= segment.length_bytes && snapshot.size() <= UINT32_MAX,
        "snapshot without room");
  AlignedBuffer buffer(length);
  PutRecord(buffer.data(), RecordType::kSnapshot, generation, next_sequence_, snapshot);
  TRY(device_.Write(segment.offset, buffer.span()));
  TRY(device_.Flush());
  TRY(publish(segment, generation));
  segment_ = segment;
  generation_ = generation;
  next_block_ = length / kBlockBytes;
  ++next_sequence_;
  damaged_copies_ = 0;
  last_copy_is_torn_ = false;
  return OkStatus();
}

Status Journal::Verify() const {
  Journal again(device_);
  TRY_ASSIGN(const JournalState state, again.Load(segment_, generation_));
  if (again.next_sequence_ != next_sequence_)
    return Error(ErrorCode::kCorrupt,
                 StrCat("journal ends at record ", again.next_sequence_, " instead of ",
                        next_sequence_));
  if (again.damaged_copies_ > 0 || (again.last_copy_is_torn_ && !last_copy_is_torn_))
    return Error(ErrorCode::kCorrupt, "one of two copies of a journal record");
  return OkStatus();
}

}  // namespace cofs::store
