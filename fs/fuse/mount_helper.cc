#include "fs/fuse/mount_helper.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/log.h"
#include "fs/fuse/capabilities.h"

namespace cofs {
namespace {

enum Command : char { kMount = 'm', kWriteBack = 'w', kUnmount = 'u', kDetach = 'd' };

constexpr size_t kTextBytesMax = 2048;
// One message of the helper; the connection of a mount goes with it.
struct Message {
  int32_t code = -1;  // ErrorCode; -1: done
  uint64_t device = 0;
  char text[kTextBytesMax] = {};
};

void Fill(const Error& error, Message& message) {
  message.code = static_cast<int32_t>(error.code());
  std::strncpy(message.text, error.context().c_str(), kTextBytesMax - 1);
}

bool Send(int socket, const Message& message, int fd) {
  iovec part{const_cast<Message*>(&message), sizeof(message)};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr out{};
  out.msg_iov = &part;
  out.msg_iovlen = 1;
  if (fd >= 0) {
    out.msg_control = control;
    out.msg_controllen = sizeof(control);
    cmsghdr* header = CMSG_FIRSTHDR(&out);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &fd, sizeof(fd));
  }
  return ::sendmsg(socket, &out, MSG_NOSIGNAL) == static_cast<ssize_t>(sizeof(message));
}

// ---- in the helper ----

void LeaveTerminal() {
  const Fd null(::open("/dev/null", O_RDWR));
  if (!null.valid()) return;
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    ::dup2(null.get(), fd);
}

// What else the daemon had open, a pipe that somebody waits at among it.
Fd KeepOnly(Fd socket) {
  constexpr int kPlace = 3;
  if (socket.get() != kPlace && ::dup3(socket.get(), kPlace, O_CLOEXEC) < 0)
    return socket;
  if (socket.get() == kPlace) static_cast<void>(socket.Release());
  ::close_range(kPlace + 1, ~0u, 0);
  static_cast<void>(socket.Release());
  return Fd(kPlace);
}

class Helper {
 public:
  Helper(MountRequest request, Fd socket)
      : request_(std::move(request)), socket_(std::move(socket)) {}

  void Run() {
    for (char command; Receive(command);) {
      Message answer;
      Fd connection;
      const Status done = Carry(command, answer, connection);
      if (!done.ok()) Fill(done.error(), answer);
      if (!Send(socket_.get(), answer, connection.get())) return;
      // The daemon's alone: when it dies the kernel must notice.
    }
  }

 private:
  bool Receive(char& command) {
    ssize_t length;
    do {
      length = ::recv(socket_.get(), &command, 1, 0);
    } while (length < 0 && errno == EINTR);
    return length == 1;
  }

  Status Carry(char command, Message& answer, Fd& connection) {
    switch (command) {
      case kMount: {
        // fusermount3 says on standard error what it does not like.
        Result<Fd> mounted = MountFuse(request_);
        LeaveTerminal();
        TRY_ASSIGN(connection, std::move(mounted));
        answer.device = device_ = NumberOfMount();
        return OkStatus();
      }
      case kWriteBack: {
        TRY(CheckOurs());
        const Fd root(
            ::open(request_.directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        if (!root.valid() || ::syncfs(root.get()) != 0)
          return ErrorOfErrno(errno, "writing back what the kernel has cached");
        return OkStatus();
      }
      case kUnmount:
      case kDetach:
        TRY(CheckOurs());
        return UnmountFuse(request_.directory, command == kDetach);
      default:
        return Error(ErrorCode::kInvalidArgument, "command of the mount helper");
    }
  }

  // Asks the kernel for what it knows: nobody serves the mount yet.
  dev_t NumberOfMount() const {
    struct statx root;
    if (::statx(AT_FDCWD, request_.directory.c_str(), AT_STATX_DONT_SYNC, STATX_TYPE,
                &root) != 0)
      return 0;
    return makedev(root.stx_dev_major, root.stx_dev_minor);
  }

  // Another file system over ours, or ours moved away, is not ours to touch.
  Status CheckOurs() const {
    if (device_ != 0 && NumberOfMount() == device_) return OkStatus();
    return Error(ErrorCode::kNotFound, StrCat("our mount at ", request_.directory));
  }

  const MountRequest request_;
  const Fd socket_;
  dev_t device_ = 0;
};

[[noreturn]] void RunHelper(const MountRequest& request, Fd socket) {
  // It outlives what is sent to the daemon's group: it is needed for the end.
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGPIPE})
    ::signal(number, SIG_IGN);
  ::prctl(PR_SET_NAME, "cofs-mount");
  if (::geteuid() == 0) {
    KeepCapabilities(CapabilityBit(CAP_SYS_ADMIN) | CapabilityBit(CAP_DAC_READ_SEARCH))
        .IgnoreError("then it has more than it needs");
    ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  }
  try {
    Helper(request, KeepOnly(std::move(socket))).Run();
  } catch (const std::exception&) {
  }
  ::_exit(0);
}

}  // namespace

struct MountHelper::Answer {
  Fd connection;
  uint64_t device = 0;
};

Result<std::unique_ptr<MountHelper>> MountHelper::Start(const MountRequest& request) {
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
    return ErrorOfErrno(errno, "socketpair");
  Fd ours(pair[0]);
  Fd theirs(pair[1]);
  const pid_t child = ::fork();
  if (child < 0) return ErrorOfErrno(errno, "fork");
  if (child == 0) {
    ours.Reset();
    RunHelper(request, std::move(theirs));
  }
  return std::unique_ptr<MountHelper>(new MountHelper(std::move(ours), child));
}

MountHelper::~MountHelper() {
  socket_.Reset();
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

Result<MountHelper::Answer> MountHelper::Ask(char command) {
  if (::send(socket_.get(), &command, 1, MSG_NOSIGNAL) != 1)
    return ErrorOfErrno(errno, "asking the mount helper");
  Message message;
  iovec part{&message, sizeof(message)};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr in{};
  in.msg_iov = &part;
  in.msg_iovlen = 1;
  in.msg_control = control;
  in.msg_controllen = sizeof(control);
  ssize_t length;
  do {
    length = ::recvmsg(socket_.get(), &in, MSG_CMSG_CLOEXEC);
  } while (length < 0 && errno == EINTR);
  if (length != static_cast<ssize_t>(sizeof(message)))
    return Error(ErrorCode::kSystem, "the mount helper has ended");
  Answer answer;
  const cmsghdr* header = CMSG_FIRSTHDR(&in);
  if (header != nullptr && header->cmsg_type == SCM_RIGHTS) {
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(header), sizeof(fd));
    answer.connection = Fd(fd);
  }
  message.text[kTextBytesMax - 1] = 0;
  if (message.code >= 0) return Error(static_cast<ErrorCode>(message.code), message.text);
  answer.device = message.device;
  return answer;
}

Result<Fd> MountHelper::Mount() {
  TRY_ASSIGN(Answer answer, Ask(kMount));
  if (!answer.connection.valid())
    return Error(ErrorCode::kSystem, "the mount helper sent no connection");
  device_ = answer.device;
  return std::move(answer.connection);
}

Status MountHelper::WriteBack() {
  TRY_ASSIGN(const Answer answer, Ask(kWriteBack));
  return OkStatus();
}

Status MountHelper::Unmount(bool lazy) {
  TRY_ASSIGN(const Answer answer, Ask(lazy ? kDetach : kUnmount));
  return OkStatus();
}

}  // namespace cofs
