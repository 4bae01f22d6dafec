// Byte codecs for records. Keys are big-endian, so that RocksDB's byte order is
// the numeric order; values are little-endian. Every read is bounds-checked: a
// reader that has run past its end answers zeros and ok() == false for ever.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>

namespace cofs {

static_assert(std::endian::native == std::endian::little,
              "cofs stores little-endian values by memory copy");

class ByteWriter {
 public:
  explicit ByteWriter(std::string& out) : out_(out) {}
  template <typename T>
    requires std::is_unsigned_v<T>
  void Little(T value) {
    out_.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  void Big64(uint64_t value) {
    for (int shift = 56; shift >= 0; shift -= 8)
      out_.push_back(static_cast<char>(value >> shift));
  }
  void U8(uint8_t value) { out_.push_back(static_cast<char>(value)); }
  // LEB128, at most 10 bytes.
  void Varint(uint64_t value) {
    for (; value >= 0x80; value >>= 7) out_.push_back(static_cast<char>(value | 0x80));
    out_.push_back(static_cast<char>(value));
  }
  void Bytes(std::string_view bytes) { out_.append(bytes); }
  void LengthAndBytes(std::string_view bytes) {
    Varint(bytes.size());
    Bytes(bytes);
  }

 private:
  std::string& out_;
};

class ByteReader {
 public:
  explicit ByteReader(std::string_view in) : in_(in) {}
  bool ok() const { return ok_; }
  // All was read, and nothing more than there was.
  bool Finished() const { return ok_ && in_.empty(); }
  size_t remaining_bytes() const { return in_.size(); }

  template <typename T>
    requires std::is_unsigned_v<T>
  T Little() {
    T value = 0;
    if (Take(sizeof(T))) std::memcpy(&value, taken_, sizeof(T));
    return value;
  }
  uint64_t Big64() {
    uint64_t value = 0;
    if (Take(8))
      for (int i = 0; i < 8; ++i) value = value << 8 | static_cast<unsigned char>(taken_[i]);
    return value;
  }
  uint8_t U8() { return Little<uint8_t>(); }
  // Refuses encodings that are longer than needed, so that each value has one.
  uint64_t Varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 70; shift += 7) {
      const uint8_t byte = U8();
      if (!ok_) return 0;
      if (shift == 63 && byte > 1) break;
      if (shift > 0 && byte == 0) break;
      value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if ((byte & 0x80) == 0) return value;
    }
    ok_ = false;
    return 0;
  }
  std::string_view Bytes(size_t count) {
    if (!Take(count)) return {};
    return {taken_, count};
  }
  std::string_view LengthAndBytes() {
    const uint64_t count = Varint();
    if (count > in_.size()) ok_ = false;
    return ok_ ? Bytes(count) : std::string_view{};
  }
  std::string_view Rest() { return Bytes(in_.size()); }

 private:
  bool Take(size_t count) {
    if (!ok_ || count > in_.size()) {
      ok_ = false;
      return false;
    }
    taken_ = in_.data();
    in_.remove_prefix(count);
    return true;
  }

  std::string_view in_;
  const char* taken_ = nullptr;
  bool ok_ = true;
};

}  // namespace cofs
