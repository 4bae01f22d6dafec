#include "fs/fuse/mount_options.h"

#include <sys/mount.h>

#include <charconv>
#include <initializer_list>
#include <limits>

namespace cofs {

const char kMountUsage[] =
    R"(Usage: mount.cofs [-sfvVh] [-o OPTION[,OPTION...]] DEVICE|IMAGE DIRECTORY

Mounts a cofs volume. Returns when it is mounted.

  -o OPTIONS   see below
  -f           stay in front; Ctrl-C unmounts
  -s           leave out options that are not known
  -v           log more
  -V, -h       version, this help

Options of cofs:
  copy=auto|share|device|buffered
                        what copy_file_range(2) does (default: auto)
  clone=share|device    what clones do: share blocks, or copies by the device
                        (default: share)
  verify_copy=off|sample|all
                        what is read back of copies by the device (default: sample)
  cache=SIZE            memory for metadata (default: 64M)
  commit=SECONDS        longest time until a change is durable (default: 5)
  discard               discard freed blocks
  sync                  every operation is durable when it returns
  mmp, nommp            show other hosts that the volume is mounted, by a heartbeat in
                        it (default: mmp on block devices, nommp on images)
  stall_report=SECONDS  report I/O that has not come back for so long; 0: never
                        (default: 30)
  nowriteback_cache     write(2) reaches the volume at once; it reports a full volume
  threads=N             requests served at once (default: by processors)
  log=FILE              log to FILE instead of syslog
  nosandbox             the daemon keeps all of its privileges, for debugging

Options of mount(8):
  ro, norecovery (the same: nothing is written), rw, noatime, relatime, strictatime,
  nodev, nosuid, noexec, remount, allow_other, max_read=N, context=..., and those that
  only mount(8) itself looks at. A write-protected device is mounted as with ro.
)";

