#include "base/error.h"

#include <cerrno>
#include <cstring>

namespace cofs {

int ErrnoOf(ErrorCode code) {
  switch (code) {
#define COFS_X(name, err, meaning) \
  case ErrorCode::name:            \
    return err;
    COFS_ERROR_TABLE(COFS_X)
#undef COFS_X
  }
  return EIO;
}

std::string_view MeaningOf(ErrorCode code) {
  switch (code) {
#define COFS_X(name, err, meaning) \
  case ErrorCode::name:            \
    return meaning;
    COFS_ERROR_TABLE(COFS_X)
#undef COFS_X
  }
  return "unknown error";
}

ErrorCode CodeOfErrno(int error_number) {
  switch (error_number) {
    // Many codes share EIO; a failed call of the kernel is the device's.
    case EIO:
    case ENODATA:  // Linux's NVMe driver answers media errors with it
    case EILSEQ:
    case EREMOTEIO:
      return ErrorCode::kIo;
    case EINVAL:
      return ErrorCode::kInvalidArgument;
    default:
      break;
  }
#define COFS_X(name, err, meaning) \
  if (error_number == err) return ErrorCode::name;
  COFS_ERROR_TABLE(COFS_X)
#undef COFS_X
  return ErrorCode::kSystem;
}

std::string Error::ToString() const {
  if (context_.empty()) return std::string(MeaningOf(code_));
  return context_ + ": " + std::string(MeaningOf(code_));
}

Error Error::Within(std::string_view outer) const {
  std::string context(outer);
  if (!context_.empty()) context += ": " + context_;
  return Error(code_, std::move(context));
}

Error ErrorOfErrno(int error_number, std::string_view what) {
  char text[128] = "";
  const char* message = ::strerror_r(error_number, text, sizeof(text));
  return Error(CodeOfErrno(error_number), std::string(what) + " (" + message + ")");
}

}  // namespace cofs
