#include "fs/fuse/sandbox.h"

#include <linux/capability.h>
#include <seccomp.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <fstream>
#include <memory>

#include "base/log.h"
#include "base/sanitizer.h"
#include "fs/fuse/capabilities.h"

namespace cofs {
namespace {

// By name: of what the C library, RocksDB, libfuse, io_uring, libnvme and libdevmapper
// call. Names that an architecture or libseccomp does not know are left out.
constexpr const char* kAllowed[] = {
    // files that are open, and opening: what may be opened the kernel knows by the user
    "read", "write", "readv", "writev", "pread64", "pwrite64", "preadv", "pwritev",
    "preadv2", "pwritev2", "lseek", "openat", "open", "close", "close_range", "fstat",
    "newfstatat", "stat", "lstat", "statx", "statfs", "fstatfs", "access", "faccessat",
    "faccessat2", "readlink", "readlinkat", "getcwd", "getdents64", "fcntl", "flock",
    "dup", "dup2", "dup3", "pipe", "pipe2", "ioctl", "fsync", "fdatasync",
    "sync_file_range", "syncfs", "fallocate", "ftruncate", "copy_file_range", "fadvise64",
    "splice", "umask",
    // memory
    "mmap", "munmap", "mprotect", "mremap", "madvise", "brk", "mlock", "munlock",
    "mlock2", "mincore", "msync", "membarrier", "get_mempolicy",
    // threads and time; signals go to this process alone
    "clone", "clone3", "exit", "exit_group", "futex", "futex_waitv", "set_robust_list",
    "get_robust_list", "rseq", "set_tid_address", "sched_yield", "sched_getaffinity",
    "sched_setaffinity", "sched_getparam", "sched_getscheduler", "sched_setscheduler",
    "sched_get_priority_max", "sched_get_priority_min", "getpriority", "setpriority",
    "ioprio_get", "ioprio_set", "getcpu", "nanosleep", "clock_nanosleep", "clock_gettime",
    "clock_getres", "gettimeofday", "time", "times", "timerfd_create", "timerfd_settime",
    "timerfd_gettime", "restart_syscall", "rt_sigaction", "rt_sigprocmask",
    "rt_sigreturn", "rt_sigtimedwait", "rt_sigpending", "rt_sigsuspend", "sigaltstack",
    "wait4", "waitid",
    // waiting, I/O rings
    "poll", "ppoll", "select", "pselect6", "epoll_create", "epoll_create1", "epoll_ctl",
    "epoll_wait", "epoll_pwait", "epoll_pwait2", "eventfd", "eventfd2", "io_uring_setup",
    "io_uring_enter", "io_uring_register",
    // the log and the mount helper: sockets of this machine only, see below
    "connect", "sendto", "sendmsg", "sendmmsg", "recvfrom", "recvmsg", "shutdown",
    "getsockopt", "setsockopt", "getsockname", "getpeername",
    // looking at oneself
    "getpid", "gettid", "getppid", "getuid", "geteuid", "getgid", "getegid", "getgroups",
    "getresuid", "getresgid", "getpgid", "getpgrp", "getsid", "capget", "capset", "prctl",
    "arch_prctl", "uname", "sysinfo", "getrusage", "getrlimit", "setrlimit", "prlimit64",
    "getrandom",
    // libdevmapper's notifications
    "semget", "semctl", "semop", "semtimedop"};

// No library has a reason, on any path: whoever calls these has taken over.
constexpr const char* kDeadly[] = {"execve",
                                   "execveat",
                                   "ptrace",
                                   "process_vm_readv",
                                   "process_vm_writev",
                                   "mount",
                                   "umount2",
                                   "pivot_root",
                                   "chroot",
                                   "move_mount",
                                   "open_tree",
                                   "fsopen",
                                   "fsmount",
                                   "fsconfig",
                                   "mount_setattr",
                                   "setns",
                                   "unshare",
                                   "init_module",
                                   "finit_module",
                                   "delete_module",
                                   "kexec_load",
                                   "kexec_file_load",
                                   "bpf",
                                   "reboot",
                                   "swapon",
                                   "swapoff",
                                   "setuid",
                                   "setgid",
                                   "setreuid",
                                   "setregid",
                                   "setresuid",
                                   "setresgid",
                                   "setgroups"};

Error SeccompError(int result, std::string_view what) {
  return ErrorOfErrno(-result, StrCat("filter of system calls: ", what));
}

struct ReleaseFilter {
  void operator()(void* filter) const { seccomp_release(filter); }
};

// Allows a call when its first argument, 32 bits of it, is `wanted`.
Status AllowWith(scmp_filter_ctx filter, const char* name, uint32_t wanted) {
  const scmp_arg_cmp first{0, SCMP_CMP_MASKED_EQ, UINT32_MAX, wanted};
  const int result = seccomp_rule_add_array(
      filter, SCMP_ACT_ALLOW, seccomp_syscall_resolve_name(name), 1, &first);
  if (result != 0) return SeccompError(result, name);
  return OkStatus();
}

template <size_t kCount>
Status AddAll(scmp_filter_ctx filter, uint32_t action,
              const char* const (&names)[kCount]) {
  for (const char* name : names) {
    const int number = seccomp_syscall_resolve_name(name);
    if (number == __NR_SCMP_ERROR) continue;
    const int result = seccomp_rule_add(filter, action, number, 0);
    if (result != 0 && result != -EDOM) return SeccompError(result, name);
  }
  return OkStatus();
}

std::string StatusLine(std::string_view name) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(name)) return line.substr(name.size());
  return "";
}

}  // namespace

