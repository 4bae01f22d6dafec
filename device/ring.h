// Ring: one io_uring instance, move-only.
//
// Thread-safety: one thread at a time; it may move between threads when a lock orders
// them.
// An entry taken with NextEntry() is seen by the kernel at the next Submit() or
// SubmitAndWait(). The destructor does not wait for operations in flight: whoever owns
// their memory waits first.
#pragma once

#include <liburing.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "base/result.h"

namespace cofs {

class Ring {
 public:
  struct Options {
    unsigned entry_count = 64;  // of the submission queue; completions have twice that
    bool big_entries = false;   // SQE128 and CQE32, for commands passed to a driver
    std::span<const int> opcodes;  // io_uring_op; those that must be there
  };
  struct Completion {
    uint64_t user_data = 0;
    int32_t result = 0;          // as the system call would answer, errors negative
    uint64_t extra[2] = {0, 0};  // with big_entries: what the driver adds
  };

  // kNotSupported, with the reason in words, where the kernel refuses io_uring or
  // lacks an opcode.
  static Result<Ring> Create(const Options& options);
  Ring(Ring&&) = default;
  Ring& operator=(Ring&&) = default;

  // From now on entries may name `fd` as file 0 with IOSQE_FIXED_FILE.
  Status RegisterFile(int fd);
  // From now on entries may name parts of `memory` as buffer 0 (the *_fixed calls).
  Status RegisterMemory(std::span<char> memory);

  // A cleared entry. There must be room: no more entries are prepared between two
  // submissions than entry_count.
  io_uring_sqe* NextEntry();
  // Hands over what was prepared, without waiting.
  void Submit();
  // Hands over what was prepared and waits for one completion, in one system call.
  void SubmitAndWait();
  // The oldest completion that has not been taken.
  std::optional<Completion> Pop();

 private:
  struct Closer {
    void operator()(io_uring* ring) const;
  };

  Ring() = default;
  std::unique_ptr<io_uring, Closer> ring_;
  bool big_entries_ = false;
};

}  // namespace cofs
