// mount.cofs -f with a recording device below the volume: the same daemon, but for the
// log of all changes of the device, which it writes to a file when the mount has ended.
// log_file.h has the variables that it takes.
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <thread>

#include "base/aligned_buffer.h"
#include "base/check.h"
#include "base/file_descriptor.h"
#include "device/fault_device.h"
#include "device/recording_device.h"
#include "fs/fuse/mounted_volume.h"
#include "tests/crash/log_file.h"

namespace cofs {
namespace {

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  CHECK(value != nullptr, name, " is not set");
  return value;
}

Fd ListenAt(const std::string& path) {
  Fd listening(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  CHECK(path.size() < sizeof address.sun_path, "the socket's path is too long");
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  ::unlink(path.c_str());
  CHECK(::bind(listening.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) ==
                0 &&
            ::listen(listening.get(), 1) == 0,
        "listening at ", path);
  return listening;
}

// One client, until it hangs up.
void TakeMarks(const Fd& listening, RecordingDevice& recorder) {
  const Fd client(::accept4(listening.get(), nullptr, nullptr, SOCK_CLOEXEC));
  uint64_t mark = 0;
  while (::recv(client.get(), &mark, sizeof mark, 0) == sizeof mark) {
    recorder.Mark(mark);
    const char answer = 1;
    if (::send(client.get(), &answer, 1, MSG_NOSIGNAL) != 1) return;
  }
}

// A device with a copy command, as a drive has one, over one that has none.
class CopyingDevice : public BlockDevice {
 public:
  explicit CopyingDevice(std::unique_ptr<BlockDevice> base) : base_(std::move(base)) {}

  const DeviceGeometry& geometry() const override { return base_->geometry(); }
  Status Execute(std::span<IoOp> ops) override { return base_->Execute(ops); }
  std::unique_ptr<IoQueue> NewQueue(unsigned depth) override {
    return base_->NewQueue(depth);
  }
  std::optional<DeviceCopyLimits> copy_limits() const override {
    return DeviceCopyLimits{.segment_bytes_max = 256 << 10,
                            .command_bytes_max = 1 << 20,
                            .segments_max = 8};
  }
  Status Copy(std::span<const DeviceRange> sources, DeviceOffset destination) override {
    for (const DeviceRange& source : sources) {
      AlignedBuffer data(source.length_bytes);
      TRY(base_->Read(source.offset, data.span()));
      TRY(base_->Write(destination, data.span()));
      destination += source.length_bytes;
    }
    return OkStatus();
  }

 private:
  const std::unique_ptr<BlockDevice> base_;
};

int Main(const std::vector<std::string>& arguments) {
  const std::string log_path = Variable(kLogPathVariable);
  const Fd listening = ListenAt(Variable(kMarkSocketVariable));
  Result<MountOptions> options = ParseMountArguments(arguments);
  if (!options.ok()) {
    std::fprintf(stderr, "%s\n", options.error().ToString().c_str());
    return kExitUsage;
  }
  // It serves a socket of the test and writes a log at its end.
  options->sandbox = false;
  struct stat stat {};
  CHECK(::stat(options->source.c_str(), &stat) == 0, options->source);
  const MountPlace place{.source = options->source,
                         .directory = options->directory,
                         .is_block_device = S_ISBLK(stat.st_mode)};
  PrepareProcess();
  // They outlive the volume: what it owns only passes I/O on.
  std::unique_ptr<CopyingDevice> drive;
  std::unique_ptr<RecordingDevice> recorder;
  MountedVolume mount(*options, place, [&](std::unique_ptr<BlockDevice> opened) {
    drive = std::make_unique<CopyingDevice>(std::move(opened));
    recorder = std::make_unique<RecordingDevice>(*drive);
    return std::make_unique<FaultDevice>(*recorder);
  });
  if (const Status started = mount.Start(); !started.ok()) {
    std::fprintf(stderr, "%s\n", started.error().ToString().c_str());
    return kExitMountFailure;
  }
  std::thread marks([&] { TakeMarks(listening, *recorder); });
  const Status served = mount.ServeToEnd();
  ::shutdown(listening.get(), SHUT_RDWR);
  marks.join();
  const Status written = WriteLogFile(recorder->TakeLog(), log_path);
  for (const Status& status : {served, written})
    if (!status.ok()) std::fprintf(stderr, "%s\n", status.error().ToString().c_str());
  return served.ok() && written.ok() ? kExitOk : kExitSystem;
}

}  // namespace
}  // namespace cofs

int main(int argc, char** argv) {
  return cofs::Main(std::vector<std::string>(argv + 1, argv + argc));
}