uint64_t CapabilitiesFor(std::optional<dev_t> device) {
  uint64_t needed = 0;
  // Where only root may make rings, the threads that are still to come are no less root.
  std::ifstream disabled("/proc/sys/kernel/io_uring_disabled");
  int level = 0;
  if (disabled >> level && level == 1) needed |= CapabilityBit(CAP_SYS_ADMIN);
  if (!device) return needed;
  const std::string link = StrCat("/sys/dev/block/", major(*device), ":", minor(*device));
  const std::unique_ptr<char, decltype(&::free)> resolved(
      ::realpath(link.c_str(), nullptr), &::free);
  const std::string path = resolved ? resolved.get() : "";
  const auto is_in = [&path](std::string_view part) {
    return path.find(part) != std::string::npos;
  };
  if (is_in("/virtual/block/loop") || is_in("/virtual/block/ram") ||
      is_in("/virtual/block/zram"))
    return needed;
  if (is_in("/nvme")) return needed | CapabilityBit(CAP_SYS_ADMIN);
  if (is_in("/host")) return needed | CapabilityBit(CAP_SYS_RAWIO);
  // Stacks of devices, and what is not known.
  return needed | CapabilityBit(CAP_SYS_ADMIN) | CapabilityBit(CAP_SYS_RAWIO);
}

Status FilterSystemCalls() {
  const std::unique_ptr<void, ReleaseFilter> filter(seccomp_init(SCMP_ACT_ERRNO(ENOSYS)));
  if (filter == nullptr) return Error(ErrorCode::kNoMemory, "filter of system calls");
  // Threads that are there already, too; what is refused shows in the audit log.
  seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_TSYNC, 1);
  seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_LOG, 1);
  // Decided in few steps: it is asked at every call.
  seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2);
  TRY(AddAll(filter.get(), SCMP_ACT_ALLOW, kAllowed));
  TRY(AddAll(filter.get(), SCMP_ACT_KILL_PROCESS, kDeadly));
  // Signals to this process, sockets of this machine.
  for (const char* name : {"kill", "tgkill"})
    TRY(AllowWith(filter.get(), name, static_cast<uint32_t>(::getpid())));
  for (const char* name : {"socket", "socketpair"})
    TRY(AllowWith(filter.get(), name, AF_UNIX));
  const int result = seccomp_load(filter.get());
  if (result != 0) return SeccompError(result, "loading it");
  return OkStatus();
}

Status EnterSandbox(uint64_t capabilities) {
  TRY(KeepCapabilities(capabilities));
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
    return ErrorOfErrno(errno, "PR_SET_NO_NEW_PRIVS");
  // A sanitizer traces its own process and makes calls of its own.
  if (kUnderSanitizer) return OkStatus();
  // Other users' files are in its memory: no core dumps, no debuggers but root's. A
  // user's own daemon holds that user's own files, and could not read its own /proc any
  // more.
  if (::geteuid() == 0 && ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
    return ErrorOfErrno(errno, "PR_SET_DUMPABLE");
  return FilterSystemCalls();
}

std::string DescribeSandbox() {
  std::string text = "capabilities " + NamesOfCapabilities(EffectiveCapabilities());
  if (StatusLine("NoNewPrivs:\t") == "1") text += ", no new privileges";
  if (StatusLine("Seccomp:\t") == "2") text += ", system calls filtered";
  return text;
}

}  // namespace cofs
