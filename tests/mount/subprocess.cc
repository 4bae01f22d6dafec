#include "tests/mount/subprocess.h"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "base/sanitizer.h"
#include "tests/mount/file_io.h"

namespace cofs {
namespace {

constexpr int kProgramLimitMs = 550'000;

// In the child: only calls that are safe after a fork of a threaded program.
[[noreturn]] void ExecChild(char* const* argv, int out, int err, const RunOptions& options) {
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  const int null = open("/dev/null", O_RDONLY);
  dup2(null, STDIN_FILENO);
  dup2(out, STDOUT_FILENO);
  dup2(err, STDERR_FILENO);
  if (!options.directory.empty() && chdir(options.directory.c_str()) != 0) _exit(126);
  if (options.uid) {
    if (setgroups(0, nullptr) != 0 || setgid(*options.uid) != 0 || setuid(*options.uid) != 0)
      _exit(126);
  }
  execvp(argv[0], argv);
  _exit(127);
}

pid_t Spawn(const std::vector<std::string>& argv, int out, int err, const RunOptions& options) {
  std::vector<char*> arguments;
  for (const std::string& argument : argv)
    arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  const pid_t pid = fork();
  if (pid < 0) ThrowErrno("fork");
  if (pid == 0) ExecChild(arguments.data(), out, err, options);
  return pid;
}

std::string Contents(int fd) {
  std::string text;
  char buffer[65536];
  off_t offset = 0;
  for (;;) {
    const ssize_t count = pread(fd, buffer, sizeof buffer, offset);
    if (count <= 0) return text;
    text.append(buffer, static_cast<size_t>(count));
    offset += count;
  }
}

// The C library's header for it (2.36) is not one for C++.
Fd OpenPidFd(pid_t pid) {
  Fd fd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!fd.valid()) ThrowErrno("pidfd_open");
  return fd;
}

int ExitCode(int wait_status) {
  return WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 128 + WTERMSIG(wait_status);
}

// Whether the process ended within `timeout_ms`.
bool WaitForEnd(int pidfd, int timeout_ms) {
  pollfd poll_fd{pidfd, POLLIN, 0};
  int result;
  do {
    result = poll(&poll_fd, 1, timeout_ms);
  } while (result < 0 && errno == EINTR);
  return result > 0;
}

int Reap(pid_t pid) {
  int wait_status = 0;
  while (waitpid(pid, &wait_status, 0) < 0) {
    if (errno != EINTR) return -1;
  }
  return ExitCode(wait_status);
}

}  // namespace

bool UnderSanitizer() { return kUnderSanitizer; }

int HangLimitSeconds() { return kUnderSanitizer ? 280 : 120; }

ProgramResult RunProgram(const std::vector<std::string>& argv, const RunOptions& options) {
  const Fd out(memfd_create("stdout", MFD_CLOEXEC)), err(memfd_create("stderr", MFD_CLOEXEC));
  if (!out.valid() || !err.valid()) ThrowErrno("memfd_create");
  const pid_t pid = Spawn(argv, out.get(), err.get(), options);
  const Fd pidfd = OpenPidFd(pid);
  const bool ended = WaitForEnd(pidfd.get(), kProgramLimitMs);
  if (!ended) kill(pid, SIGKILL);
  ProgramResult result;
  result.exit_code = Reap(pid);
  if (!ended) result.exit_code = -1;
  result.out = Contents(out.get());
  result.err = Contents(err.get());
  return result;
}

std::string BinDirectory() {
  if (const char* directory = getenv("COFS_BIN_DIR")) return directory;
  char path[4096];
  const ssize_t length = readlink("/proc/self/exe", path, sizeof path);
  const std::string self(path, length > 0 ? static_cast<size_t>(length) : 0);
  return self.substr(0, self.rfind('/'));
}

std::string Bin(const std::string& name) { return BinDirectory() + "/" + name; }

BackgroundProgram::BackgroundProgram(const std::vector<std::string>& argv,
                                     const std::string& log_path) {
  const Fd log(open(log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  if (!log.valid()) ThrowErrno(log_path);
  pid_ = Spawn(argv, log.get(), log.get(), {});
  pidfd_ = OpenPidFd(pid_);
}

void SignalPidFd(const Fd& pidfd, int signal_number) {
  syscall(SYS_pidfd_send_signal, pidfd.get(), signal_number, nullptr, 0);
}

void BackgroundProgram::Signal(int signal_number) const {
  if (running()) SignalPidFd(pidfd_, signal_number);
}

std::optional<int> BackgroundProgram::Wait(int timeout_ms) {
  if (!running() || !WaitForEnd(pidfd_.get(), timeout_ms)) return std::nullopt;
  const int exit_code = Reap(pid_);
  pid_ = -1;
  pidfd_.Reset();
  return exit_code;
}

}  // namespace cofs
