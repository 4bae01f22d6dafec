// RecordBoundary: finds where records end in the byte stream of a RocksDB log.
//
// RocksDB hands over a log in pieces that may end inside a record, and a sync may come
// between two of them; a sync group must end with a whole record, or a recovery that
// takes every acknowledged byte for whole would refuse the log. Format (RocksDB, "Write
// Ahead Log File Format"): blocks of 32 KiB of fragments, each with crc32c (4), length
// (2, little-endian), type (1) in front; type 1 is a whole record, 2, 3, 4 first, middle
// and last part of one; less than 7 bytes at the end of a block are zeros. Not
// thread-safe.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace cofs::store {

class RecordBoundary {
 public:
  // The next bytes of the stream.
  void Feed(std::string_view bytes);
  // The offset in the stream behind the last whole record.
  uint64_t whole_bytes() const { return whole_bytes_; }
  // The stream is not of this format.
  bool is_lost() const { return is_lost_; }

 private:
  static constexpr size_t kHeaderBytes = 7;
  void StartFragment();
  void EndFragment();

  uint64_t offset_ = 0;
  uint64_t whole_bytes_ = 0;
  std::array<unsigned char, kHeaderBytes> header_{};
  size_t header_have_ = 0;
  size_t payload_left_ = 0;
  bool is_lost_ = false;
};

}  // namespace cofs::store
