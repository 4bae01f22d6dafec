#include "extent_map/store/record_boundary.h"

#include <algorithm>

namespace cofs::store {
namespace {

constexpr size_t kLogBlockBytes = 32768;
enum FragmentType : unsigned char { kFull = 1, kFirst = 2, kMiddle = 3, kLast = 4 };

}  // namespace

void RecordBoundary::StartFragment() {
  const unsigned type = header_[6];
  payload_left_ = header_[4] | header_[5] << 8;
  const size_t block_left = kLogBlockBytes - offset_ % kLogBlockBytes;
  if (type < kFull || type > kLast || payload_left_ > block_left % kLogBlockBytes)
    is_lost_ = true;
}

void RecordBoundary::EndFragment() {
  header_have_ = 0;
  if (header_[6] == kFull || header_[6] == kLast) whole_bytes_ = offset_;
}

void RecordBoundary::Feed(std::string_view bytes) {
  while (!bytes.empty() && !is_lost_) {
    size_t part;
    const size_t block_left = kLogBlockBytes - offset_ % kLogBlockBytes;
    if (header_have_ == 0 && block_left < kHeaderBytes) {
      part = std::min(bytes.size(), block_left);  // zeros at the end of a block
      offset_ += part;
    } else if (header_have_ < kHeaderBytes) {
      part = std::min(bytes.size(), kHeaderBytes - header_have_);
      std::copy_n(bytes.begin(), part, header_.begin() + header_have_);
      header_have_ += part;
      offset_ += part;
      if (header_have_ == kHeaderBytes) {
        StartFragment();
        if (payload_left_ == 0 && !is_lost_) EndFragment();
      }
    } else {
      part = std::min(bytes.size(), payload_left_);
      payload_left_ -= part;
      offset_ += part;
      if (payload_left_ == 0) EndFragment();
    }
    bytes.remove_prefix(part);
  }
}

}  // namespace cofs::store
