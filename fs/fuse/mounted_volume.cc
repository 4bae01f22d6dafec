#include "fs/fuse/mounted_volume.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <ctime>
#include <thread>

#include "base/log.h"
#include "device/file_device.h"
#include "fs/fuse/sandbox.h"
#include "fs/fuse/stats_report.h"

namespace cofs {
namespace {

// A plain fuse mount is gone for umount(8) before its daemon has let go of the volume.
constexpr std::chrono::seconds kDeviceWait{15};
// How long those who still use a mount that a signal has ended may go on.
constexpr time_t kDrain_s = 10;
constexpr int kEndSignal = SIGUSR2;  // the session has ended

unsigned DefaultThreadCount() {
  // Requests wait for the device: more of them than processors. Idle ones cost nothing.
  return std::clamp(4 * std::thread::hardware_concurrency(), 16u, 64u);
}

}  // namespace

MountedVolume::~MountedVolume() {
  write_back_thread_.reset();
  session_.reset();
}

Result<std::unique_ptr<BlockDevice>> MountedVolume::OpenDevice() {
  FileDevice::Options device_options;
  device_options.wait = kDeviceWait;
  const OpenMode mode =
      options_.volume.read_only ? OpenMode::kReadOnly : OpenMode::kReadWrite;
  TRY_ASSIGN(std::unique_ptr<FileDevice> file_device,
             FileDevice::Open(place_.source, mode, device_options));
  io_ = file_device->buffered_reason().empty()
            ? "direct"
            : "buffered: " + file_device->buffered_reason();
  return std::unique_ptr<BlockDevice>(std::move(file_device));
}

void MountedVolume::GiveUpPrivileges() {
  if (!options_.sandbox) {
    sandbox_ = "off";
    return;
  }
  std::optional<dev_t> number;
  struct stat stat;
  if (place_.is_block_device && ::stat(place_.source.c_str(), &stat) == 0)
    number = stat.st_rdev;
  if (const Status entered = EnterSandbox(CapabilitiesFor(number)); !entered.ok())
    LogWarning(StrCat("not all privileges are given up: ", entered.error().ToString()));
  sandbox_ = DescribeSandbox();
  LogDebug("sandbox: " + sandbox_);
}

Status MountedVolume::OpenVolume(std::unique_ptr<BlockDevice> device) {
  if (wrap_device_) device = wrap_device_(std::move(device));
  VolumeOptions volume_options = options_.volume;
  // Images are kept from being mounted twice by the lock on the file, on this host and,
  // where the file system below passes locks on, on others.
  volume_options.mmp = options_.mmp.value_or(place_.is_block_device);
  TRY_ASSIGN(volume_, Volume::Mount(std::move(device), volume_options));
  return OkStatus();
}

MountRequest MountedVolume::RequestOfMount() const {
  MountRequest request;
  request.source = place_.source;
  request.directory = place_.directory;
  request.is_block_device = place_.is_block_device;
  request.allow_other = options_.allow_other;
  request.flags = options_.kernel_flags;
  request.kernel_options = options_.kernel_options;
  return request;
}

void MountedVolume::CloseVolume() {
  if (volume_ == nullptr) return;
  close_status_ = volume_->Unmount();
  volume_.reset();
}

Status MountedVolume::Start() {
  // Before any thread is made: all of them leave these signals to the main thread.
  ::sigemptyset(&signals_);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, kEndSignal})
    ::sigaddset(&signals_, signal);
  ::pthread_sigmask(SIG_BLOCK, &signals_, nullptr);

  TRY_ASSIGN(helper_, MountHelper::Start(RequestOfMount()));
  TRY_ASSIGN(std::unique_ptr<BlockDevice> device, OpenDevice());
  GiveUpPrivileges();
  TRY(OpenVolume(std::move(device)));
  operations_.emplace(*volume_);
  FuseSession::Options session_options;
  session_options.thread_count =
      options_.thread_count != 0 ? options_.thread_count : DefaultThreadCount();
  session_options.on_destroy = [this] { CloseVolume(); };
  session_options.on_end = [] { ::kill(::getpid(), kEndSignal); };
  TRY_ASSIGN(session_, FuseSession::Create(*operations_, std::move(session_options)));
  write_back_thread_ = std::make_unique<WriteBackThread>(*session_);
  operations_->set_options(OperationOptions());
  return GoLive();
}

