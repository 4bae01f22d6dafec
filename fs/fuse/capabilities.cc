#include "fs/fuse/capabilities.h"

#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace cofs {
namespace {

struct CapabilityName {
  int number;
  const char* name;
};
// Those that a daemon may keep; others are shown by number.
constexpr CapabilityName kCapabilityNames[] = {{CAP_SYS_ADMIN, "sys_admin"},
                                               {CAP_SYS_RAWIO, "sys_rawio"}};

bool GetCapabilities(__user_cap_data_struct (&data)[2]) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  return ::syscall(SYS_capget, &header, data) == 0;
}

}  // namespace

Status KeepCapabilities(uint64_t kept) {
  // The bounding set first: it takes a capability to change it.
  for (int number = 0; number <= CAP_LAST_CAP; ++number)
    if ((kept & CapabilityBit(number)) == 0) ::prctl(PR_CAPBSET_DROP, number, 0, 0, 0);
  ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  __user_cap_data_struct data[2] = {};
  if (!GetCapabilities(data)) return ErrorOfErrno(errno, "capget");
  for (int i = 0; i < 2; ++i) {
    const auto mask = static_cast<uint32_t>(kept >> (32 * i));
    data[i].permitted &= mask;
    data[i].effective = data[i].permitted;
    data[i].inheritable = 0;
  }
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  if (::syscall(SYS_capset, &header, data) != 0) return ErrorOfErrno(errno, "capset");
  return OkStatus();
}

uint64_t EffectiveCapabilities() {
  __user_cap_data_struct data[2] = {};
  if (!GetCapabilities(data)) return 0;
  return data[0].effective | uint64_t{data[1].effective} << 32;
}

std::string NamesOfCapabilities(uint64_t capabilities) {
  std::string names;
  for (int number = 0; number < 64; ++number) {
    if ((capabilities & CapabilityBit(number)) == 0) continue;
    std::string name = std::to_string(number);
    for (const CapabilityName& known : kCapabilityNames)
      if (known.number == number) name = known.name;
    names += (names.empty() ? "" : ",") + name;
  }
  return names.empty() ? "none" : names;
}

}  // namespace cofs
