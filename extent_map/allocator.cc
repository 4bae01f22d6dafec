#include "extent_map/allocator.h"

#include <algorithm>
#include <map>
#include <memory_resource>
#include <set>

#include "base/codec.h"
#include "base/mutex.h"

namespace cofs {
namespace allocator_index {

struct BySize {
  uint64_t length_bytes;
  uint64_t offset;
  auto operator<=>(const BySize&) const = default;
};

// Counts, so that a test can prove that a search is not linear.
struct CountingLess {
  uint64_t* count;
  template <typename T>
  bool operator()(const T& a, const T& b) const {
    ++*count;
    return a < b;
  }
};

}  // namespace allocator_index

namespace {

using allocator_index::BySize;
using allocator_index::CountingLess;

// "cofsfree", little-endian.
constexpr uint64_t kImageMagic = 0x6565726673666f63;

uint64_t Distance(uint64_t a, uint64_t b) { return a > b ? a - b : b - a; }

std::string Describe(DeviceRange range) {
  return StrCat("blocks at ", range.offset, ", ", range.length_bytes, " bytes");
}

}  // namespace

// Two indexes over the same runs. Their nodes come from pools, 48 bytes each, without
// malloc's overhead.
// Invariants: every run is in both; runs are block-aligned, inside the volume, not empty
// and never touch; free_bytes is their sum.
struct Allocator::Rep {
  using OffsetIndex = std::pmr::map<uint64_t, uint64_t, CountingLess>;
  using SizeIndex = std::pmr::set<BySize, CountingLess>;

  explicit Rep(uint64_t bytes) : volume_bytes(RoundDown(bytes, kBlockBytes)) {}

  void Insert(uint64_t offset, uint64_t length_bytes) REQUIRES(mutex);
  void Erase(OffsetIndex::iterator run) REQUIRES(mutex);
  // Takes [offset, offset + length_bytes), which `run` holds.
  void Cut(OffsetIndex::iterator run, uint64_t offset, uint64_t length_bytes)
      REQUIRES(mutex);
  // The run that holds all of the range, or end().
  OffsetIndex::iterator Holding(uint64_t offset, uint64_t length_bytes) REQUIRES(mutex);
  // The smallest run of at least `length_bytes`, of those the nearest to `goal`.
  OffsetIndex::iterator BestFit(uint64_t length_bytes, uint64_t goal) REQUIRES(mutex);
  // Which of the runs of one exact length is nearest to `goal`. There is one.
  BySize NearestOfLength(uint64_t length_bytes, uint64_t goal) REQUIRES(mutex);
  bool IsInside(DeviceRange range) const {
    return range.length_bytes > 0 && IsBlockAligned(range.offset.value()) &&
           IsBlockAligned(range.length_bytes) && range.offset.value() <= volume_bytes &&
           range.length_bytes <= volume_bytes - range.offset.value();
  }

