#include "tests/vm/power/load_run.h"

#include <fcntl.h>
#include <sys/io.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/file_descriptor.h"
#include "fs/fuse/cofs_ioctl.h"
#include "tests/vm/guest/stream.h"
#include "tests/vm/power/load_plan.h"

namespace cofs {
namespace {

class LoadError : public std::runtime_error {
 public:
  explicit LoadError(const std::string& what)
      : std::runtime_error(what + ": " + std::strerror(errno)) {}
};

// What has been acknowledged. A line is with the host when Write() returns: no buffer of
// the guest's kernel is in between.
class LoadLog {
 public:
  explicit LoadLog(const std::string& target) {
    if (target.starts_with("port:")) {
      port_ = static_cast<uint16_t>(std::strtoul(target.c_str() + 5, nullptr, 0));
      // Threads that are started later have the right, too.
      if (ioperm(port_, 1, 1) != 0) throw LoadError(target);
      return;
    }
    file_ = Fd(open(target.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
    if (!file_.valid()) throw LoadError(target);
  }

  void Write(const std::string& text) {
    const std::lock_guard lock(mutex_);
    const std::string line = text + "\n";
    if (file_.valid()) {
      if (write(file_.get(), line.data(), line.size()) < 0) throw LoadError("log");
      return;
    }
    for (const char each : line) outb(static_cast<unsigned char>(each), port_);
  }

 private:
  std::mutex mutex_;
  uint16_t port_ = 0;
  Fd file_;
};

class LoadThread {
 public:
  LoadThread(const std::string& directory, uint64_t seed, int thread, LoadLog& log)
      : directory_(directory + "/" + LoadDirectoryName(thread)),
        prefix_(" " + std::to_string(thread) + " "),
        plan_(LoadThreadSeed(seed, thread), FindSizes()),
        log_(log) {}

  void Run() {
    for (uint64_t number = 1;; ++number) {
      const LoadOperation operation = plan_.Next();
      const std::string name = prefix_ + std::to_string(number);
      try {
        if (operation.makes_durable()) log_.Write("S" + name);
        CarryOut(operation);
        log_.Write("D" + name + " " + std::to_string(operation.fingerprint()));
      } catch (const std::exception& error) {
        log_.Write("E" + name + " " + operation.Words() + ": " + error.what());
        return;
      }
    }
  }

 private:
  std::string Path(int file) const { return directory_ + "/" + LoadFileName(file); }

  LoadSizes FindSizes() const {
    if (mkdir(directory_.c_str(), 0755) != 0 && errno != EEXIST) throw LoadError(directory_);
    LoadSizes sizes;
    for (int file = 0; file < kLoadFiles; ++file) {
      struct stat info;
      if (stat(Path(file).c_str(), &info) == 0)
        sizes[static_cast<size_t>(file)] = static_cast<uint64_t>(info.st_size);
    }
    return sizes;
  }

  Fd Open(int file, int flags) const {
    Fd fd(open(Path(file).c_str(), flags | O_CLOEXEC, 0644));
    if (!fd.valid()) throw LoadError("open");
    return fd;
  }
  static void Succeed(long result, const char* what) {
    if (result < 0) throw LoadError(what);
  }

  void CarryOut(const LoadOperation& operation) {
    const auto length = static_cast<off_t>(operation.length);
    switch (operation.kind) {
      case LoadKind::kCreate:
        Open(operation.file, O_WRONLY | O_CREAT | O_EXCL);
        break;
      case LoadKind::kWriteDirect:
        Write(operation, O_DIRECT);
        break;
      case LoadKind::kWriteDurable:
        Write(operation, O_DIRECT | O_DSYNC);
        break;
      case LoadKind::kWriteBuffered:
        Write(operation, 0);
        break;
      case LoadKind::kCopy:
      case LoadKind::kClone:
        Copy(operation);
        break;
      case LoadKind::kTruncate:
        Succeed(truncate(Path(operation.file).c_str(), length), "truncate");
        break;
      case LoadKind::kPunch:
        Succeed(fallocate(Open(operation.file, O_WRONLY).get(),
                          FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                          static_cast<off_t>(operation.offset), length),
                "punch");
        break;
      case LoadKind::kRename:
        Succeed(rename(Path(operation.source).c_str(), Path(operation.file).c_str()), "rename");
        break;
      case LoadKind::kUnlink:
        Succeed(unlink(Path(operation.file).c_str()), "unlink");
        break;
      case LoadKind::kFsync:
        Succeed(fsync(Open(operation.file, O_RDONLY).get()), "fsync");
        break;
      case LoadKind::kFsyncDirectory:
        Succeed(fsync(Fd(open(directory_.c_str(), O_RDONLY | O_CLOEXEC)).get()), "fsync");
        break;
    }
  }

  void Write(const LoadOperation& operation, int flags) const {
    AlignedBuffer buffer(operation.length);
    FillFromStream(buffer.data(), operation.seed, operation.offset, operation.length);
    const Fd fd = Open(operation.file, O_WRONLY | flags);
    const ssize_t count = pwrite(fd.get(), buffer.data(), operation.length,
                                 static_cast<off_t>(operation.offset));
    if (count != static_cast<ssize_t>(operation.length)) throw LoadError("write");
    if (flags == 0) Succeed(fdatasync(fd.get()), "fdatasync");
  }

  void Copy(const LoadOperation& operation) const {
    const Fd source = Open(operation.source, O_RDONLY), target = Open(operation.file, O_RDWR);
    if (operation.kind == LoadKind::kClone) {
      cofs_ioc_copy_arm arm = {};
      arm.source_offset = operation.source_offset;
      arm.destination_offset = operation.offset;
      arm.length = operation.length;
      arm.how = COFS_ARM_CLONE;
      Succeed(ioctl(target.get(), COFS_IOC_COPY_ARM, &arm), "arm");
    }
    auto from = static_cast<off_t>(operation.source_offset);
    auto to = static_cast<off_t>(operation.offset);
    for (uint64_t left = operation.length; left > 0;) {
      const ssize_t count = copy_file_range(source.get(), &from, target.get(), &to, left, 0);
      if (count <= 0) throw LoadError("copy_file_range");
      left -= static_cast<uint64_t>(count);
    }
  }

  const std::string directory_, prefix_;
  LoadPlan plan_;
  LoadLog& log_;
};

}  // namespace

int RunLoad(const std::string& directory, uint64_t seed, const std::string& log_target) {
  try {
    LoadLog log(log_target);
    std::vector<LoadThread> loads;
    for (int thread = 0; thread < kLoadThreads; ++thread)
      loads.emplace_back(directory, seed, thread, log);
    log.Write("R");
    std::vector<std::thread> threads;
    for (LoadThread& load : loads) threads.emplace_back([&load] { load.Run(); });
    for (std::thread& each : threads) each.join();
  } catch (const std::exception& error) {
    std::printf("power_load: %s\n", error.what());
  }
  return 1;
}

}  // namespace cofs
