// Request: what a worker knows about the request that it serves and libfuse does not
// pass on: raw flags, the descriptor that the answer goes to, the worker's buffer.
//
// Thread-safety: a request belongs to the thread that serves it, but for
// `interrupted`, which any thread may set.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/aligned_buffer.h"

namespace cofs {

class FuseSession;

struct Request {
  FuseSession* session = nullptr;
  int device_fd = -1;  // where it was read, and where its answer must be written
  uint32_t opcode = 0;
  uint64_t unique = 0;
  uint32_t read_flags = 0;     // READ: FUSE_READ_...
  uint32_t write_flags = 0;    // WRITE: FUSE_WRITE_...
  uint32_t setattr_valid = 0;  // SETATTR: FATTR_...
  uint32_t open_flags = 0;     // OPEN, CREATE: FUSE_OPEN_...
  // FOPEN_... to be added to the answer of OPEN or CREATE.
  uint32_t answer_open_flags = 0;
  std::atomic<bool> interrupted{false};
  AlignedBuffer* buffer = nullptr;  // the worker's, for data to be read into
};

// Of this thread; nullptr when it serves none.
Request* CurrentRequest();
void SetCurrentRequest(Request* request);

}  // namespace cofs
