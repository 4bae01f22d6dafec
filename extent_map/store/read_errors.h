// ReadErrors: no failed read of the store's files goes unheard.
//
// An iterator of RocksDB 7.8 may pass over a table whose block could not be read and end
// with an OK status, so that records are silently missing. So the files themselves keep
// account: RocksDB reads in the thread of the caller, and a failed read is noted in the
// innermost scope of its thread. Where there is no scope (flush, compaction, a merge
// inside of a write), what is read would be written again: there a failed read fails the
// store, and nothing that rests on it is ever made durable.
#pragma once

#include <optional>

#include "base/error.h"

namespace cofs::store {

class ReadErrorScope {
 public:
  ReadErrorScope();
  ~ReadErrorScope();
  ReadErrorScope(const ReadErrorScope&) = delete;
  ReadErrorScope& operator=(const ReadErrorScope&) = delete;

  // The first failed read of this thread since the scope began.
  const std::optional<Error>& error() const { return error_; }
  // False: this thread has no scope.
  static bool Note(const Error& error);

 private:
  ReadErrorScope* const outer_;
  std::optional<Error> error_;
};

}  // namespace cofs::store
