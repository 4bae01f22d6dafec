// MountedVolume: one mount, from opening the device to the clean unmount.
#pragma once

#include <csignal>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "device/block_device.h"
#include "fs/core/volume.h"
#include "fs/fuse/daemon.h"
#include "fs/fuse/fuse_session.h"
#include "fs/fuse/mount_helper.h"
#include "fs/fuse/mount_options.h"
#include "fs/fuse/operations.h"
#include "fs/fuse/write_back_thread.h"

namespace cofs {

struct MountPlace {
  std::string source;     // what /proc/mounts is to show
  std::string directory;  // absolute, without symbolic links
  bool is_block_device = false;
};

// Puts a device in front of the one that a mount has opened. Tests record and fail I/O
// with it; what it returns sees every operation of the volume.
using WrapDevice =
    std::function<std::unique_ptr<BlockDevice>(std::unique_ptr<BlockDevice>)>;

// Belongs to the main thread of a process that has one mount: it blocks and waits for
// the process's signals.
class MountedVolume {
 public:
  MountedVolume(MountOptions options, MountPlace place, WrapDevice wrap_device = {})
      : options_(std::move(options)),
        place_(std::move(place)),
        wrap_device_(std::move(wrap_device)) {}
  ~MountedVolume();

  // Opens the volume and mounts it: live on return. On an error nothing is mounted and
  // nothing on the device has changed that a mount does not change. Forks, once, and gives
  // up the process's privileges (options.sandbox) before it makes a thread.
  Status Start();
  // Serves until it is unmounted or a signal asks for the end (SIGTERM, SIGINT, SIGHUP:
  // it unmounts, lazily when it is in use). On return the volume has been unmounted
  // cleanly; an error says that it was not.
  Status ServeToEnd();

 private:
  Result<std::unique_ptr<BlockDevice>> OpenDevice();
  void GiveUpPrivileges();
  Status OpenVolume(std::unique_ptr<BlockDevice> device);
  MountRequest RequestOfMount() const;
  Operations::Options OperationOptions();
  Status GoLive();
  void CloseVolume();
  void UnmountBySignal(int signal_number);

  const MountOptions options_;
  const MountPlace place_;
  const WrapDevice wrap_device_;
  sigset_t signals_{};
  std::string io_, sandbox_;
  int64_t mounted_at_s_ = 0;

  std::unique_ptr<MountHelper> helper_;
  std::unique_ptr<Volume> volume_;
  std::optional<Operations> operations_;
  std::unique_ptr<FuseSession> session_;
  std::unique_ptr<WriteBackThread> write_back_thread_;
  Status close_status_ = OkStatus();
};

}  // namespace cofs
