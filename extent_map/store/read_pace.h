// ReadPace: lets the reads that RocksDB makes of the store's files in the calling thread
// be slowed down and ended, where RocksDB itself offers neither (verifying checksums).
#pragma once

#include <cstdint>
#include <functional>

namespace cofs::store {

class ReadPaceScope {
 public:
  // `pace` outlives the scope; empty: nothing is slowed down. It is called after each read
  // of this thread with its size; after it has answered false all reads fail.
  explicit ReadPaceScope(const std::function<bool(uint64_t bytes)>& pace);
  ~ReadPaceScope();
  ReadPaceScope(const ReadPaceScope&) = delete;
  ReadPaceScope& operator=(const ReadPaceScope&) = delete;

  bool is_stopped() const { return is_stopped_; }
  // By the files: `bytes` were read. False: the reader is to end.
  static bool Note(uint64_t bytes);

 private:
  const std::function<bool(uint64_t)>& pace_;
  ReadPaceScope* const outer_;
  bool is_stopped_ = false;
};

}  // namespace cofs::store
