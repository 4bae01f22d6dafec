#include "device/ring.h"

#include <cerrno>
#include <chrono>
#include <string>
#include <thread>

#include "base/check.h"

namespace cofs {
namespace {

std::string_view NameOf(int opcode) {
  switch (opcode) {
    case IORING_OP_READ:
      return "READ";
    case IORING_OP_WRITE:
      return "WRITE";
    case IORING_OP_READ_FIXED:
      return "READ_FIXED";
    case IORING_OP_WRITE_FIXED:
      return "WRITE_FIXED";
    case IORING_OP_FSYNC:
      return "FSYNC";
    case IORING_OP_FALLOCATE:
      return "FALLOCATE";
    case IORING_OP_URING_CMD:
      return "URING_CMD";
    default:
      return "";
  }
}

Error Refused(int error_number) {
  std::string_view reason = "";
  if (error_number == ENOSYS) reason = "the kernel has no io_uring";
  if (error_number == EPERM || error_number == EACCES)
    reason =
        "io_uring is not permitted (sysctl kernel.io_uring_disabled, or a filter "
        "of system calls)";
  if (error_number == ENOMEM) reason = "no memory for io_uring (see ulimit -l)";
  if (reason.empty()) return ErrorOfErrno(error_number, "io_uring");
  return Error(ErrorCode::kNotSupported, std::string(reason));
}

int Init(io_uring* ring, unsigned entry_count, unsigned flags) {
  const int result = io_uring_queue_init(entry_count, ring, flags);
  // Kernels before 5.19 don't know the flags that only save time.
  constexpr unsigned kOptional = IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL;
  if (result == -EINVAL)
    return io_uring_queue_init(entry_count, ring, flags & ~kOptional);
  return result;
}

// What io_uring_enter may answer without a mistake of ours. Operations are in flight
// with memory of theirs, so there is no way but to go on.
void AfterEnter(int result) {
  if (result >= 0 || result == -EINTR) return;
  CHECK(result == -EAGAIN || result == -EBUSY || result == -ENOMEM,
        "io_uring_enter: ", -result);
  std::this_thread::sleep_for(std::chrono::microseconds(200));
}

}  // namespace

void Ring::Closer::operator()(io_uring* ring) const {
  // A closed ring is torn down later by a worker of the kernel, and until then it
  // keeps the file open; so let go of the file here.
  io_uring_unregister_files(ring);
  io_uring_queue_exit(ring);
  delete ring;
}

Result<Ring> Ring::Create(const Options& options) {
  auto raw = std::make_unique<io_uring>();
  unsigned flags = IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL;
  if (options.big_entries) flags |= IORING_SETUP_SQE128 | IORING_SETUP_CQE32;
  const int result = Init(raw.get(), options.entry_count, flags);
  if (result < 0) return Refused(-result);
  Ring ring;
  ring.ring_.reset(raw.release());
  ring.big_entries_ = options.big_entries;

  if (!(ring.ring_->features & IORING_FEAT_NODROP))
    return Error(ErrorCode::kNotSupported,
                 "io_uring of this kernel may drop completions");
  struct ProbeFree {
    void operator()(io_uring_probe* probe) const { io_uring_free_probe(probe); }
  };
  const std::unique_ptr<io_uring_probe, ProbeFree> probe(
      io_uring_get_probe_ring(ring.ring_.get()));
  if (!probe) return Error(ErrorCode::kNotSupported, "io_uring can't be probed");
  std::string missing;
  for (const int opcode : options.opcodes) {
    if (io_uring_opcode_supported(probe.get(), opcode)) continue;
    missing +=
        StrCat(missing.empty() ? "" : ", ", NameOf(opcode), " (", opcode, ")");
  }
  if (!missing.empty())
    return Error(ErrorCode::kNotSupported, "io_uring of this kernel lacks " + missing);
  return ring;
}

Status Ring::RegisterFile(int fd) {
  const int result = io_uring_register_files(ring_.get(), &fd, 1);
  if (result < 0) return ErrorOfErrno(-result, "io_uring: register a file");
  return OkStatus();
}

Status Ring::RegisterMemory(std::span<char> memory) {
  const iovec vector{memory.data(), memory.size()};
  const int result = io_uring_register_buffers(ring_.get(), &vector, 1);
  if (result < 0) return ErrorOfErrno(-result, "io_uring: register memory");
  return OkStatus();
}

io_uring_sqe* Ring::NextEntry() {
  io_uring_sqe* entry = io_uring_get_sqe(ring_.get());
  CHECK(entry != nullptr, "more entries than the ring has");
  return entry;
}

void Ring::Submit() {
  while (io_uring_sq_ready(ring_.get()) > 0) AfterEnter(io_uring_submit(ring_.get()));
}

void Ring::SubmitAndWait() {
  do {
    AfterEnter(io_uring_submit_and_wait(ring_.get(), 1));
  } while (io_uring_sq_ready(ring_.get()) > 0 || io_uring_cq_ready(ring_.get()) == 0);
}

std::optional<Ring::Completion> Ring::Pop() {
  io_uring_cqe* entry = nullptr;
  if (io_uring_peek_cqe(ring_.get(), &entry) != 0 || entry == nullptr)
    return std::nullopt;
  Completion completion{entry->user_data, entry->res, {0, 0}};
  if (big_entries_) {
    completion.extra[0] = entry->big_cqe[0];
    completion.extra[1] = entry->big_cqe[1];
  }
  io_uring_cqe_seen(ring_.get(), entry);
  return completion;
}

}  // namespace cofs
