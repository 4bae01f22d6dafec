#include "fs/fuse/seek_thread.h"

#include "base/log.h"

namespace cofs {

SeekThread::SeekThread(Operations& operations, FuseSession& session)
    : operations_(operations), session_(session), thread_([this] { Run(); }) {}

SeekThread::~SeekThread() {
  {
    MutexLock lock(mutex_);
    ending_ = true;
    changed_.NotifyAll();
  }
  thread_.join();
}

void SeekThread::Ask(InodeId inode, fuse_req_t request, FileOffset offset, int whence) {
  const Request& current = *CurrentRequest();
  MutexLock lock(mutex_);
  questions_.push_back({inode, request, offset, whence, current.device_fd, current.unique});
  changed_.NotifyOne();
}

void SeekThread::Run() noexcept {
  for (;;) {
    Question question;
    {
      MutexLock lock(mutex_);
      while (questions_.empty() && !ending_) changed_.Wait(mutex_);
      if (questions_.empty()) return;
      question = questions_.front();
      questions_.pop_front();
    }
    session_.WriteBack(question.inode, question.offset);

    Request request;
    request.session = &session_;
    request.opcode = FUSE_LSEEK;
    request.device_fd = question.device_fd;
    request.unique = question.unique;
    SetCurrentRequest(&request);
    {
      Reply reply(question.request);
      try {
        operations_.SeekNow(reply, question.inode, question.offset, question.whence);
      } catch (const std::exception& e) {
        LogError(StrCat("LSEEK failed: ", e.what()));
      }
    }
    SetCurrentRequest(nullptr);
  }
}

}  // namespace cofs
