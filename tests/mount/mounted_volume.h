// MountedTestVolume: a cofs volume of its own for one test, mounted through the kernel.
// MountTest: the fixture around it.
//
// A volume lives in a temporary directory that nobody else uses: a sparse image, or a
// loop device over one. Whatever happens to the test, the mount, the daemon, the loop
// device and the directory are gone afterwards; only the daemon's own pid is ever
// signalled. A watchdog kills a daemon when nothing gets done for HangLimitSeconds().
//
// COFS_TEST_DIR_ON=DIR runs the parts that are plain POSIX in a directory of another
// file system, without mkfs, mount and fsck: it tells a wrong expectation from a
// defect of cofs. COFS_TEST_IMAGE_DIR=DIR puts the images there.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "tests/mount/loop_device.h"
#include "tests/mount/subprocess.h"

namespace cofs {

struct VolumeSetup {
  uint64_t size_bytes = uint64_t{2} << 30;
  bool block_device = false;  // a loop device, which mounts as fuseblk
  std::string options = {};   // of mount.cofs -o
  std::vector<std::string> mkfs_arguments = {};
  std::string image_parent = {};  // where the image goes; empty: memory, if there is enough
  std::string mount_program = "mount.cofs";  // of this build
};

// A directory for images; removed with all that is in it.
class ScratchDirectory {
 public:
  // Below `parent`; empty: where images go.
  explicit ScratchDirectory(const std::string& parent = "");
  ~ScratchDirectory();
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

class MountedTestVolume {
 public:
  // Formats; does not mount. Throws when mkfs.cofs fails.
  explicit MountedTestVolume(const VolumeSetup& setup);
  ~MountedTestVolume();

  // `options` in place of the setup's. Throws, with the daemon's log, when the mount
  // does not come up.
  void Mount();
  void Mount(const std::string& options);
  bool mounted() const { return daemon_.running(); }
  // Unmounts, waits for the daemon and expects that it ended well.
  void Unmount();
  // The same after a failure that the daemon may tell by its exit code.
  void UnmountFailed();
  // kill -9, then detaches what is left of the mount.
  void Kill();
  // kill -9 so long after the daemon was started, or after an unmount was asked for.
  void KillWhileMounting(int delay_ms);
  void KillWhileUnmounting(int delay_ms);
  // The daemon is about to end by itself (a signal was sent): expects that it ends
  // well and that the mount is gone.
  void ExpectEnd();
  // fsck.cofs -n: expects exit 0 and no finding.
  void Check();

  const std::string& root() const { return root_; }
  const std::string& image() const { return image_; }
  // What the programs are given: the image, or the loop device over it.
  const std::string& device() const { return loop_.attached() ? loop_.path() : image_; }
  const std::string& log_path() const { return log_; }
  pid_t daemon_pid() const { return daemon_.pid(); }
  void SignalDaemon(int signal_number) { daemon_.Signal(signal_number); }

 private:
  void Start(const std::string& options);
  void Watch(const Fd& pidfd, pid_t pid);
  void StopWatching();
  void DetachAndWait(bool may_have_failed);
  void WaitForEnd(bool may_have_failed);
  void ExpectCleanLog();

  ScratchDirectory directory_;
  std::string image_, root_, log_;
  const std::string mount_program_;
  std::string options_;
  LoopDevice loop_;
  BackgroundProgram daemon_;
  std::thread watchdog_;
  Fd watchdog_end_;  // closed: the watchdog ends
};

// Whether `directory` is a mount point of this process's mounts.
bool IsMountPoint(const std::string& directory);

// Each test has a volume of its own; afterwards it is unmounted and checked.
class MountTest : public ::testing::Test {
 protected:
  MountTest() = default;
  explicit MountTest(VolumeSetup setup) : setup_(std::move(setup)) {}
  void SetUp() override;
  void TearDown() override;

  const std::string& root() const { return root_; }
  // A path below the mount.
  std::string Path(const std::string& name) const { return root_ + "/" + name; }
  // False under COFS_TEST_DIR_ON.
  bool OnCofs() const { return volume_ != nullptr; }
  MountedTestVolume& volume() { return *volume_; }
  // Unmounts and mounts again; under COFS_TEST_DIR_ON a sync.
  void Remount();

  VolumeSetup setup_;

 private:
  std::unique_ptr<MountedTestVolume> volume_;
  std::string root_;
};

// As MountTest, but skips under COFS_TEST_DIR_ON: it needs cofs itself.
class CofsMountTest : public MountTest {
 protected:
  using MountTest::MountTest;
  void SetUp() override;
};

// Why nothing of this program can run here; nullopt when it can.
std::optional<std::string> WhyNoMounts(bool needs_loop_device);

}  // namespace cofs
