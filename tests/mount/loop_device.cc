#include "tests/mount/loop_device.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <system_error>

namespace cofs {

LoopDevice::LoopDevice(const std::string& image_path) {
  const Fd image(open(image_path.c_str(), O_RDWR | O_CLOEXEC));
  const Fd control(open("/dev/loop-control", O_RDWR | O_CLOEXEC));
  if (!image.valid() || !control.valid())
    throw std::system_error(errno, std::generic_category(), image_path);
  // Others take loop devices at the same time: ask for a free one until one is ours.
  for (int attempt = 0; attempt < 50; ++attempt) {
    const int number = ioctl(control.get(), LOOP_CTL_GET_FREE);
    if (number < 0) break;
    const std::string path = "/dev/loop" + std::to_string(number);
    Fd device(open(path.c_str(), O_RDWR | O_CLOEXEC));
    if (!device.valid()) break;
    loop_config config{};
    config.fd = static_cast<__u32>(image.get());
    config.info.lo_flags = LO_FLAGS_AUTOCLEAR;
    if (ioctl(device.get(), LOOP_CONFIGURE, &config) == 0) {
      path_ = path;
      fd_ = std::move(device);
      return;
    }
    if (errno != EBUSY) break;
  }
  throw std::system_error(errno, std::generic_category(), "no loop device");
}

}  // namespace cofs
