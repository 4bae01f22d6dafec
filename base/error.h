// Errors of cofs: one table of codes, each with the errno a program sees and one
// line of meaning; an Error is a code and the place where it was met.
//
// errno itself appears only where FUSE replies and where a program exits.
#pragma once

#include <string>
#include <string_view>
#include <utility>

namespace cofs {

// X(name, errno, meaning)
#define COFS_ERROR_TABLE(X)                                                              \
  X(kNotFound, ENOENT, "no such file or directory")                                      \
  X(kExists, EEXIST, "already exists")                                                   \
  X(kNotDirectory, ENOTDIR, "not a directory")                                           \
  X(kIsDirectory, EISDIR, "is a directory")                                              \
  X(kNotEmpty, ENOTEMPTY, "directory not empty")                                         \
  X(kNameTooLong, ENAMETOOLONG, "name too long")                                         \
  X(kNoSpace, ENOSPC, "no space left on the volume")                                     \
  X(kTooManyLinks, EMLINK, "too many links")                                             \
  X(kFileTooLarge, EFBIG, "file too large")                                              \
  X(kNoAttribute, ENODATA, "no such attribute or data")                                  \
  X(kOutOfRange, ERANGE, "result does not fit")                                          \
  X(kTooBig, E2BIG, "argument too long")                                                 \
  X(kSeekPastEnd, ENXIO, "offset past the end")                                          \
  X(kInvalidArgument, EINVAL, "invalid argument")                                        \
  X(kBadHandle, EBADF, "bad file handle")                                                \
  X(kNotPermitted, EPERM, "operation not permitted")                                     \
  X(kAccess, EACCES, "permission denied")                                                \
  X(kCrossDevice, EXDEV, "crosses volumes")                                              \
  X(kNotSupported, EOPNOTSUPP, "not supported")                                          \
  X(kNotImplemented, ENOSYS, "not implemented")                                          \
  X(kBusy, EBUSY, "in use")                                                              \
  X(kInterrupted, EINTR, "interrupted")                                                  \
  X(kStale, ESTALE, "stale inode")                                                       \
  X(kReadOnly, EROFS, "the volume is read-only")                                         \
  X(kNoMemory, ENOMEM, "out of memory")                                                  \
  X(kIo, EIO, "the device failed an I/O")                                                \
  X(kChecksum, EIO, "data does not match its checksum")                                  \
  X(kCorrupt, EUCLEAN, "damaged metadata")                                               \
  X(kNotCofs, EINVAL, "not a cofs volume")                                               \
  X(kUnsupportedFormat, EPROTONOSUPPORT, "format of a newer or unknown cofs")            \
  X(kTimedOut, ETIMEDOUT, "timed out")                                                   \
  X(kShutdown, EIO, "the volume was shut down")                                          \
  X(kRetry, EAGAIN, "changed meanwhile")                                                 \
  X(kSystem, EIO, "a system call failed")

enum class ErrorCode {
#define COFS_X(name, err, meaning) name,
  COFS_ERROR_TABLE(COFS_X)
#undef COFS_X
};

// The errno that `code` is shown as outside cofs. Always positive.
int ErrnoOf(ErrorCode code);
// One line of meaning, without the place.
std::string_view MeaningOf(ErrorCode code);
// The nearest code for an errno that the kernel or a library gave; EIO-like
// codes for those without a nearer one.
ErrorCode CodeOfErrno(int error_number);

class Error {
 public:
  Error(ErrorCode code, std::string context) : code_(code), context_(std::move(context)) {}

  ErrorCode code() const { return code_; }
  // Where it was met: "inode 42, extent at 1048576".
  const std::string& context() const { return context_; }
  int errno_value() const { return ErrnoOf(code_); }
  // "inode 42, extent at 1048576: damaged metadata"
  std::string ToString() const;
  // The same error, seen from further out: "mount: inode 42, ...".
  Error Within(std::string_view outer) const;

 private:
  ErrorCode code_;
  std::string context_;
};

// "open /dev/x: Permission denied", with the nearest code.
Error ErrorOfErrno(int error_number, std::string_view what);

}  // namespace cofs
