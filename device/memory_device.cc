#include "device/memory_device.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "device/software_queue.h"

namespace cofs {
namespace {

// Calls visit(page_index, offset_in_page, offset_in_range, length_bytes) for each page
// that [offset, offset+length) touches.
template <typename Visit>
void ForEachPage(uint64_t offset_bytes, uint64_t length_bytes, Visit visit) {
  for (uint64_t done = 0; done < length_bytes;) {
    const uint64_t position = offset_bytes + done;
    const uint64_t in_page = position % MemoryDevice::kPageBytes;
    const uint64_t piece =
        std::min(length_bytes - done, MemoryDevice::kPageBytes - in_page);
    visit(position / MemoryDevice::kPageBytes, in_page, done, piece);
    done += piece;
  }
}

}  // namespace

MemoryDevice::PageReference MemoryDevice::PageReference::Share() const {
  page_->reference_count.fetch_add(1, std::memory_order_relaxed);
  return PageReference(page_);
}

MemoryDevice::Page& MemoryDevice::PageReference::Own() {
  // Only a holder can add references, so one is one for good. Acquire: what other
  // forks read from the page before they let go of it comes before our change.
  if (page_->reference_count.load(std::memory_order_acquire) > 1) {
    auto copy = std::make_unique<Page>();
    copy->bytes = page_->bytes;
    Drop();
    page_ = copy.release();
  }
  return *page_;
}

void MemoryDevice::PageReference::Drop() {
  if (page_ == nullptr) return;
  if (page_->reference_count.fetch_sub(1, std::memory_order_acq_rel) == 1) delete page_;
  page_ = nullptr;
}

MemoryDevice::MemoryDevice(uint64_t size_bytes) : MemoryDevice(size_bytes, Options()) {}

MemoryDevice::MemoryDevice(uint64_t size_bytes, Options options)
    : options_(std::move(options)), stripes_(new Stripe[kStripeCount]) {
  geometry_.path = options_.path;
  geometry_.size_bytes = RoundDown(size_bytes, kBlockBytes);
  geometry_.can_discard = true;
  geometry_.can_write_zeroes = true;
}

MemoryDevice::~MemoryDevice() = default;

Status MemoryDevice::Execute(std::span<IoOp> ops) {
  Status first = OkStatus();
  for (IoOp& op : ops) {
    op.error.reset();
    const Status status = ExecuteOne(op);
    if (status.ok()) continue;
    op.error = status.error();
    if (first.ok()) first = status;
  }
  return first;
}

Status MemoryDevice::ExecuteOne(IoOp& op) {
  TRY(CheckOp(geometry_, op));
  switch (op.kind) {
    case IoKind::kRead:
      Peek(op.offset.value(), {op.data, op.length_bytes});
      break;
    case IoKind::kWrite:
      Poke(op.offset.value(), {op.data, op.length_bytes});
      break;
    case IoKind::kWriteZeroes:
    case IoKind::kDiscard:
      Clear(op.offset.value(), op.length_bytes);
      break;
    case IoKind::kFlush:
      break;
  }
  return OkStatus();
}

std::unique_ptr<IoQueue> MemoryDevice::NewQueue(unsigned depth) {
  std::optional<uint64_t> seed = options_.queue_shuffle_seed;
  if (seed) *seed += next_queue_.fetch_add(1, std::memory_order_relaxed);
  return std::make_unique<SoftwareQueue>(*this, depth, seed);
}

Status MemoryDevice::Copy(std::span<const DeviceRange> sources,
                          DeviceOffset destination) {
  if (!options_.copy_limits) return BlockDevice::Copy(sources, destination);
  const DeviceCopyLimits& limits = *options_.copy_limits;
  uint64_t total_bytes = 0;
  for (const DeviceRange& source : sources) {
    TRY(CheckRange(geometry_, source.offset, source.length_bytes));
    if (source.length_bytes > limits.segment_bytes_max)
      return Error(ErrorCode::kIo, "copy: a segment is over the limit");
    total_bytes += source.length_bytes;
  }
  TRY(CheckRange(geometry_, destination, total_bytes));
  if (sources.size() > limits.segments_max || total_bytes > limits.command_bytes_max)
    return Error(ErrorCode::kIo, "copy: the command is over the limit");
  std::vector<char> buffer(std::min(total_bytes, kPageBytes));
  uint64_t position = destination.value();
  for (const DeviceRange& source : sources) {
    for (uint64_t done = 0; done < source.length_bytes;) {
      const uint64_t piece =
          std::min<uint64_t>(buffer.size(), source.length_bytes - done);
      Peek(source.offset.value() + done, {buffer.data(), piece});
      Poke(position, {buffer.data(), piece});
      done += piece;
      position += piece;
    }
  }
  return OkStatus();
}

std::unique_ptr<MemoryDevice> MemoryDevice::Fork() const {
  auto fork = std::make_unique<MemoryDevice>(geometry_.size_bytes, options_);
  for (size_t i = 0; i < kStripeCount; ++i) {
    const Stripe& from = stripes_[i];
    Stripe& to = fork->stripes_[i];
    MutexLock from_lock(from.mutex);
    MutexLock to_lock(to.mutex);
    to.pages.reserve(from.pages.size());
    for (const auto& [index, page] : from.pages) to.pages.emplace(index, page.Share());
  }
  return fork;
}

void MemoryDevice::Poke(uint64_t offset_bytes, std::span<const char> data) {
  CHECK(offset_bytes <= geometry_.size_bytes &&
            data.size() <= geometry_.size_bytes - offset_bytes,
        "outside of the memory");
  ForEachPage(
      offset_bytes, data.size(),
      [&](uint64_t index, uint64_t in_page, uint64_t done, uint64_t length_bytes) {
        Stripe& stripe = StripeOf(index);
        MutexLock lock(stripe.mutex);
        auto found = stripe.pages.find(index);
        if (found == stripe.pages.end()) {
          auto page = std::make_unique<Page>();
          page->bytes.fill(0);
          found = stripe.pages.emplace(index, PageReference(page.release())).first;
        }
        std::memcpy(found->second.Own().bytes.data() + in_page, data.data() + done,
                    length_bytes);
      });
}

void MemoryDevice::Peek(uint64_t offset_bytes, std::span<char> out) const {
  CHECK(offset_bytes <= geometry_.size_bytes &&
            out.size() <= geometry_.size_bytes - offset_bytes,
        "outside of the memory");
  ForEachPage(
      offset_bytes, out.size(),
      [&](uint64_t index, uint64_t in_page, uint64_t done, uint64_t length_bytes) {
        Stripe& stripe = StripeOf(index);
        MutexLock lock(stripe.mutex);
        const auto found = stripe.pages.find(index);
        if (found == stripe.pages.end()) {
          std::memset(out.data() + done, 0, length_bytes);
        } else {
          std::memcpy(out.data() + done, found->second.page().bytes.data() + in_page,
                      length_bytes);
        }
      });
}

void MemoryDevice::Clear(uint64_t offset_bytes, uint64_t length_bytes) {
  const uint64_t end = offset_bytes + length_bytes;
  const uint64_t first_whole = RoundUp(offset_bytes, kPageBytes);
  const uint64_t end_whole = RoundDown(end, kPageBytes);
  if (first_whole >= end_whole) {
    ForEachPage(offset_bytes, length_bytes,
                [&](uint64_t index, uint64_t in_page, uint64_t, uint64_t piece) {
                  Stripe& stripe = StripeOf(index);
                  MutexLock lock(stripe.mutex);
                  const auto found = stripe.pages.find(index);
                  if (found != stripe.pages.end())
                    std::memset(found->second.Own().bytes.data() + in_page, 0, piece);
                });
    return;
  }
  if (offset_bytes < first_whole) Clear(offset_bytes, first_whole - offset_bytes);
  if (end_whole < end) Clear(end_whole, end - end_whole);
  const uint64_t first_index = first_whole / kPageBytes,
                 end_index = end_whole / kPageBytes;
  if (end_index - first_index < kStripeCount) {
    for (uint64_t index = first_index; index < end_index; ++index) {
      Stripe& stripe = StripeOf(index);
      MutexLock lock(stripe.mutex);
      stripe.pages.erase(index);
    }
    return;
  }
  // A long range: by what is there, not by what could be.
  for (size_t i = 0; i < kStripeCount; ++i) {
    Stripe& stripe = stripes_[i];
    MutexLock lock(stripe.mutex);
    std::erase_if(stripe.pages, [&](const auto& entry) {
      return entry.first >= first_index && entry.first < end_index;
    });
  }
}

uint64_t MemoryDevice::resident_bytes() const {
  uint64_t page_count = 0;
  for (size_t i = 0; i < kStripeCount; ++i) {
    MutexLock lock(stripes_[i].mutex);
    page_count += stripes_[i].pages.size();
  }
  return page_count * kPageBytes;
}

}  // namespace cofs