Operations::Options MountedVolume::OperationOptions() {
  Operations::Options operation_options;
  operation_options.writeback_cache = options_.writeback_cache;
  operation_options.stats_text = [this] {
    StatsSource source;
    source.volume = volume_.get();
    source.session = session_.get();
    source.options = &options_;
    source.device = place_.source;
    source.directory = place_.directory;
    source.io = io_;
    source.sandbox = sandbox_;
    source.mounted_at_s = mounted_at_s_;
    return StatsText(source);
  };
  operation_options.change_options = [this](std::string_view text) -> Status {
    MountOptions changed = options_;
    changed.volume = volume_->options();
    TRY(ParseLiveOptions(text, changed));
    volume_->SetLiveOptions(changed.volume);
    LogInfo(StrCat("options changed: ", Printable(text)));
    return OkStatus();
  };
  operation_options.after_write_back = [this](InodeId inode, FileOffset begin,
                                              fuse_req_t fuse_request,
                                              WriteBackThread::Answer answer) {
    write_back_thread_->Ask(inode, begin, fuse_request, std::move(answer));
  };
  operation_options.invalidate_attributes = [this](InodeId inode) {
    session_->InvalidateAttributes(inode);
  };
  return operation_options;
}

Status MountedVolume::GoLive() {
  Result<Fd> connection = helper_->Mount();
  const bool is_mounted = connection.ok();
  mounted_at_s_ = ::time(nullptr);  // before there are workers, who read it
  Status live =
      is_mounted ? session_->Start(std::move(*connection)) : connection.error();
  if (!live.ok()) {
    session_->Stop();
    if (is_mounted) helper_->Unmount(true).IgnoreError("the first error is reported");
    CloseVolume();
    return live;
  }
  TuneMount(helper_->device());
  LogInfo(StrCat("mounted ", Printable(place_.source), " at ", Printable(place_.directory),
                 options_.volume.read_only ? ", read-only" : ""));
  return OkStatus();
}

Status MountedVolume::ServeToEnd() {
  for (;;) {
    const int signal = ::sigwaitinfo(&signals_, nullptr);
    if (signal == kEndSignal) break;
    if (signal > 0) {
      UnmountBySignal(signal);
      break;
    }
  }
  // Before the workers' descriptors are closed: it may still answer on them.
  write_back_thread_->End();
  session_->Stop();
  CloseVolume();
  if (close_status_.ok())
    LogInfo(StrCat("unmounted ", Printable(place_.source)));
  else
    LogError(StrCat("unmounting ", Printable(place_.source), ": ",
                    close_status_.error().ToString()));
  return close_status_;
}

void MountedVolume::UnmountBySignal(int signal_number) {
  LogInfo(StrCat("signal ", signal_number, ": unmounting ", Printable(place_.directory)));
  // Another file system over ours, or ours moved away: not ours to unmount. The end of
  // the workers aborts the connection.
  const Status written = helper_->WriteBack();
  if (written.Is(ErrorCode::kNotFound)) return;
  if (!written.ok()) LogWarning(written.error().ToString());
  Status status = helper_->Unmount(false);
  if (status.Is(ErrorCode::kBusy)) {
    LogWarning(StrCat(Printable(place_.directory), " is in use: detaching it, and ending in ",
                      kDrain_s, " s at the latest"));
    status = helper_->Unmount(true);
  }
  if (!status.ok()) {
    LogError(status.error().ToString());
    return;
  }
  // Until the kernel has let go, a second signal, or the end of patience.
  const timespec patience{kDrain_s, 0};
  if (::sigtimedwait(&signals_, nullptr, &patience) != kEndSignal)
    LogWarning("ending while the mount is still in use");
}

}  // namespace cofs
