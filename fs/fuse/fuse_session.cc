#include "fs/fuse/fuse_session.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstring>

#include "base/aligned_buffer.h"
#include "base/log.h"

namespace cofs {
namespace {

constexpr size_t kPayloadBytesMax = 1u << 20;
constexpr unsigned kIdleReaders = 2;
constexpr int kWakeSignal = SIGUSR1;

void OnWakeSignal(int) {}  // its only effect is that read(2) returns

void LogOfLibfuse(fuse_log_level level, const char* format, va_list arguments) {
  char line[512];
  std::vsnprintf(line, sizeof(line), format, arguments);
  std::string text = Printable(line);
  if (text.ends_with("\\x0a")) text.resize(text.size() - 4);
  Log(level <= FUSE_LOG_ERR ? LogLevel::kError : LogLevel::kDebug, text);
}

ssize_t ReadHook(int fd, void* buffer, size_t length, void*) {
  return ::read(fd, buffer, length);
}

}  // namespace

struct FuseSession::Worker {
  explicit Worker(FuseSession* session)
      : memory(2 * kBlockBytes + kPayloadBytesMax),
        start(memory.data() + kBlockBytes - kWriteHeaderBytes),
        capacity(kWriteHeaderBytes + kPayloadBytesMax) {
    request.session = session;
    request.buffer = &data;
  }

