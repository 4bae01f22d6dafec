#include "base/aligned_buffer.h"

#include <cstdlib>
#include <new>

#include "base/types.h"

namespace cofs {

AlignedBuffer::AlignedBuffer(size_t size_bytes) : size_(size_bytes) {
  if (size_bytes == 0) return;
  data_ = static_cast<char*>(std::aligned_alloc(kBlockBytes, RoundUp(size_bytes, kBlockBytes)));
  if (data_ == nullptr) throw std::bad_alloc();
}

AlignedBuffer AlignedBuffer::Zeroed(size_t size_bytes) {
  AlignedBuffer buffer(size_bytes);
  if (size_bytes > 0) std::memset(buffer.data_, 0, RoundUp(size_bytes, kBlockBytes));
  return buffer;
}

AlignedBuffer::~AlignedBuffer() { std::free(data_); }

}  // namespace cofs