namespace {

enum class Value { kNone, kRequired };

using Apply = Status (*)(MountOptions& options, std::string_view value);

struct OptionRow {
  std::string_view name;
  Value value;
  Apply apply;
};

Error BadValue(std::string_view value, std::string_view expected) {
  return Error(ErrorCode::kInvalidArgument, StrCat("'", value, "' is not ", expected));
}

Result<uint64_t> ParseNumber(std::string_view text, uint64_t min, uint64_t max) {
  uint64_t number = 0;
  const char* end = text.data() + text.size();
  const auto [stop, code] = std::from_chars(text.data(), end, number);
  if (code != std::errc() || stop != end || number < min || number > max)
    return BadValue(text, StrCat("a number from ", min, " to ", max));
  return number;
}

template <unsigned long kSet, unsigned long kClear>
Status Flags(MountOptions& options, std::string_view) {
  options.kernel_flags = (options.kernel_flags & ~kClear) | kSet;
  return OkStatus();
}

Status Ignore(MountOptions&, std::string_view) { return OkStatus(); }

Status ReadOnly(MountOptions& options, std::string_view) {
  options.volume.read_only = true;
  return Flags<MS_RDONLY, 0>(options, {});
}
Status NoRecovery(MountOptions& options, std::string_view) {
  options.norecovery = true;
  return ReadOnly(options, {});
}
Status ReadWrite(MountOptions& options, std::string_view) {
  options.volume.read_only = false;
  return Flags<0, MS_RDONLY>(options, {});
}

template <AtimePolicy kPolicy>
Status Atime(MountOptions& options, std::string_view) {
  options.volume.atime = kPolicy;
  constexpr unsigned long kAll = MS_NOATIME | MS_RELATIME | MS_STRICTATIME;
  // relatime is the kernel's default too; the flag of noatime makes it visible.
  return Flags<kPolicy == AtimePolicy::kNone ? MS_NOATIME : 0, kAll>(options, {});
}

Status Sync(MountOptions& options, std::string_view) {
  options.volume.sync = true;
  options.writeback_cache = false;
  return OkStatus();
}
Status Async(MountOptions& options, std::string_view) {
  options.volume.sync = false;
  return OkStatus();
}
Status DirSync(MountOptions& options, std::string_view) {
  options.volume.sync = true;
  return OkStatus();
}
template <bool kOn>
Status Discard(MountOptions& options, std::string_view) {
  options.volume.discard = kOn;
  return OkStatus();
}
template <bool kOn>
Status WritebackCache(MountOptions& options, std::string_view) {
  options.writeback_cache = kOn;
  return OkStatus();
}

template <bool kOn>
Status Sandbox(MountOptions& options, std::string_view) {
  options.sandbox = kOn;
  return OkStatus();
}

// Sets `setting` to the one of `values` that has that name.
template <typename T>
Status Choose(std::string_view name, std::initializer_list<T> values, Live<T>& setting) {
  std::string names;
  for (const T value : values) {
    if (NameOf(value) == name) {
      setting = value;
      return OkStatus();
    }
    names += StrCat(names.empty() ? "" : ", ", NameOf(value));
  }
  return BadValue(name, "one of " + names);
}

Status Copy(MountOptions& options, std::string_view value) {
  return Choose(value,
                {CopyRangePolicy::kAuto, CopyRangePolicy::kShare, CopyRangePolicy::kDevice,
                 CopyRangePolicy::kBuffered},
                options.volume.copy);
}
Status Clone(MountOptions& options, std::string_view value) {
  return Choose(value, {ClonePolicy::kShare, ClonePolicy::kDevice}, options.volume.clone);
}
Status VerifyCopy(MountOptions& options, std::string_view value) {
  return Choose(value, {CopyVerify::kNone, CopyVerify::kSample, CopyVerify::kAll},
                options.volume.verify_copy);
}

Status Cache(MountOptions& options, std::string_view value) {
  constexpr uint64_t kMin = 4ull << 20, kMax = 1ull << 40;
  const Result<uint64_t> size = ParseSize(value);
  if (!size.ok() || *size < kMin || *size > kMax)
    return BadValue(value, "a size from 4M to 1T");
  options.volume.cache_bytes = *size;
  return OkStatus();
}

Status Commit(MountOptions& options, std::string_view value) {
  TRY_ASSIGN(const uint64_t seconds, ParseNumber(value, 1, 300));
  options.volume.commit_interval_ms = static_cast<uint32_t>(seconds * 1000);
  return OkStatus();
}

Status StallReport(MountOptions& options, std::string_view value) {
  TRY_ASSIGN(const uint64_t seconds, ParseNumber(value, 0, 3600));
  options.volume.stall_report_ms = static_cast<uint32_t>(seconds * 1000);
  return OkStatus();
}

template <bool kOn>
Status MultiMountProtection(MountOptions& options, std::string_view) {
  options.mmp = kOn;
  return OkStatus();
}

Status Threads(MountOptions& options, std::string_view value) {
  // Two at least: an INTERRUPT must be read while a copy is running.
  TRY_ASSIGN(const uint64_t count, ParseNumber(value, 2, 512));
  options.thread_count = static_cast<unsigned>(count);
  return OkStatus();
}

Status LogFile(MountOptions& options, std::string_view value) {
  if (value.empty()) return BadValue(value, "a file name");
  options.log_file = value;
  return OkStatus();
}

Status MaxRead(MountOptions& options, std::string_view value) {
  TRY_ASSIGN(const uint64_t bytes, ParseNumber(value, 4096, 1u << 30));
  options.kernel_options.push_back(StrCat("max_read=", bytes));
  return OkStatus();
}

Status AllowOther(MountOptions& options, std::string_view) {
  options.allow_other = true;
  return OkStatus();
}
Status Remount(MountOptions& options, std::string_view) {
  options.remount = true;
  return OkStatus();
}
Status Verbose(MountOptions& options, std::string_view) {
  options.verbose = true;
  return OkStatus();
}

// What mount(8) puts together from several flags.
Status User(MountOptions& options, std::string_view) {
  return Flags<MS_NOSUID | MS_NODEV | MS_NOEXEC, 0>(options, {});
}
Status Defaults(MountOptions& options, std::string_view) {
  return Flags<0, MS_NOSUID | MS_NODEV | MS_NOEXEC>(options, {});
}

constexpr OptionRow kOptions[] = {
    {"copy", Value::kRequired, Copy},
    {"clone", Value::kRequired, Clone},
    {"verify_copy", Value::kRequired, VerifyCopy},
    {"cache", Value::kRequired, Cache},
    {"commit", Value::kRequired, Commit},
    {"stall_report", Value::kRequired, StallReport},
    {"mmp", Value::kNone, MultiMountProtection<true>},
    {"nommp", Value::kNone, MultiMountProtection<false>},
    {"threads", Value::kRequired, Threads},
    {"log", Value::kRequired, LogFile},
    {"max_read", Value::kRequired, MaxRead},
    {"ro", Value::kNone, ReadOnly},
    {"norecovery", Value::kNone, NoRecovery},  // read-only, which writes nothing anyway
    {"rw", Value::kNone, ReadWrite},
    {"noatime", Value::kNone, Atime<AtimePolicy::kNone>},
    {"relatime", Value::kNone, Atime<AtimePolicy::kRelative>},
    {"norelatime", Value::kNone, Atime<AtimePolicy::kRelative>},
    {"atime", Value::kNone, Atime<AtimePolicy::kRelative>},
    {"strictatime", Value::kNone, Atime<AtimePolicy::kStrict>},
    {"nostrictatime", Value::kNone, Atime<AtimePolicy::kRelative>},
    {"nodiratime", Value::kNone, Flags<MS_NODIRATIME, 0>},
    {"diratime", Value::kNone, Flags<0, MS_NODIRATIME>},
    {"sync", Value::kNone, Sync},
    {"async", Value::kNone, Async},
    {"dirsync", Value::kNone, DirSync},
    {"discard", Value::kNone, Discard<true>},
    {"nodiscard", Value::kNone, Discard<false>},
    {"writeback_cache", Value::kNone, WritebackCache<true>},
    {"nowriteback_cache", Value::kNone, WritebackCache<false>},
    {"sandbox", Value::kNone, Sandbox<true>},
    {"nosandbox", Value::kNone, Sandbox<false>},
    {"nodev", Value::kNone, Flags<MS_NODEV, 0>},
    {"dev", Value::kNone, Flags<0, MS_NODEV>},
    {"nosuid", Value::kNone, Flags<MS_NOSUID, 0>},
    {"suid", Value::kNone, Flags<0, MS_NOSUID>},
    {"noexec", Value::kNone, Flags<MS_NOEXEC, 0>},
    {"exec", Value::kNone, Flags<0, MS_NOEXEC>},
    {"user", Value::kNone, User},
    {"users", Value::kNone, User},
    {"owner", Value::kNone, User},
    {"group", Value::kNone, User},
    {"defaults", Value::kNone, Defaults},
    {"allow_other", Value::kNone, AllowOther},
    {"remount", Value::kNone, Remount},
    {"debug", Value::kNone, Verbose},
    // Always so, or without a meaning here; mount(8) and fstab lines pass them on.
    {"default_permissions", Value::kNone, Ignore},
    {"nofail", Value::kNone, Ignore},
    {"auto", Value::kNone, Ignore},
    {"noauto", Value::kNone, Ignore},
    {"nouser", Value::kNone, Ignore},
    {"nousers", Value::kNone, Ignore},
    {"noowner", Value::kNone, Ignore},
    {"nogroup", Value::kNone, Ignore},
    {"_netdev", Value::kNone, Ignore},
    {"lazytime", Value::kNone, Ignore},
    {"nolazytime", Value::kNone, Ignore},
    {"silent", Value::kNone, Ignore},
    {"loud", Value::kNone, Ignore},
    {"mand", Value::kNone, Ignore},
    {"nomand", Value::kNone, Ignore},
    {"iversion", Value::kNone, Ignore},
    {"noiversion", Value::kNone, Ignore},
    {"acl", Value::kNone, Ignore},
    {"noacl", Value::kNone, Ignore},
    {"user_xattr", Value::kNone, Ignore},
};

bool IsMountsOwn(std::string_view name) {
  return name.starts_with("x-") || name.starts_with("X-") || name == "comment" ||
         name == "user" || name == "uhelper" || name == "helper" || name == "subtype" ||
         name == "fsname" || name == "blkdev" || name == "blksize" ||
         // mount(8) passes on what the mount table shows when it remounts.
         name == "user_id" || name == "group_id" || name == "rootmode";
}

bool IsSecurityContext(std::string_view name) {
  return name == "context" || name == "fscontext" || name == "defcontext" ||
         name == "rootcontext" || name == "seclabel";
}

Status ParseOption(std::string_view text, MountOptions& options) {
  const size_t equals = text.find('=');
  const std::string_view name = text.substr(0, equals);
  const bool has_value = equals != std::string_view::npos;
  const std::string_view value = has_value ? text.substr(equals + 1) : std::string_view();

  if (IsSecurityContext(name)) {
    options.kernel_options.emplace_back(text);
    return OkStatus();
  }
  for (const OptionRow& row : kOptions) {
    if (row.name != name || (row.value == Value::kNone && has_value)) continue;
    if (row.value == Value::kRequired && !has_value)
      return Error(ErrorCode::kInvalidArgument, StrCat("option '", name, "' needs a value"));
    const Status status = row.apply(options, value);
    if (status.ok()) return status;
    return Error(ErrorCode::kInvalidArgument,
                 StrCat("option '", name, "': ", status.error().context()));
  }
  if (IsMountsOwn(name)) return OkStatus();
  if (options.sloppy) {
    options.warnings.push_back(StrCat("option '", text, "' is not known, left out"));
    return OkStatus();
  }
  return Error(ErrorCode::kInvalidArgument, StrCat("option '", text, "' is not known"));
}

// The next option of `list`, without its escapes; `list` becomes what follows.
std::string TakeOption(std::string_view& list) {
  std::string option;
  bool quoted = false;
  size_t i = 0;
  for (; i < list.size(); ++i) {
    const char c = list[i];
    if (c == '\\' && i + 1 < list.size() && (list[i + 1] == ',' || list[i + 1] == '\\')) {
      option.push_back(list[++i]);
    } else if (c == '"') {
      quoted = !quoted;
      option.push_back(c);  // the kernel takes contexts with their quotes
    } else if (c == ',' && !quoted) {
      ++i;
      break;
    } else {
      option.push_back(c);
    }
  }
  list.remove_prefix(i);
  return option;
}

}  // namespace

