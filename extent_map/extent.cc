#include "extent_map/extent.h"

#include <algorithm>

#include "base/check.h"

namespace cofs {
namespace {

// Appends `piece`, joined with the last one where it continues it.
void AppendMerged(std::vector<Extent>& out, const Extent& piece) {
  if (piece.length_bytes == 0) return;
  if (!out.empty() && CanMerge(out.back(), piece))
    out.back().length_bytes += piece.length_bytes;
  else
    out.push_back(piece);
}

// Appends the parts of `old` that `replacement` does not map to the same blocks.
void AppendUnmapped(std::vector<Extent>& out, const Extent& old,
                    std::span<const Extent> replacement) {
  FileOffset done = old.file_offset;
  auto kept = std::ranges::upper_bound(replacement, done, {}, &Extent::file_end);
  for (; kept != replacement.end() && kept->file_offset < old.file_end(); ++kept) {
    const Extent common = Clip(*kept, done, old.file_end());
    if (common.device_offset != old.device_offset + (common.file_offset - old.file_offset))
      continue;
    AppendMerged(out, Clip(old, done, common.file_offset));
    done = common.file_end();
  }
  AppendMerged(out, Clip(old, done, old.file_end()));
}

void CheckReplacement(std::span<const Extent> replacement, FileOffset begin,
                      FileOffset end) {
  FileOffset last = begin;
  for (const Extent& extent : replacement) {
    CHECK(extent.length_bytes > 0 && IsBlockAligned(extent.file_offset.value()) &&
              IsBlockAligned(extent.device_offset.value()) &&
              IsBlockAligned(extent.length_bytes),
          "replacement at ", extent.file_offset);
    CHECK(extent.file_offset >= last && extent.file_end() <= end, "replacement at ",
          extent.file_offset);
    last = extent.file_end();
  }
}

}  // namespace

Extent Clip(const Extent& extent, FileOffset begin, FileOffset end) {
  const FileOffset from = std::max(extent.file_offset, begin);
  const FileOffset to = std::min(extent.file_end(), end);
  Extent out = extent;
  out.length_bytes = 0;
  if (from >= to) return out;
  out.file_offset = from;
  out.device_offset = extent.device_offset + (from - extent.file_offset);
  out.length_bytes = to - from;
  return out;
}

bool CanMerge(const Extent& a, const Extent& b) {
  return a.flags == b.flags && a.file_end() == b.file_offset &&
         a.device_end() == b.device_offset;
}

ExtentChange ReplaceRange(std::span<const Extent> existing, FileOffset begin,
                          FileOffset end, std::span<const Extent> replacement) {
  CHECK(begin < end && IsBlockAligned(begin.value()) && IsBlockAligned(end.value()),
        "range ", begin, " to ", end);
  CheckReplacement(replacement, begin, end);

  // What is kept before the range, the replacement, what is kept after it.
  ExtentChange change;
  std::vector<Extent> pieces;
  for (const Extent& old : existing)
    if (old.file_offset < begin) pieces.push_back(Clip(old, FileOffset{}, begin));
  pieces.insert(pieces.end(), replacement.begin(), replacement.end());
  for (const Extent& old : existing) {
    if (old.file_end() > end) pieces.push_back(Clip(old, end, old.file_end()));
    AppendUnmapped(change.dropped, Clip(old, begin, end), replacement);
  }
  std::vector<Extent> result;
  for (const Extent& piece : pieces) AppendMerged(result, piece);

  // Records are told apart by their file offset: only the difference is written.
  for (const Extent& extent : result) {
    const auto same =
        std::ranges::lower_bound(existing, extent.file_offset, {}, &Extent::file_offset);
    if (same == existing.end() || *same != extent) change.written.push_back(extent);
  }
  for (const Extent& old : existing)
    if (!std::ranges::binary_search(result, old.file_offset, {}, &Extent::file_offset))
      change.erased.push_back(old.file_offset);
  return change;
}

void ApplyChange(std::vector<Extent>& extents, const ExtentChange& change) {
  if (change.erased.empty() && change.written.empty()) return;
  FileOffset first{UINT64_MAX}, last{};
  for (FileOffset offset : change.erased) {
    first = std::min(first, offset);
    last = std::max(last, offset);
  }
  for (const Extent& extent : change.written) {
    first = std::min(first, extent.file_offset);
    last = std::max(last, extent.file_offset);
  }
  const auto window_begin =
      std::ranges::lower_bound(extents, first, {}, &Extent::file_offset);
  const auto window_end = std::ranges::upper_bound(extents, last, {}, &Extent::file_offset);

  std::vector<Extent> window = change.written;
  for (auto old = window_begin; old != window_end; ++old) {
    const FileOffset key = old->file_offset;
    if (!std::ranges::binary_search(change.written, key, {}, &Extent::file_offset) &&
        !std::ranges::binary_search(change.erased, key))
      window.push_back(*old);
  }
  std::ranges::sort(window, {}, &Extent::file_offset);

  // Overwrite what is there and move the rest of the list only by the difference.
  const size_t had = static_cast<size_t>(window_end - window_begin);
  const size_t common = std::min(had, window.size());
  const auto end_of_common = std::copy_n(window.begin(), common, window_begin);
  if (had > common)
    extents.erase(end_of_common, window_end);
  else
    extents.insert(end_of_common, window.begin() + static_cast<ptrdiff_t>(common),
                   window.end());
}

}  // namespace cofs
