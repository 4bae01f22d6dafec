#include "fs/fuse/reply.h"

#include <cerrno>

#include "base/log.h"
#include "fs/fuse/request.h"

namespace cofs {
namespace {

bool IsWorthLogging(ErrorCode code) {
  switch (code) {
    case ErrorCode::kIo:
    case ErrorCode::kChecksum:
    case ErrorCode::kCorrupt:
    case ErrorCode::kSystem:
    case ErrorCode::kNoMemory:
    case ErrorCode::kShutdown:
      return true;
    default:
      return false;
  }
}

}  // namespace

Reply::~Reply() {
  if (answered()) return;
  const Request* request = CurrentRequest();
  LogError(StrCat("FUSE request of kind ", request != nullptr ? request->opcode : 0,
                  " was left without an answer"));
  Errno(EIO);
}

fuse_req_t Reply::Take() {
  CHECK(!answered(), "a second answer to one FUSE request");
  return std::exchange(request_, nullptr);
}

void Reply::Errno(int error_number) { fuse_reply_err(Take(), error_number); }

void Reply::Fail(const Error& error) {
  if (IsWorthLogging(error.code())) LogError(error.ToString());
  Errno(error.errno_value());
}

void Reply::Done(const Status& status) {
  if (status.ok())
    Errno(0);
  else
    Fail(status.error());
}

void Reply::Nothing() { fuse_reply_none(Take()); }

bool Reply::Entry(const fuse_entry_param& entry) {
  return fuse_reply_entry(Take(), &entry) == 0;
}

bool Reply::Create(const fuse_entry_param& entry, const fuse_file_info& file) {
  return fuse_reply_create(Take(), &entry, &file) == 0;
}

bool Reply::Open(const fuse_file_info& file) { return fuse_reply_open(Take(), &file) == 0; }

bool Reply::Directory(std::span<const char> entries) {
  return fuse_reply_buf(Take(), entries.data(), entries.size()) == 0;
}

void Reply::Attributes(const struct stat& attributes, double timeout_s) {
  fuse_reply_attr(Take(), &attributes, timeout_s);
}

void Reply::Link(const char* target) { fuse_reply_readlink(Take(), target); }

void Reply::Written(size_t count) { fuse_reply_write(Take(), count); }

void Reply::Data(std::span<const char> data) {
  fuse_reply_buf(Take(), data.data(), data.size());
}

void Reply::Space(const struct statvfs& space) { fuse_reply_statfs(Take(), &space); }

void Reply::XattrSize(size_t size) { fuse_reply_xattr(Take(), size); }

void Reply::Offset(uint64_t offset) {
  fuse_reply_lseek(Take(), static_cast<off_t>(offset));
}

void Reply::Ioctl(std::span<const char> out) {
  fuse_reply_ioctl(Take(), 0, out.data(), out.size());
}

}  // namespace cofs
