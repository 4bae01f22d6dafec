// CHECK: an impossible state ends the process, in every build, with a message.
// For bad input and bad disks use Result; CHECK is for our own mistakes.
#pragma once

#include <sstream>
#include <string>

namespace cofs {

[[noreturn]] void CheckFailed(const char* file, int line, const char* condition,
                              const std::string& message);

template <typename... Parts>
std::string StrCat(const Parts&... parts) {
  if constexpr (sizeof...(Parts) == 0) {
    return "";
  } else {
    std::ostringstream out;
    (out << ... << parts);
    return std::move(out).str();
  }
}

}  // namespace cofs

#define CHECK(condition, ...)                                                    \
  do {                                                                           \
    if (!(condition)) [[unlikely]]                                               \
      ::cofs::CheckFailed(__FILE__, __LINE__, #condition, ::cofs::StrCat(__VA_ARGS__)); \
  } while (false)
