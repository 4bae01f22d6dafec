// FuseSession: the connection to the kernel: libfuse's session, and the threads that
// read requests from /dev/fuse.
//
// Each worker has a descriptor of its own (a clone of the connection), a buffer placed
// so that the payload of a WRITE is page-aligned, and serves one request at a time.
// Every answer is written by the worker that read the request, on the descriptor that
// it came from.
// The kernel hands requests to readers in turn, so many idle readers mean cold caches:
// two readers wait, the others are parked until all that waited are at work. One client
// that waits for each answer costs a quarter less processor time than with four readers.
// The end: DESTROY (fuseblk: umount(8) waits for its answer) calls `on_destroy` when no
// other request is being served; a plain fuse mount ends without a message. In both
// cases WaitForEnd() returns and nothing is served any more.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "base/file_descriptor.h"
#include "base/mutex.h"
#include "base/result.h"
#include "fs/fuse/fuse_api.h"
#include "fs/fuse/init_reply.h"
#include "fs/fuse/operations.h"

namespace cofs {

// Requests by FUSE opcode, for the statistics.
inline constexpr size_t kOpcodeCount = 64;
using OpcodeCounts = std::array<uint64_t, kOpcodeCount>;
// "LOOKUP"; empty for a number without a name.
std::string_view NameOfOpcode(size_t opcode);

class FuseSession {
 public:
  struct Options {
    unsigned thread_count = 16;  // at most so many requests are served at once
    // Called once, from the worker that serves DESTROY.
    std::function<void()> on_destroy;
    // Called once, by the last worker that ends.
    std::function<void()> on_end;
  };
  static Result<std::unique_ptr<FuseSession>> Create(Operations& operations,
                                                     Options options);
  // Ends the workers, which aborts a mount that still is there.
  ~FuseSession();

  // `device` is /dev/fuse, mounted a moment ago. Answers INIT, then starts the
  // workers: the mount is live on return.
  Status Start(Fd device);
  // False when `timeout` passed first. The session has ended when the kernel has closed
  // the connection or Stop() was called.
  bool WaitForEnd(std::chrono::milliseconds timeout) EXCLUDES(mutex_);
  // Ends the workers after what they serve at the moment, and joins them.
  void Stop();

  const FuseFeatures& features() const { return features_; }
  unsigned thread_count() const { return static_cast<unsigned>(workers_.size()); }
  bool has_cloned_descriptors() const { return cloned_; }
  OpcodeCounts counts() const;

  // Makes the kernel write back the file's dirty pages from `begin` on; on return the
  // volume has them. Blocks, and needs a worker that is free: not for workers.
  void WriteBack(InodeId inode, FileOffset begin);
  // Makes the kernel ask for them again.
  void InvalidateAttributes(InodeId inode);

 private:
  struct Worker;

  FuseSession(Operations& operations, Options options);

  Status AnswerInit(Worker& worker);
  void Run(Worker& worker) noexcept;
  // Waits until another reader is needed; false at the end.
  bool Park(Worker& worker) EXCLUDES(parking_mutex_);
  void UnparkOne() EXCLUDES(parking_mutex_);
  void EndParking() EXCLUDES(parking_mutex_);
  // One request into the worker's buffer: its length, 0 to try again, -1 at the end.
  ssize_t Receive(Worker& worker);
  void Dispatch(Worker& worker, size_t length_bytes);
  void HandleDestroy(Worker& worker);
  ssize_t WriteReply(Request& request, iovec* parts, int count);
  static ssize_t WriteHook(int fd, iovec* parts, int count, void* user_data);

  Operations& operations_;
  const Options options_;
  fuse_session* session_ = nullptr;
  int device_fd_ = -1;  // owned by session_
  bool cloned_ = true;
  fuse_init_in init_request_{};
  FuseFeatures features_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> destroyed_{false};

  // Workers that wait in read(2), or are just about to.
  std::atomic<unsigned> reader_count_{0};
  Mutex parking_mutex_;
  std::vector<Worker*> parked_ GUARDED_BY(parking_mutex_);  // the last one is woken first
  bool parking_ended_ GUARDED_BY(parking_mutex_) = false;

  Mutex mutex_;
  CondVar ended_;
  unsigned running_ GUARDED_BY(mutex_) = 0;
};

}  // namespace cofs
