// Memory for O_DIRECT: page-aligned, move-only, not initialised unless asked.
#pragma once

#include <cstddef>
#include <cstring>
#include <span>
#include <utility>

namespace cofs {

class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  // `size_bytes` is rounded up to whole pages. Throws std::bad_alloc.
  explicit AlignedBuffer(size_t size_bytes);
  static AlignedBuffer Zeroed(size_t size_bytes);
  ~AlignedBuffer();
  AlignedBuffer(AlignedBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }

  char* data() { return data_; }
  const char* data() const { return data_; }
  // The size asked for.
  size_t size_bytes() const { return size_; }
  bool empty() const { return size_ == 0; }
  std::span<char> span() { return {data_, size_}; }
  std::span<const char> span() const { return {data_, size_}; }

 private:
  char* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace cofs