Result<uint64_t> ParseSize(std::string_view text) {
  uint64_t number = 0;
  const char* end = text.data() + text.size();
  const auto [stop, code] = std::from_chars(text.data(), end, number);
  std::string_view unit(stop, static_cast<size_t>(end - stop));
  if (unit.ends_with("iB")) unit.remove_suffix(2);
  static constexpr std::string_view kUnits = "KMGTP";
  unsigned shift = 0;
  if (unit.size() == 1) {
    const char upper = unit[0] >= 'a' ? static_cast<char>(unit[0] - 'a' + 'A') : unit[0];
    const size_t found = kUnits.find(upper);
    if (found != std::string_view::npos) shift = 10 * (static_cast<unsigned>(found) + 1);
  }
  const bool unit_ok = unit.empty() || (unit.size() == 1 && shift > 0);
  if (code != std::errc() || !unit_ok || number > (UINT64_MAX >> shift))
    return BadValue(text, "a size");
  return number << shift;
}

Status ParseOptionList(std::string_view list, MountOptions& options) {
  while (!list.empty()) {
    const std::string option = TakeOption(list);
    if (!option.empty()) TRY(ParseOption(option, options));
  }
  return OkStatus();
}

Status ParseLiveOptions(std::string_view list, MountOptions& options) {
  if (list.empty()) return Error(ErrorCode::kInvalidArgument, "no option is given");
  for (std::string_view rest = list; !rest.empty();) {
    const std::string option = TakeOption(rest);
    const std::string_view name = std::string_view(option).substr(0, option.find('='));
    if (name != "copy" && name != "clone" && name != "verify_copy")
      return Error(ErrorCode::kInvalidArgument,
                   StrCat("option '", name, "' can't be changed on a live mount"));
  }
  return ParseOptionList(list, options);
}

