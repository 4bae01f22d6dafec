// Arguments of ioctl(2) as they come in and go out.
#pragma once

#include <cstring>
#include <span>

#include "fs/fuse/cofs_ioctl.h"

namespace cofs {

// `out` from the caller's bytes; false when there are too few.
template <typename T>
bool ReadArgument(std::span<const char> in, T* out) {
  if (in.size() < sizeof(T)) return false;
  std::memcpy(out, in.data(), sizeof(T));
  return true;
}

template <typename T>
std::span<const char> BytesOf(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof(value)};
}

}  // namespace cofs
