#include "fs/fuse/write_back_thread.h"

#include "base/log.h"

namespace cofs {

WriteBackThread::WriteBackThread(FuseSession& session)
    : session_(session), thread_([this] { Run(); }) {}

void WriteBackThread::End() {
  {
    MutexLock lock(mutex_);
    ending_ = true;
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

void WriteBackThread::Ask(InodeId inode, FileOffset begin, fuse_req_t request,
                          Answer answer) {
  const Request& current = *CurrentRequest();
  MutexLock lock(mutex_);
  if (ending_) {
    lock.Unlock();
    Reply reply(request);
    answer(reply);
    return;
  }
  questions_.push_back({inode, begin, request, std::move(answer), current.device_fd,
                        current.opcode, current.unique});
  changed_.NotifyOne();
}

void WriteBackThread::Run() noexcept {
  for (;;) {
    Question question;
    {
      MutexLock lock(mutex_);
      while (questions_.empty() && !ending_) changed_.Wait(mutex_);
      if (questions_.empty()) return;
      question = std::move(questions_.front());
      questions_.pop_front();
    }
    session_.WriteBack(question.inode, question.begin);
    AnswerQuestion(question);
  }
}

void WriteBackThread::AnswerQuestion(const Question& question) {
  Request request;
  request.session = &session_;
  request.opcode = question.opcode;
  request.device_fd = question.device_fd;
  request.unique = question.unique;
  request.buffer = &buffer_;
  SetCurrentRequest(&request);
  {
    Reply reply(question.request);  // EIO when it is left unanswered
    try {
      question.answer(reply);
    } catch (const std::exception& e) {
      LogError(StrCat("FUSE request of kind ", question.opcode, " failed: ", e.what()));
    }
  }
  SetCurrentRequest(nullptr);
}

}  // namespace cofs
