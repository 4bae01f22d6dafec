#include "extent_map/store/read_errors.h"

namespace cofs::store {
namespace {

thread_local ReadErrorScope* innermost = nullptr;

}  // namespace

ReadErrorScope::ReadErrorScope() : outer_(innermost) { innermost = this; }
ReadErrorScope::~ReadErrorScope() { innermost = outer_; }

bool ReadErrorScope::Note(const Error& error) {
  if (innermost == nullptr) return false;
  if (!innermost->error_) innermost->error_ = error;
  return true;
}

}  // namespace cofs::store
