// WriteBackThread: answers the requests that need the kernel's dirty pages first.
//
// Under the writeback cache the kernel sends LSEEK without writing anything back, and
// direct READs after writing back only the range that is read (kernel: fs/fuse/file.c,
// fuse_lseek and fuse_direct_io). The volume would call a hole what has been written, and
// take its own size for the end of the file. So the daemon makes the kernel write back,
// then answers. That waits for WRITE requests, and must not be done by the workers that
// would serve them: one thread does it for all.
//
// Not for requests that hold a lock on a page (READs of the page cache): writing back
// would wait for them.
// Thread-safety: Ask() from any worker.
#pragma once

#include <deque>
#include <functional>
#include <thread>

#include "base/aligned_buffer.h"
#include "base/mutex.h"
#include "fs/fuse/fuse_session.h"
#include "fs/fuse/reply.h"

namespace cofs {

class WriteBackThread {
 public:
  using Answer = std::function<void(Reply&)>;

  explicit WriteBackThread(FuseSession& session);
  ~WriteBackThread() { End(); }
  // Answers what has been asked, and ends the thread: before the workers' descriptors are
  // closed, on which it answers. A worker that asks later answers by itself.
  void End() EXCLUDES(mutex_);
  // Has the dirty pages of `inode` from `begin` on written back, then calls `answer`,
  // which owes the request that the calling worker is serving an answer.
  void Ask(InodeId inode, FileOffset begin, fuse_req_t request, Answer answer)
      EXCLUDES(mutex_);

 private:
  struct Question {
    InodeId inode;
    FileOffset begin;
    fuse_req_t request = nullptr;
    Answer answer;
    int device_fd = -1;  // of the worker that read it: the answer must go there
    uint32_t opcode = 0;
    uint64_t unique = 0;
  };
  void Run() noexcept EXCLUDES(mutex_);
  void AnswerQuestion(const Question& question);

  FuseSession& session_;
  AlignedBuffer buffer_;  // the thread's
  Mutex mutex_;
  CondVar changed_;
  std::deque<Question> questions_ GUARDED_BY(mutex_);
  bool ending_ GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace cofs
