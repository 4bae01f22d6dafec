// Reply: the obligation to answer one FUSE request, exactly once.
//
// Each answering function consumes it. An unanswered one is answered with EIO by its
// destructor, with a line in the log. Answer with no lock of cofs held, from the thread
// that the request was read by.
#pragma once

#include <sys/statvfs.h>

#include <cstdint>
#include <span>
#include <string_view>

#include "base/result.h"
#include "fs/fuse/fuse_api.h"

namespace cofs {

class Reply {
 public:
  explicit Reply(fuse_req_t request) : request_(request) {}
  ~Reply();
  Reply(const Reply&) = delete;
  Reply& operator=(const Reply&) = delete;

  bool answered() const { return request_ == nullptr; }
  const fuse_ctx& caller() const { return *fuse_req_ctx(request_); }
  fuse_req_t request() const { return request_; }  // for fuse_add_direntry()

  void Errno(int error_number);
  // Logs what only a damaged volume, a bad device or a mistake of ours can cause.
  void Fail(const Error& error);
  // OK or the error.
  void Done(const Status& status);
  void Nothing();  // FORGET
  // Somebody else answers from now on.
  fuse_req_t HandOver() { return Take(); }

  // These answer false when the kernel no longer wants the answer: then it has not
  // counted the look-up and will not release the handle.
  [[nodiscard]] bool Entry(const fuse_entry_param& entry);
  [[nodiscard]] bool Create(const fuse_entry_param& entry, const fuse_file_info& file);
  [[nodiscard]] bool Open(const fuse_file_info& file);
  [[nodiscard]] bool Directory(std::span<const char> entries);

  void Attributes(const struct stat& attributes, double timeout_s);
  void Link(const char* target);
  void Written(size_t count);
  void Data(std::span<const char> data);
  void Space(const struct statvfs& space);
  void XattrSize(size_t size);
  void Offset(uint64_t offset);
  void Ioctl(std::span<const char> out);

 private:
  fuse_req_t Take();

  fuse_req_t request_;
};

}  // namespace cofs
