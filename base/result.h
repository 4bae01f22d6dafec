// Result<T>: a value or an Error. Status: Result without a value.
//
//   Result<Superblock> ReadSuperblock(...);
//   TRY_ASSIGN(auto superblock, ReadSuperblock(...));   // one per line
//   TRY(Flush());
//   Close().IgnoreError("the process ends anyway");
//
// Both are [[nodiscard]]; a deliberate drop is spelled IgnoreError(reason).
#pragma once

#include <optional>
#include <utility>
#include <variant>

#include "base/check.h"
#include "base/error.h"

namespace cofs {

struct Unit {};

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}
  Result(ErrorCode code, std::string context)
      : state_(std::in_place_index<1>, Error(code, std::move(context))) {}

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  T& value() & {
    CHECK(ok(), "value of an error: ", error_text());
    return std::get<0>(state_);
  }
  const T& value() const& {
    CHECK(ok(), "value of an error: ", error_text());
    return std::get<0>(state_);
  }
  T&& value() && {
    CHECK(ok(), "value of an error: ", error_text());
    return std::get<0>(std::move(state_));
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  const Error& error() const& {
    CHECK(!ok(), "error of a value");
    return std::get<1>(state_);
  }
  Error&& error() && {
    CHECK(!ok(), "error of a value");
    return std::get<1>(std::move(state_));
  }
  // Whether this is an error of that code.
  bool Is(ErrorCode code) const { return !ok() && error().code() == code; }
  void IgnoreError(const char* /*reason*/) const {}

 private:
  std::string error_text() const { return ok() ? "" : std::get<1>(state_).ToString(); }

  std::variant<T, Error> state_;
};

using Status = Result<Unit>;
inline Status OkStatus() { return Unit{}; }

#define COFS_CONCAT_INNER(a, b) a##b
#define COFS_CONCAT(a, b) COFS_CONCAT_INNER(a, b)

#define TRY(expression)                                              \
  do {                                                               \
    auto COFS_CONCAT(cofs_status_, __LINE__) = (expression);         \
    if (!COFS_CONCAT(cofs_status_, __LINE__).ok())                   \
      return std::move(COFS_CONCAT(cofs_status_, __LINE__)).error(); \
  } while (false)

#define TRY_ASSIGN(declaration, expression)                        \
  auto COFS_CONCAT(cofs_result_, __LINE__) = (expression);         \
  if (!COFS_CONCAT(cofs_result_, __LINE__).ok())                   \
    return std::move(COFS_CONCAT(cofs_result_, __LINE__)).error(); \
  declaration = std::move(COFS_CONCAT(cofs_result_, __LINE__)).value()

}  // namespace cofs
