#include "extent_map/store/chunk_pool.h"

#include <algorithm>
#include <functional>
#include <iterator>

namespace cofs::store {
namespace {

// The entry of `runs` that holds `offset`, or end().
template <typename Runs>
auto Holding(Runs& runs, uint64_t offset) {
  auto next = runs.upper_bound(offset);
  if (next == runs.begin()) return runs.end();
  auto run = std::prev(next);
  return offset - run->first < run->second ? run : runs.end();
}

}  // namespace

Result<std::vector<DeviceRange>> ChunkPool::CutAtRanges(DeviceRange range) const {
  std::vector<DeviceRange> pieces;
  uint64_t begin = range.offset.value();
  uint64_t left = range.length_bytes;
  while (left > 0) {
    const auto owner = Holding(ranges_, begin);
    const uint64_t skip = owner == ranges_.end() ? 1 : begin - owner->first;
    const uint64_t part =
        skip % chunk_bytes_ == 0 ? std::min(left, owner->second - skip) : 1;
    if (skip % chunk_bytes_ != 0 || part % chunk_bytes_ != 0)
      return Error(ErrorCode::kCorrupt,
                   StrCat(range.length_bytes, " bytes at ", range.offset,
                          " are not chunks of the pool"));
    pieces.push_back({DeviceOffset{begin}, part});
    begin += part;
    left -= part;
  }
  return pieces;
}

Status ChunkPool::AddRange(DeviceRange range) {
  const uint64_t begin = range.offset.value();
  const auto next = ranges_.lower_bound(begin);
  if (range.length_bytes == 0 || begin + range.length_bytes < begin ||
      (next != ranges_.end() && next->first < begin + range.length_bytes) ||
      Holding(ranges_, begin) != ranges_.end())
    return Error(ErrorCode::kCorrupt,
                 StrCat("pool range at ", begin, " of ", range.length_bytes, " bytes"));
  ranges_.emplace(begin, range.length_bytes);
  total_bytes_ += range.length_bytes;
  const uint64_t usable = RoundDown(range.length_bytes, chunk_bytes_);
  if (usable > 0) free_.emplace(begin, usable);
  free_bytes_ += usable;
  return OkStatus();
}

DeviceRange ChunkPool::TakeFrom(Runs::iterator run, uint64_t offset,
                                uint64_t length_bytes) {
  const uint64_t begin = run->first;
  const uint64_t end = begin + run->second;
  if (offset > begin)
    run->second = offset - begin;
  else
    free_.erase(run);
  if (offset + length_bytes < end)
    free_.emplace(offset + length_bytes, end - offset - length_bytes);
  free_bytes_ -= length_bytes;
  return {DeviceOffset{offset}, length_bytes};
}

Status ChunkPool::Take(DeviceRange range) {
  TRY_ASSIGN(const auto pieces, CutAtRanges(range));
  for (const DeviceRange& piece : pieces) {
    const uint64_t begin = piece.offset.value();
    const auto run = Holding(free_, begin);
    if (run == free_.end() || piece.length_bytes > run->first + run->second - begin)
      return Error(ErrorCode::kCorrupt, StrCat("chunks at ", begin, " of ",
                                               piece.length_bytes, " bytes taken twice"));
    TakeFrom(run, begin, piece.length_bytes);
  }
  return OkStatus();
}

Result<std::vector<DeviceRange>> ChunkPool::Allocate(uint64_t length_bytes,
                                                     std::optional<DeviceOffset> goal) {
  uint64_t left = RoundUp(std::max<uint64_t>(length_bytes, 1), chunk_bytes_);
  if (left > free_bytes_) return Error(ErrorCode::kNoSpace, "pool of the store");
  std::vector<DeviceRange> taken;
  if (goal) {
    const auto run = free_.find(goal->value());
    if (run != free_.end()) {
      taken.push_back(TakeFrom(run, run->first, std::min(left, run->second)));
      left -= taken.back().length_bytes;
    }
  }
  while (left > 0) {
    auto best = free_.end();  // the first that holds all, else the largest
    for (auto run = free_.begin(); run != free_.end(); ++run) {
      if (run->second >= left) {
        best = run;
        break;
      }
      if (best == free_.end() || run->second > best->second) best = run;
    }
    taken.push_back(TakeFrom(best, best->first, std::min(left, best->second)));
    left -= taken.back().length_bytes;
  }
  return taken;
}

Result<DeviceRange> ChunkPool::AllocateRun(uint64_t length_bytes, uint64_t least_bytes) {
  const uint64_t wanted = RoundUp(std::max<uint64_t>(length_bytes, 1), chunk_bytes_);
  auto best = free_.end();
  for (auto run = free_.end(); run != free_.begin();) {
    --run;
    if (best == free_.end() || run->second > best->second) best = run;
    if (best->second >= wanted) break;
  }
  if (best == free_.end() || best->second < least_bytes)
    return Error(ErrorCode::kNoSpace,
                 StrCat("one run of ", least_bytes, " bytes in the pool"));
  const uint64_t length = std::min(best->second, wanted);
  return TakeFrom(best, best->first + best->second - length, length);
}

std::vector<DeviceRange> ChunkPool::GiveBack(uint64_t bytes_max, DeviceOffset kept) {
  const uint64_t least = kGiveBackChunksMin * chunk_bytes_;
  std::vector<DeviceRange> runs;
  for (const auto& [offset, length] : free_)
    if (length >= least && Holding(ranges_, offset)->first != kept.value())
      runs.push_back({DeviceOffset{offset}, length});
  std::ranges::sort(runs, std::ranges::greater(), &DeviceRange::length_bytes);
  std::vector<DeviceRange> given;
  uint64_t left = RoundDown(bytes_max, chunk_bytes_);
  for (const DeviceRange& run : runs) {
    if (left < least || given.size() == kGiveBackRunsMax) break;
    const uint64_t part = std::min(run.length_bytes, left);
    const uint64_t offset = run.end().value() - part;
    given.push_back(TakeFrom(free_.find(run.offset.value()), offset, part));
    RemoveRange(given.back());
    left -= part;
  }
  return given;
}

void ChunkPool::RemoveRange(DeviceRange range) {
  const auto owner = Holding(ranges_, range.offset.value());
  const uint64_t owner_end = owner->first + owner->second;
  const uint64_t end = range.end().value();
  if (owner->first < range.offset.value())
    owner->second = range.offset.value() - owner->first;
  else
    ranges_.erase(owner);
  if (end < owner_end) ranges_.emplace(end, owner_end - end);
  total_bytes_ -= range.length_bytes;
}

void ChunkPool::Release(DeviceRange range) {
  const auto pieces = CutAtRanges(range);
  for (const DeviceRange& piece : pieces.value()) ReleasePiece(piece);
}

void ChunkPool::ReleasePiece(DeviceRange piece) {
  const uint64_t begin = piece.offset.value();
  uint64_t end = piece.end().value();
  auto next = free_.lower_bound(begin);
  CHECK(
      (next == free_.end() || next->first >= end) && Holding(free_, begin) == free_.end(),
      "chunks at ", begin, " freed twice");
  free_bytes_ += piece.length_bytes;
  const auto owner = Holding(ranges_, begin);
  if (next != free_.end() && next->first == end && end < owner->first + owner->second) {
    end += next->second;
    next = free_.erase(next);
  }
  if (next != free_.begin()) {
    const auto before = std::prev(next);
    if (before->first + before->second == begin && begin > owner->first) {
      before->second = end - before->first;
      return;
    }
  }
  free_.emplace(begin, end - begin);
}

}  // namespace cofs::store
