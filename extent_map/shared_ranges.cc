#include "extent_map/shared_ranges.h"

#include <algorithm>

#include "base/check.h"

namespace cofs {
namespace {

// A run of blocks with one number of owners; 1 is what has no record.
struct Piece {
  DeviceOffset begin, end;
  uint32_t owners = 0;
};

DeviceOffset EndOf(const SharedRange& shared) {
  return shared.offset + shared.record.length_bytes;
}

// Appends a piece as it shall be recorded, joined with the last record if that touches
// it and has the same count. One owner has no record.
void AppendRecord(std::vector<SharedRange>& out, const Piece& piece) {
  if (piece.begin >= piece.end || piece.owners < 2) return;
  if (!out.empty() && EndOf(out.back()) == piece.begin &&
      out.back().record.reference_count == piece.owners)
    out.back().record.length_bytes += piece.end - piece.begin;
  else
    out.push_back({piece.begin, {piece.end - piece.begin, piece.owners}});
}

void AppendFreed(std::vector<DeviceRange>& out, const Piece& piece) {
  if (piece.begin >= piece.end) return;
  if (!out.empty() && out.back().end() == piece.begin)
    out.back().length_bytes += piece.end - piece.begin;
  else
    out.push_back({piece.begin, piece.end - piece.begin});
}

// Cuts `range` where its number of owners changes.
std::vector<Piece> PiecesOf(std::span<const SharedRange> existing, DeviceRange range) {
  std::vector<Piece> pieces;
  DeviceOffset done = range.offset;
  for (const SharedRange& shared : existing) {
    const DeviceOffset from = std::max(shared.offset, done);
    const DeviceOffset to = std::min(EndOf(shared), range.end());
    if (from >= to) continue;
    if (done < from) pieces.push_back({done, from, 1});
    pieces.push_back({from, to, shared.record.reference_count});
    done = to;
  }
  if (done < range.end()) pieces.push_back({done, range.end(), 1});
  return pieces;
}

// `pieces` are those of `range`, with their new counts.
SharedChange ChangeTo(std::span<const SharedRange> existing, DeviceRange range,
                      std::span<const Piece> pieces) {
  std::vector<SharedRange> result;
  for (const SharedRange& shared : existing)
    AppendRecord(result, {shared.offset, std::min(EndOf(shared), range.offset),
                          shared.record.reference_count});
  for (const Piece& piece : pieces) AppendRecord(result, piece);
  for (const SharedRange& shared : existing)
    AppendRecord(result, {std::max(shared.offset, range.end()), EndOf(shared),
                          shared.record.reference_count});

  SharedChange change;
  for (const SharedRange& shared : result) {
    const auto same =
        std::ranges::lower_bound(existing, shared.offset, {}, &SharedRange::offset);
    if (same == existing.end() || *same != shared) change.written.push_back(shared);
  }
  for (const SharedRange& shared : existing)
    if (!std::ranges::binary_search(result, shared.offset, {}, &SharedRange::offset))
      change.erased.push_back(shared.offset);
  return change;
}

void CheckRangeOfBlocks(DeviceRange range) {
  CHECK(range.length_bytes > 0 && IsBlockAligned(range.offset.value()) &&
            IsBlockAligned(range.length_bytes),
        "range at ", range.offset);
}

}  // namespace

SharedChange AddReference(std::span<const SharedRange> existing, DeviceRange range) {
  CheckRangeOfBlocks(range);
  std::vector<Piece> pieces = PiecesOf(existing, range);
  for (Piece& piece : pieces)
    if (piece.owners != kReferenceCountMax) ++piece.owners;
  return ChangeTo(existing, range, pieces);
}

SharedChange RemoveReference(std::span<const SharedRange> existing, DeviceRange range) {
  CheckRangeOfBlocks(range);
  std::vector<Piece> pieces = PiecesOf(existing, range);
  for (Piece& piece : pieces)
    if (piece.owners != kReferenceCountMax) --piece.owners;
  SharedChange change = ChangeTo(existing, range, pieces);
  for (const Piece& piece : pieces)
    if (piece.owners == 0) AppendFreed(change.freed, piece);
  return change;
}

}  // namespace cofs