  Fd own_descriptor;
  AlignedBuffer memory;
  char* const start;  // of requests: 80 bytes before a page
  const size_t capacity;
  AlignedBuffer data;  // what READ reads into
  Request request;
  std::atomic<bool> busy{false};
  std::array<std::atomic<uint64_t>, kOpcodeCount> counts{};
  CondVar unparked;  // with the session's parking_mutex_
  std::thread thread;
};

FuseSession::FuseSession(Operations& operations, Options options)
    : operations_(operations), options_(std::move(options)) {}

Result<std::unique_ptr<FuseSession>> FuseSession::Create(Operations& operations,
                                                         Options options) {
  fuse_set_log_func(&LogOfLibfuse);
  std::unique_ptr<FuseSession> session(new FuseSession(operations, std::move(options)));
  char program[] = "cofs";
  char* arguments[] = {program, nullptr};
  fuse_args args{1, arguments, 0};
  const fuse_lowlevel_ops table = Operations::Table();
  session->session_ = fuse_session_new(&args, &table, sizeof(table), &operations);
  fuse_opt_free_args(&args);  // libfuse has made a copy of its own
  if (session->session_ == nullptr)
    return Error(ErrorCode::kSystem, "libfuse made no session");
  return session;
}

FuseSession::~FuseSession() {
  Stop();
  if (session_ != nullptr) fuse_session_destroy(session_);
}

Status FuseSession::Start(Fd device) {
  struct sigaction action {};
  action.sa_handler = &OnWakeSignal;  // without SA_RESTART
  ::sigaction(kWakeSignal, &action, nullptr);

  fuse_custom_io io{};
  io.read = &ReadHook;
  io.writev = &FuseSession::WriteHook;
  const int custom = fuse_session_custom_io(session_, &io, device.get());
  if (custom != 0) return ErrorOfErrno(-custom, "fuse_session_custom_io");
  device_fd_ = device.Release();

  for (unsigned i = 0; i < options_.thread_count; ++i) {
    auto worker = std::make_unique<Worker>(this);
    worker->request.device_fd = device_fd_;
    workers_.push_back(std::move(worker));
  }
  TRY(AnswerInit(*workers_.front()));
  for (auto& worker : workers_) {
    if (worker == workers_.front()) continue;
    Fd clone(::open("/dev/fuse", O_RDWR | O_CLOEXEC));
    int source = device_fd_;
    if (clone.valid() && ::ioctl(clone.get(), FUSE_DEV_IOC_CLONE, &source) == 0) {
      worker->request.device_fd = clone.get();
      worker->own_descriptor = std::move(clone);
    } else {
      cloned_ = false;  // shares the first one, at the price of some contention
    }
  }
  {
    MutexLock lock(mutex_);
    running_ = options_.thread_count;
  }
  for (auto& worker : workers_)
    worker->thread = std::thread([this, &worker] { Run(*worker); });
  return OkStatus();
}

Status FuseSession::AnswerInit(Worker& worker) {
  for (;;) {
    const ssize_t length = Receive(worker);
    if (length < 0 || stopping_.load())
      // mount(2) has found the device's old mount and ignored the new connection.
      return Error(ErrorCode::kSystem,
                   "the kernel closed the connection before INIT: is there a mount of this "
                   "device whose daemon has died, and which open files keep alive? End the "
                   "programs that hold them, then mount again");
    if (length == 0) continue;
    Dispatch(worker, static_cast<size_t>(length));
    if (fuse_session_exited(session_) != 0)
      return Error(ErrorCode::kNotSupported, "this kernel's FUSE protocol is too old");
    if (features_.protocol_minor != 0) return OkStatus();
  }
}

void FuseSession::Run(Worker& worker) noexcept {
  while (!stopping_.load(std::memory_order_relaxed)) {
    if (reader_count_.load() >= kIdleReaders && !Park(worker)) break;
    reader_count_.fetch_add(1);
    const ssize_t length = Receive(worker);
    const bool was_last_reader = reader_count_.fetch_sub(1) == 1;
    if (length < 0) break;
    if (length == 0) continue;
    if (was_last_reader) UnparkOne();
    Dispatch(worker, static_cast<size_t>(length));
  }
  EndParking();
  MutexLock lock(mutex_);
  if (--running_ == 0 && options_.on_end) options_.on_end();
  ended_.NotifyAll();
}

bool FuseSession::Park(Worker& worker) {
  MutexLock lock(parking_mutex_);
  parked_.push_back(&worker);
  // The last reader has gone meanwhile: it found nobody to wake, if it has looked
  // already. Either it sees this worker, or this worker sees that it is gone.
  if (reader_count_.load() == 0) {
    parked_.pop_back();
    return !parking_ended_;
  }
  while (!parking_ended_ &&
         std::find(parked_.begin(), parked_.end(), &worker) != parked_.end())
    worker.unparked.Wait(parking_mutex_);
  return !parking_ended_;
}

void FuseSession::UnparkOne() {
  MutexLock lock(parking_mutex_);
  if (parked_.empty()) return;
  Worker* worker = parked_.back();
  parked_.pop_back();
  worker->unparked.NotifyOne();
}

void FuseSession::EndParking() {
  MutexLock lock(parking_mutex_);
  parking_ended_ = true;
  for (Worker* worker : parked_) worker->unparked.NotifyOne();
}

ssize_t FuseSession::Receive(Worker& worker) {
  const ssize_t length = ::read(worker.request.device_fd, worker.start, worker.capacity);
  if (length >= static_cast<ssize_t>(sizeof(fuse_in_header))) return length;
  if (length < 0) {
    // ENOENT: the request was interrupted before it was read.
    if (errno == EINTR || errno == ENOENT || errno == EAGAIN) return 0;
    if (errno != ENODEV)
      LogError(ErrorOfErrno(errno, "reading requests from /dev/fuse").ToString());
    return -1;  // ENODEV: unmounted
  }
  if (length == 0) return -1;  // the other end of a test's socket is closed
  LogError(StrCat("a FUSE request of ", length, " bytes"));
  return -1;
}

void FuseSession::Dispatch(Worker& worker, size_t length_bytes) {
  fuse_in_header header;
  std::memcpy(&header, worker.start, sizeof(header));
  if (header.opcode == kFuseOpCopyFileRange64) {
    // The old request's answer has 32 bits and 32 zeros behind, which is the same as long
    // as the count is below 4 GiB, and ours are. Answered with ENOSYS, two at once made
    // Linux 6.18 take both requests for missing and copy by itself ever after.
    header.opcode = FUSE_COPY_FILE_RANGE;
    std::memcpy(worker.start, &header, sizeof(header));
  }
  const std::span<const char> argument(worker.start + sizeof(header),
                                       length_bytes - sizeof(header));
  Request& request = worker.request;
  request.opcode = header.opcode;
  request.unique = header.unique;
  request.read_flags = 0;
  request.write_flags = 0;
  request.setattr_valid = 0;
  request.open_flags = 0;
  request.answer_open_flags = 0;
  request.interrupted.store(false, std::memory_order_relaxed);
  const auto field = [&argument](size_t offset) {
    uint32_t value = 0;
    if (offset + sizeof(value) <= argument.size())
      std::memcpy(&value, argument.data() + offset, sizeof(value));
    return value;
  };
  switch (header.opcode) {
    case FUSE_READ:
      request.read_flags = field(offsetof(fuse_read_in, read_flags));
      break;
    case FUSE_WRITE:
      request.write_flags = field(offsetof(fuse_write_in, write_flags));
      break;
    case FUSE_SETATTR:
      request.setattr_valid = field(offsetof(fuse_setattr_in, valid));
      break;
    case FUSE_OPEN:
      request.open_flags = field(offsetof(fuse_open_in, open_flags));
      break;
    case FUSE_CREATE:
      request.open_flags = field(offsetof(fuse_create_in, open_flags));
      break;
    case FUSE_INIT:
      std::memcpy(&init_request_, argument.data(),
                  std::min(argument.size(), sizeof(init_request_)));
      break;
    default:
      break;
  }
  if (header.opcode < kOpcodeCount) {
    auto& count = worker.counts[header.opcode];
    count.store(count.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }

  SetCurrentRequest(&request);
  if (header.opcode == FUSE_DESTROY) HandleDestroy(worker);
  // Store, then load, both sequentially consistent; HandleDestroy() has them the other
  // way round: either it waits for this request, or this one sees that it is too late.
  worker.busy.store(true);
  if (destroyed_.load() && header.opcode != FUSE_DESTROY) {
    // Only what wants no answer can come now (FORGET), and means nothing any more.
  } else if (!operations_.HandleRaw(header, argument, request)) {
    fuse_buf buffer{};
    buffer.size = length_bytes;
    buffer.mem = worker.start;
    fuse_session_process_buf(session_, &buffer);
  }
  worker.busy.store(false);
  SetCurrentRequest(nullptr);
}

void FuseSession::HandleDestroy(Worker& worker) {
  if (destroyed_.exchange(true)) return;
  for (const auto& other : workers_) {
    if (other.get() == &worker) continue;
    while (other->busy.load()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  if (options_.on_destroy) options_.on_destroy();
}

bool FuseSession::WaitForEnd(std::chrono::milliseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  MutexLock lock(mutex_);
  while (running_ > 0) {
    const auto rest = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    if (rest.count() <= 0) return false;
    ended_.WaitFor(mutex_, rest);
  }
  return true;
}

void FuseSession::Stop() {
  stopping_.store(true);
  EndParking();
  // A signal that arrives just before read(2) is lost: hence again and again.
  do {
    for (const auto& worker : workers_)
      if (worker->thread.joinable()) ::pthread_kill(worker->thread.native_handle(), kWakeSignal);
  } while (!WaitForEnd(std::chrono::milliseconds(20)));
  for (const auto& worker : workers_)
    if (worker->thread.joinable()) worker->thread.join();
}

OpcodeCounts FuseSession::counts() const {
  OpcodeCounts sums{};
  for (const auto& worker : workers_)
    for (size_t i = 0; i < kOpcodeCount; ++i)
      sums[i] += worker->counts[i].load(std::memory_order_relaxed);
  return sums;
}

void FuseSession::WriteBack(InodeId inode, FileOffset begin) {
  // The kernel drops the cached pages, and writes the dirty ones first. Length 0 is to
  // the end. An inode that the kernel does not know has no pages: ENOENT.
  fuse_lowlevel_notify_inval_inode(session_, inode.value(),
                                   static_cast<off_t>(begin.value()), 0);
}

void FuseSession::InvalidateAttributes(InodeId inode) {
  fuse_lowlevel_notify_inval_inode(session_, inode.value(), -1, 0);
}

// ---- answers ----

ssize_t FuseSession::WriteHook(int fd, iovec* parts, int count, void*) {
  Request* request = CurrentRequest();
  if (request == nullptr) return ::writev(fd, parts, count);  // a notification
  return request->session->WriteReply(*request, parts, count);
}

ssize_t FuseSession::WriteReply(Request& request, iovec* parts, int count) {
  const auto* header = static_cast<const fuse_out_header*>(parts[0].iov_base);
  const bool succeeded = header->error == 0 && header->unique == request.unique;
  if (!succeeded || count != 2) return ::writev(request.device_fd, parts, count);

  const iovec payload = parts[1];
  if (request.opcode == FUSE_INIT && payload.iov_len >= offsetof(fuse_init_out, unused)) {
    fuse_init_out init{};
    std::memcpy(&init, payload.iov_base, std::min(payload.iov_len, sizeof(init)));
    features_ = AdjustInitReply(init_request_, init);
    operations_.set_direct_io_allowed(features_.has(kFuseDirectIoAllowMmap));
    operations_.set_setxattr_extended(features_.has(FUSE_SETXATTR_EXT));
    iovec changed[2] = {parts[0], {&init, payload.iov_len}};
    return ::writev(request.device_fd, changed, 2);
  }
  if ((request.opcode == FUSE_OPEN || request.opcode == FUSE_CREATE) &&
      payload.iov_len >= sizeof(fuse_open_out)) {
    // CREATE's answer is an entry and, behind it, what OPEN's is.
    char bytes[sizeof(fuse_entry_out) + sizeof(fuse_open_out)];
    if (payload.iov_len <= sizeof(bytes)) {
      std::memcpy(bytes, payload.iov_base, payload.iov_len);
      char* place = bytes + payload.iov_len - sizeof(fuse_open_out);
      fuse_open_out open;
      std::memcpy(&open, place, sizeof(open));
      open.open_flags |= request.answer_open_flags;
      std::memcpy(place, &open, sizeof(open));
      iovec changed[2] = {parts[0], {bytes, payload.iov_len}};
      return ::writev(request.device_fd, changed, 2);
    }
  }
  return ::writev(request.device_fd, parts, count);
}

// ---- names ----

std::string_view NameOfOpcode(size_t opcode) {
  static constexpr std::array<std::string_view, kOpcodeCount> kNames = [] {
    std::array<std::string_view, kOpcodeCount> names{};
    names[FUSE_LOOKUP] = "LOOKUP";
    names[FUSE_FORGET] = "FORGET";
    names[FUSE_GETATTR] = "GETATTR";
    names[FUSE_SETATTR] = "SETATTR";
    names[FUSE_READLINK] = "READLINK";
    names[FUSE_SYMLINK] = "SYMLINK";
    names[FUSE_MKNOD] = "MKNOD";
    names[FUSE_MKDIR] = "MKDIR";
    names[FUSE_UNLINK] = "UNLINK";
    names[FUSE_RMDIR] = "RMDIR";
    names[FUSE_RENAME] = "RENAME";
    names[FUSE_LINK] = "LINK";
    names[FUSE_OPEN] = "OPEN";
    names[FUSE_READ] = "READ";
    names[FUSE_WRITE] = "WRITE";
    names[FUSE_STATFS] = "STATFS";
    names[FUSE_RELEASE] = "RELEASE";
    names[FUSE_FSYNC] = "FSYNC";
    names[FUSE_SETXATTR] = "SETXATTR";
    names[FUSE_GETXATTR] = "GETXATTR";
    names[FUSE_LISTXATTR] = "LISTXATTR";
    names[FUSE_REMOVEXATTR] = "REMOVEXATTR";
    names[FUSE_FLUSH] = "FLUSH";
    names[FUSE_INIT] = "INIT";
    names[FUSE_OPENDIR] = "OPENDIR";
    names[FUSE_READDIR] = "READDIR";
    names[FUSE_RELEASEDIR] = "RELEASEDIR";
    names[FUSE_FSYNCDIR] = "FSYNCDIR";
    names[FUSE_ACCESS] = "ACCESS";
    names[FUSE_CREATE] = "CREATE";
    names[FUSE_INTERRUPT] = "INTERRUPT";
    names[FUSE_BMAP] = "BMAP";
    names[FUSE_DESTROY] = "DESTROY";
    names[FUSE_IOCTL] = "IOCTL";
    names[FUSE_POLL] = "POLL";
    names[FUSE_BATCH_FORGET] = "BATCH_FORGET";
    names[FUSE_FALLOCATE] = "FALLOCATE";
    names[FUSE_READDIRPLUS] = "READDIRPLUS";
    names[FUSE_RENAME2] = "RENAME2";
    names[FUSE_LSEEK] = "LSEEK";
    names[FUSE_COPY_FILE_RANGE] = "COPY_FILE_RANGE";
    names[FUSE_SYNCFS] = "SYNCFS";
    names[FUSE_TMPFILE] = "TMPFILE";
    names[kFuseOpStatx] = "STATX";
    return names;
  }();
  return opcode < kNames.size() ? kNames[opcode] : std::string_view();
}

}  // namespace cofs
