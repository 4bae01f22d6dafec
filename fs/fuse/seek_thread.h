// SeekThread: answers SEEK_DATA and SEEK_HOLE for files that are open for writing.
//
// Under the writeback cache the kernel sends LSEEK without writing dirty pages back
// first (kernel: fs/fuse/file.c, fuse_lseek), so the volume would call a hole what has
// been written. The daemon makes the kernel write them back, then looks. That waits for
// WRITE requests, so it must not be done by the workers that would serve them: one
// thread does it for all.
//
// Thread-safety: Ask() from any thread.
#pragma once

#include <deque>
#include <thread>

#include "base/mutex.h"
#include "fs/fuse/fuse_session.h"
#include "fs/fuse/operations.h"

namespace cofs {

class SeekThread {
 public:
  SeekThread(Operations& operations, FuseSession& session);
  // Answers what has been asked, and ends. Before the session's workers are gone.
  ~SeekThread();
  // `request` is an LSEEK that the calling worker has just read; it is answered later.
  void Ask(InodeId inode, fuse_req_t request, FileOffset offset, int whence)
      EXCLUDES(mutex_);

 private:
  struct Question {
    InodeId inode;
    fuse_req_t request = nullptr;
    FileOffset offset;
    int whence = 0;
    int device_fd = -1;  // of the worker that read it: the answer must go there
    uint64_t unique = 0;
  };
  void Run() noexcept EXCLUDES(mutex_);

  Operations& operations_;
  FuseSession& session_;
  Mutex mutex_;
  CondVar changed_;
  std::deque<Question> questions_ GUARDED_BY(mutex_);
  bool ending_ GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace cofs
