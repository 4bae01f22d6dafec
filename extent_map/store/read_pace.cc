#include "extent_map/store/read_pace.h"

namespace cofs::store {
namespace {

thread_local ReadPaceScope* innermost_pace = nullptr;

}  // namespace

ReadPaceScope::ReadPaceScope(const std::function<bool(uint64_t)>& pace)
    : pace_(pace), outer_(innermost_pace) {
  innermost_pace = this;
}
ReadPaceScope::~ReadPaceScope() { innermost_pace = outer_; }

bool ReadPaceScope::Note(uint64_t bytes) {
  ReadPaceScope* const scope = innermost_pace;
  if (scope == nullptr || !scope->pace_) return true;
  if (!scope->is_stopped_ && !scope->pace_(bytes)) scope->is_stopped_ = true;
  return !scope->is_stopped_;
}

}  // namespace cofs::store