  const uint64_t volume_bytes;
  mutable Mutex mutex;  // a leaf
  uint64_t comparison_count GUARDED_BY(mutex) = 0;
  std::pmr::unsynchronized_pool_resource pool GUARDED_BY(mutex);
  OffsetIndex by_offset GUARDED_BY(mutex){CountingLess{&comparison_count}, &pool};
  SizeIndex by_size GUARDED_BY(mutex){CountingLess{&comparison_count}, &pool};
  uint64_t free_bytes GUARDED_BY(mutex) = 0;
};

void Allocator::Rep::Insert(uint64_t offset, uint64_t length_bytes) {
  by_offset.emplace(offset, length_bytes);
  by_size.insert({length_bytes, offset});
  free_bytes += length_bytes;
}

void Allocator::Rep::Erase(OffsetIndex::iterator run) {
  free_bytes -= run->second;
  const size_t erased = by_size.erase({run->second, run->first});
  CHECK(erased == 1, "run at ", run->first, " is missing among the sizes");
  by_offset.erase(run);
}

void Allocator::Rep::Cut(OffsetIndex::iterator run, uint64_t offset,
                         uint64_t length_bytes) {
  const uint64_t begin = run->first;
  const uint64_t end = begin + run->second;
  CHECK(begin <= offset && offset + length_bytes <= end, "cut outside the run");
  Erase(run);
  if (begin < offset) Insert(begin, offset - begin);
  if (offset + length_bytes < end)
    Insert(offset + length_bytes, end - offset - length_bytes);
}

Allocator::Rep::OffsetIndex::iterator Allocator::Rep::Holding(uint64_t offset,
                                                              uint64_t length_bytes) {
  auto run = by_offset.upper_bound(offset);
  if (run == by_offset.begin()) return by_offset.end();
  --run;
  const uint64_t inside = offset - run->first;
  return inside < run->second && length_bytes <= run->second - inside ? run
                                                                      : by_offset.end();
}

BySize Allocator::Rep::NearestOfLength(uint64_t length_bytes, uint64_t goal) {
  const auto after = by_size.lower_bound({length_bytes, goal});
  const bool has_after = after != by_size.end() && after->length_bytes == length_bytes;
  if (after == by_size.begin()) return *after;
  const auto before = std::prev(after);
  if (before->length_bytes != length_bytes) return *after;
  if (!has_after) return *before;
  return Distance(before->offset, goal) <= Distance(after->offset, goal) ? *before : *after;
}

Allocator::Rep::OffsetIndex::iterator Allocator::Rep::BestFit(uint64_t length_bytes,
                                                              uint64_t goal) {
  const auto smallest = by_size.lower_bound({length_bytes, 0});
  if (smallest == by_size.end()) return by_offset.end();
  return by_offset.find(NearestOfLength(smallest->length_bytes, goal).offset);
}

Allocator::Allocator(uint64_t volume_bytes) : rep_(std::make_unique<Rep>(volume_bytes)) {}

Allocator::~Allocator() = default;

Result<std::vector<DeviceRange>> Allocator::Allocate(const AllocateOptions& options) {
  CHECK(options.length_bytes > 0 && IsBlockAligned(options.length_bytes) &&
            options.run_count_max > 0,
        "allocation of ", options.length_bytes);
  Rep& rep = *rep_;
  const uint64_t goal = options.goal.value_or(DeviceOffset{}).value();
  std::vector<DeviceRange> taken;
  MutexLock lock(rep.mutex);

  if (options.goal) {
    const auto run = rep.Holding(goal, options.length_bytes);
    if (run != rep.by_offset.end()) {
      rep.Cut(run, goal, options.length_bytes);
      taken.push_back({DeviceOffset{goal}, options.length_bytes});
      return taken;
    }
  }
  uint64_t missing_bytes = options.length_bytes;
  while (missing_bytes > 0 && taken.size() < options.run_count_max) {
    auto run = rep.BestFit(missing_bytes, goal);
    if (run == rep.by_offset.end()) {
      if (rep.by_size.empty()) break;
      const uint64_t largest = rep.by_size.rbegin()->length_bytes;
      run = rep.by_offset.find(rep.NearestOfLength(largest, goal).offset);
    }
    const DeviceRange piece{DeviceOffset{run->first}, std::min(run->second, missing_bytes)};
    rep.Cut(run, piece.offset.value(), piece.length_bytes);
    taken.push_back(piece);
    missing_bytes -= piece.length_bytes;
  }
  if (taken.empty() || (missing_bytes > 0 && !options.may_be_short)) {
    // Each piece was the front of a run of its own, and maybe all of it.
    for (const DeviceRange& piece : taken) {
      uint64_t length_bytes = piece.length_bytes;
      const auto rest = rep.by_offset.find(piece.end().value());
      if (rest != rep.by_offset.end()) {
        length_bytes += rest->second;
        rep.Erase(rest);
      }
      rep.Insert(piece.offset.value(), length_bytes);
    }
    return Error(ErrorCode::kNoSpace, StrCat(options.length_bytes, " bytes of data, ",
                                             rep.free_bytes, " free in ",
                                             rep.by_offset.size(), " runs"));
  }
  std::ranges::sort(taken, {}, &DeviceRange::offset);
  return taken;
}

Status Allocator::Release(DeviceRange range) {
  Rep& rep = *rep_;
  if (!rep.IsInside(range))
    return Error(ErrorCode::kCorrupt, Describe(range) + " are not inside the volume");
  MutexLock lock(rep.mutex);
  uint64_t begin = range.offset.value();
  uint64_t end = range.end().value();
  auto after = rep.by_offset.lower_bound(begin);
  auto before = rep.by_offset.end();
  if (after != rep.by_offset.begin()) {
    before = std::prev(after);
    if (before->first + before->second > begin)
      return Error(ErrorCode::kCorrupt, Describe(range) + " are free already");
    if (before->first + before->second < begin) before = rep.by_offset.end();
  }
  if (after != rep.by_offset.end()) {
    if (after->first < end)
      return Error(ErrorCode::kCorrupt, Describe(range) + " are free already");
    if (after->first > end) after = rep.by_offset.end();
  }
  if (before != rep.by_offset.end()) {
    begin = before->first;
    rep.Erase(before);
  }
  if (after != rep.by_offset.end()) {
    end = after->first + after->second;
    rep.Erase(after);
  }
  rep.Insert(begin, end - begin);
  return OkStatus();
}

Status Allocator::Take(DeviceRange range) {
  Rep& rep = *rep_;
  if (!rep.IsInside(range))
    return Error(ErrorCode::kCorrupt, Describe(range) + " are not inside the volume");
  MutexLock lock(rep.mutex);
  const auto run = rep.Holding(range.offset.value(), range.length_bytes);
  if (run == rep.by_offset.end())
    return Error(ErrorCode::kCorrupt, Describe(range) + " are in use already");
  rep.Cut(run, range.offset.value(), range.length_bytes);
  return OkStatus();
}

uint64_t Allocator::free_bytes() const {
  MutexLock lock(rep_->mutex);
  return rep_->free_bytes;
}

uint64_t Allocator::largest_run_bytes() const {
  MutexLock lock(rep_->mutex);
  return rep_->by_size.empty() ? 0 : rep_->by_size.rbegin()->length_bytes;
}

uint64_t Allocator::run_count() const {
  MutexLock lock(rep_->mutex);
  return rep_->by_offset.size();
}

std::vector<DeviceRange> Allocator::FreeRuns() const {
  MutexLock lock(rep_->mutex);
  std::vector<DeviceRange> runs;
  runs.reserve(rep_->by_offset.size());
  for (const auto& [offset, length_bytes] : rep_->by_offset)
    runs.push_back({DeviceOffset{offset}, length_bytes});
  return runs;
}

uint64_t Allocator::comparison_count() const {
  MutexLock lock(rep_->mutex);
  return rep_->comparison_count;
}

// magic(8) volume bytes(8) free bytes(8) run count(8), then for each run in order of
// offset varint(blocks since the end of the run before) varint(blocks), then zeros up to
// the next block.
std::string Allocator::EncodeImage() const {
  MutexLock lock(rep_->mutex);
  std::string image;
  ByteWriter writer(image);
  writer.Little(kImageMagic);
  writer.Little(rep_->volume_bytes);
  writer.Little(rep_->free_bytes);
  writer.Little(static_cast<uint64_t>(rep_->by_offset.size()));
  uint64_t last_end = 0;
  for (const auto& [offset, length_bytes] : rep_->by_offset) {
    writer.Varint((offset - last_end) >> kBlockShift);
    writer.Varint(length_bytes >> kBlockShift);
    last_end = offset + length_bytes;
  }
  image.resize(RoundUp(image.size(), kBlockBytes));
  return image;
}

Result<std::unique_ptr<Allocator>> Allocator::DecodeImage(std::string_view image,
                                                          uint64_t volume_bytes) {
  const Error corrupt(ErrorCode::kCorrupt, "allocator image");
  auto allocator = std::make_unique<Allocator>(volume_bytes);
  Rep& rep = *allocator->rep_;
  MutexLock lock(rep.mutex);
  ByteReader reader(image);
  const bool is_image = reader.Little<uint64_t>() == kImageMagic;
  const bool is_of_volume = reader.Little<uint64_t>() == rep.volume_bytes;
  const uint64_t free_bytes = reader.Little<uint64_t>();
  const uint64_t run_count = reader.Little<uint64_t>();
  if (!reader.ok() || !is_image || !is_of_volume) return corrupt;

  const uint64_t volume_blocks = rep.volume_bytes >> kBlockShift;
  uint64_t last_end = 0;
  for (uint64_t index = 0; index < run_count; ++index) {
    const uint64_t gap = reader.Varint();
    const uint64_t length = reader.Varint();
    if (!reader.ok() || length == 0 || (gap == 0 && index > 0) ||
        gap > volume_blocks - last_end || length > volume_blocks - last_end - gap)
      return corrupt;
    const uint64_t begin = last_end + gap;
    // In order: the end is the right place, without a search.
    rep.by_offset.emplace_hint(rep.by_offset.end(), begin << kBlockShift,
                               length << kBlockShift);
    rep.by_size.insert({length << kBlockShift, begin << kBlockShift});
    rep.free_bytes += length << kBlockShift;
    last_end = begin + length;
  }
  const size_t used_bytes = image.size() - reader.remaining_bytes();
  if (rep.free_bytes != free_bytes || image.size() != RoundUp(used_bytes, kBlockBytes) ||
      reader.Rest().find_first_not_of('\0') != std::string_view::npos)
    return corrupt;
  lock.Unlock();
  return allocator;
}

}  // namespace cofs
