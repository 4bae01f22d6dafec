#include "fs/fuse/daemon.h"

#include <fcntl.h>
#include <malloc.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "base/log.h"

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

namespace cofs {
namespace {

constexpr int kArenasMax = 4;
constexpr unsigned kReadAheadKiB = 1024;

std::string ReadAll(int fd) {
  std::string text;
  char buffer[1024];
  for (;;) {
    const ssize_t length = ::read(fd, buffer, sizeof(buffer));
    if (length < 0 && errno == EINTR) continue;
    if (length <= 0) return text;
    text.append(buffer, static_cast<size_t>(length));
  }
}

void CloseStandardStreams() {
  const Fd null(::open("/dev/null", O_RDWR));
  if (!null.valid()) return;
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::dup2(null.get(), fd);
}

int RunChild(int pipe_fd, const std::function<int(ReportOutcome)>& serve) {
  ::setsid();
  if (::chdir("/") != 0) LogDebug("chdir(/) failed");
  Fd pipe(pipe_fd);
  const auto report = [&pipe](const MountOutcome& outcome) {
    if (!pipe.valid()) return;
    std::string text(1, static_cast<char>(outcome.exit_code));
    text += outcome.message;
    // The parent may be gone; the mount goes on without it.
    if (::write(pipe.get(), text.data(), text.size()) < 0)
      LogDebug("nobody waits for the mount any more");
    pipe.Reset();
    // The caller's terminal and pipes must not be kept open.
    CloseStandardStreams();
  };
  return serve(report);
}

bool WriteFile(const std::string& path, std::string_view text) {
  const Fd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file.valid()) return false;
  return ::write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

void LogIf(bool failed, std::string_view what) {
  if (failed) LogDebug(StrCat(what, ": ", std::strerror(errno)));
}

}  // namespace

MountOutcome Daemonise(const std::function<int(ReportOutcome)>& serve) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0)
    return {kExitSystem, StrCat("pipe: ", std::strerror(errno))};
  Fd read_end(ends[0]);
  Fd write_end(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) return {kExitSystem, StrCat("fork: ", std::strerror(errno))};
  if (child == 0) {
    read_end.Reset();
    ::_exit(RunChild(write_end.Release(), serve));
  }
  write_end.Reset();
  const std::string text = ReadAll(read_end.get());
  if (!text.empty()) return {static_cast<unsigned char>(text[0]), text.substr(1)};
  // It ended without a word: a crash.
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFSIGNALED(status))
    return {kExitMountFailure, StrCat("the daemon was ended by signal ", WTERMSIG(status))};
  return {kExitMountFailure, "the daemon ended before the mount was live"};
}

void PrepareProcess() {
  ::umask(0);
  ::signal(SIGPIPE, SIG_IGN);
  // Threads of workers, RocksDB and io_uring: without a bound glibc gives each its own
  // arena, and memory is held where it was freed.
  ::mallopt(M_ARENA_MAX, kArenasMax);
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    LogIf(::setrlimit(RLIMIT_NOFILE, &files) != 0, "raising the limit of open files");
  }
  // Buffers that are registered with the kernel count as locked.
  const rlimit all{RLIM_INFINITY, RLIM_INFINITY};
  LogIf(::setrlimit(RLIMIT_MEMLOCK, &all) != 0, "lifting the limit of locked memory");
  // Memory that this process needs to write back must not wait for its own writing back.
  LogIf(::prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) != 0, "PR_SET_IO_FLUSHER");
  LogIf(!WriteFile("/proc/self/oom_score_adj", "-900"), "lowering the OOM score");
}

void TuneMount(dev_t device) {
  const std::string number = StrCat("/sys/class/bdi/", major(device), ":", minor(device));
  for (const std::string& bdi : {number, number + "-fuseblk"}) {
    if (::access(bdi.c_str(), F_OK) != 0) continue;
    // FUSE mounts get 1 % of the dirty memory, for servers that can't be trusted.
    LogIf(!WriteFile(bdi + "/max_ratio", "100"), bdi + "/max_ratio");
    LogIf(!WriteFile(bdi + "/read_ahead_kb", std::to_string(kReadAheadKiB)),
          bdi + "/read_ahead_kb");
  }
}

}  // namespace cofs