void MakeReadOnly(MountOptions& options) {
  options.volume.read_only = true;
  options.volume.discard = false;
  options.kernel_flags |= MS_RDONLY;
}

Result<MountOptions> ParseMountArguments(const std::vector<std::string>& arguments) {
  MountOptions options;
  std::vector<std::string> lists, places;
  bool only_places = false;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (only_places || argument.size() < 2 || argument[0] != '-') {
      places.push_back(argument);
      continue;
    }
    if (argument == "--") {
      only_places = true;
      continue;
    }
    if (argument == "--help") options.action = MountOptions::Action::kShowHelp;
    if (argument == "--version") options.action = MountOptions::Action::kShowVersion;
    if (options.action != MountOptions::Action::kMount) return options;
    // Letters can stand together; a value is the rest of the word or the next word.
    for (size_t k = 1; k < argument.size(); ++k) {
      const char letter = argument[k];
      if (letter == 'o' || letter == 't' || letter == 'N') {
        std::string value = argument.substr(k + 1);
        if (value.empty()) {
          if (++i == arguments.size())
            return Error(ErrorCode::kInvalidArgument, StrCat("-", letter, " needs a value"));
          value = arguments[i];
        }
        if (letter == 'o') lists.push_back(value);
        if (letter == 'N')
          return Error(ErrorCode::kInvalidArgument, "-N (a mount namespace) is not supported");
        break;
      }
      switch (letter) {
        case 'f':
          options.foreground = true;
          break;
        case 's':
          options.sloppy = true;
          break;
        case 'v':
          options.verbose = true;
          break;
        case 'n':
          break;  // no /etc/mtab: there is none
        case 'V':
          options.action = MountOptions::Action::kShowVersion;
          return options;
        case 'h':
          options.action = MountOptions::Action::kShowHelp;
          return options;
        default:
          return Error(ErrorCode::kInvalidArgument, StrCat("-", letter, " is not known"));
      }
    }
  }
  for (const std::string& list : lists) TRY(ParseOptionList(list, options));
  if (options.volume.read_only) MakeReadOnly(options);
  if (places.size() != 2)
    return Error(ErrorCode::kInvalidArgument,
                 "a device or image and a directory are needed, and nothing else");
  options.source = places[0];
  options.directory = places[1];
  return options;
}

}  // namespace cofs
