// Programs that a test runs: to their end with their output, or in the background.
//
// Thread-safety: RunProgram() from any thread; a BackgroundProgram belongs to one thread.
// Every child is ended with the test program (SIGTERM, should the test itself die).
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/file_descriptor.h"

namespace cofs {

// How long nothing may happen before it counts as hung. Generous, and longer under
// sanitizers: it finds deadlocks, it measures nothing.
int HangLimitSeconds();
// Whether this build carries a sanitizer.
bool UnderSanitizer();

struct ProgramResult {
  int exit_code = -1;  // 128 + signal when it was killed, -1 when it hung
  std::string out, err;
};

struct RunOptions {
  std::optional<uid_t> uid;  // run as this user and group
  std::string directory;     // working directory; empty: the test's
};

// Runs `argv` with the PATH's programs, waits for it. What runs longer than any test may
// is killed.
ProgramResult RunProgram(const std::vector<std::string>& argv, const RunOptions& options = {});

// The folder of the programs under test: COFS_BIN_DIR, else the test's own.
std::string BinDirectory();
// Path of one of them ("mkfs.cofs").
std::string Bin(const std::string& name);

// Signals exactly the process that `pidfd` is of, if it still lives.
void SignalPidFd(const Fd& pidfd, int signal_number);

// A program in the background, its standard output and error appended to a file.
class BackgroundProgram {
 public:
  BackgroundProgram() = default;
  BackgroundProgram(const std::vector<std::string>& argv, const std::string& log_path);
  // Moving into one leaves the program alone that was there, as the destructor does:
  // Wait() first.
  BackgroundProgram(BackgroundProgram&& other) noexcept
      : pid_(std::exchange(other.pid_, -1)), pidfd_(std::move(other.pidfd_)) {}
  BackgroundProgram& operator=(BackgroundProgram&& other) noexcept {
    pid_ = std::exchange(other.pid_, -1);
    pidfd_ = std::move(other.pidfd_);
    return *this;
  }

  bool running() const { return pid_ > 0; }
  pid_t pid() const { return pid_; }
  int pidfd() const { return pidfd_.get(); }
  void Signal(int signal_number) const;
  // The exit code as in ProgramResult; nullopt when it still runs after so long.
  std::optional<int> Wait(int timeout_ms);

 private:
  pid_t pid_ = -1;
  Fd pidfd_;
};

}  // namespace cofs
