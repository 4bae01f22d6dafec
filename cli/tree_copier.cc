#include "cli/tree_copier.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "base/log.h"
#include "cli/copy_facts.h"
#include "cli/interrupt.h"
#include "cli/text_table.h"

namespace cofs {
namespace {

Error Failed(int error_number, const std::string& path) {
  return ErrorOfErrno(error_number, Printable(path));
}

Status GetStat(const std::string& path, bool follow, struct stat* out) {
  const int flags = follow ? 0 : AT_SYMLINK_NOFOLLOW;
  if (::fstatat(AT_FDCWD, path.c_str(), out, flags) != 0) return Failed(errno, path);
  return OkStatus();
}

Result<std::vector<std::string>> NamesIn(const std::string& path) {
  std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(path.c_str()), ::closedir);
  if (directory == nullptr) return Failed(errno, path);
  std::vector<std::string> names;
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(directory.get());
    if (entry == nullptr && errno != 0) return Failed(errno, path);
    if (entry == nullptr) break;
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

bool IsOlder(const timespec& a, const timespec& b) {
  return a.tv_sec != b.tv_sec ? a.tv_sec < b.tv_sec : a.tv_nsec < b.tv_nsec;
}

// A new file at `path`, which goes away again unless it is kept. Where something is
// already, the copy is made beside it and takes its place when it is complete.
class NewFile {
 public:
  // `replaced`: a regular file that is there now.
  static Result<NewFile> Create(const std::string& path, bool replaces, mode_t mode) {
    NewFile file;
    file.path_ = path;
    file.name_ = path;
    if (!replaces) {
      file.fd_ = Fd(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode));
    } else {
      const size_t slash = path.rfind('/');
      const std::string directory =
          slash == std::string::npos ? "" : path.substr(0, slash + 1);
      file.name_ = directory + ".cofs-cp-XXXXXX";
      file.fd_ = Fd(::mkostemp(file.name_.data(), O_CLOEXEC));
    }
    if (!file.fd_.valid()) {
      file.name_.clear();
      return Failed(errno, path);
    }
    return file;
  }
  NewFile(NewFile&& other) noexcept
      : fd_(std::move(other.fd_)),
        path_(std::move(other.path_)),
        name_(std::exchange(other.name_, "")) {}
  NewFile& operator=(NewFile&&) = delete;
  ~NewFile() {
    if (!name_.empty()) ::unlink(name_.c_str());
  }

  int fd() const { return fd_.get(); }
  Status Keep() {
    if (name_ != path_ && ::rename(name_.c_str(), path_.c_str()) != 0)
      return Failed(errno, path_);
    name_.clear();
    return OkStatus();
  }

 private:
  NewFile() = default;
  Fd fd_;
  std::string path_;
  std::string name_;  // where it is now; empty: it stays
};

}  // namespace

TreeCopier::TreeCopier(const TreeCopyOptions& options, ProgressMode progress,
                       uint64_t total_bytes)
    : options_(options), bar_(progress, total_bytes) {}

Result<bool> TreeCopier::Copy(const std::string& source, const std::string& destination) {
  struct stat from;
  // Links that are named are followed unless the tree is copied as it is.
  const Status found = GetStat(source, options_.follow_links || !options_.recursive, &from);
  has_failed_ = false;
  const Status status =
      found.ok() ? CopyOne({source, destination}, from, /*is_top=*/true) : found;
  const Status tolerated = Tolerate(status);
  bar_.Clear();
  TRY(tolerated);
  return !has_failed_;
}

Status TreeCopier::Tolerate(const Status& status) {
  if (status.ok()) return OkStatus();
  if (status.Is(ErrorCode::kInterrupted)) return status;
  bar_.Clear();
  LogError(status.error().ToString());
  has_failed_ = true;
  return OkStatus();
}

Status TreeCopier::CopyOne(const Place& place, const struct stat& from, bool is_top) {
  if (InterruptSignal() != 0) return Error(ErrorCode::kInterrupted, "copy");
  if (S_ISDIR(from.st_mode)) {
    if (!options_.recursive)
      return Error(ErrorCode::kIsDirectory, Printable(place.source) + ", left out without -r");
    return CopyDirectory(place, from);
  }
  if (options_.keep_hard_links && from.st_nlink > 1) {
    TRY_ASSIGN(const bool is_linked, LinkToEarlier(place, from));
    if (is_linked) return OkStatus();
  }
  if (S_ISREG(from.st_mode)) return CopyFile(place, from);
  if (S_ISLNK(from.st_mode)) return CopyLink(place, from);
  if (options_.recursive) return CopySpecial(place, from);
  return Error(ErrorCode::kInvalidArgument,
               StrCat(Printable(place.source), is_top ? " is no regular file" : ""));
}

Status TreeCopier::CopyDirectory(const Place& place, const struct stat& from) {
  if (made_directories_.contains({from.st_dev, from.st_ino}))
    return Error(ErrorCode::kInvalidArgument,
                 Printable(place.source) + " is being copied into itself");
  struct stat to;
  const bool exists = ::lstat(place.destination.c_str(), &to) == 0;
  // Its own user must be able to fill it; the real mode comes last.
  if (!exists && ::mkdir(place.destination.c_str(), (from.st_mode & 0777) | 0700) != 0)
    return Failed(errno, place.destination);
  struct stat made;
  TRY(GetStat(place.destination, true, &made));
  if (!S_ISDIR(made.st_mode))
    return Error(ErrorCode::kNotDirectory, Printable(place.destination));
  made_directories_.insert({made.st_dev, made.st_ino});
  TRY_ASSIGN(const std::vector<std::string> names, NamesIn(place.source));
  for (const std::string& name : names) {
    const Place below{place.source + "/" + name, place.destination + "/" + name};
    struct stat entry;
    const Status found = GetStat(below.source, options_.follow_links, &entry);
    TRY(Tolerate(found.ok() ? CopyOne(below, entry, false) : found));
  }
  if (exists && !options_.preserve.mode) return OkStatus();
  const Fd source(::open(place.source.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const Fd destination(::open(place.destination.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!source.valid()) return Failed(errno, place.source);
  if (!destination.valid()) return Failed(errno, place.destination);
  if (!options_.preserve.mode) {
    const mode_t mask = ::umask(0);
    ::umask(mask);
    if (::fchmod(destination.get(), from.st_mode & 0777 & ~mask) != 0)
      return Failed(errno, place.destination);
  }
  const Status kept =
      CopyAttributes(source.get(), from, destination.get(), options_.preserve);
  return kept.ok() ? kept : kept.error().Within(Printable(place.destination));
}

Status TreeCopier::CopyFile(const Place& place, const struct stat& from) {
  const Fd source(::open(place.source.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
  if (!source.valid()) return Failed(errno, place.source);
  struct stat to = {};
  const bool replaces = ::stat(place.destination.c_str(), &to) == 0;
  std::string target = place.destination;
  if (replaces) {
    if (to.st_dev == from.st_dev && to.st_ino == from.st_ino)
      return Error(ErrorCode::kInvalidArgument,
                   StrCat(Printable(place.source), " and ", Printable(place.destination),
                          " are the same file"));
    if (S_ISDIR(to.st_mode)) return Error(ErrorCode::kIsDirectory, Printable(target));
    if (options_.no_clobber ||
        (options_.update_only && !IsOlder(to.st_mtim, from.st_mtim))) {
      done_bytes_ += static_cast<uint64_t>(from.st_size);
      return OkStatus();
    }
    // The file that a link leads to is replaced, not the link.
    char resolved[PATH_MAX];
    if (::realpath(target.c_str(), resolved) == nullptr) return Failed(errno, target);
    target = resolved;
  }
  if (replaces && !S_ISREG(to.st_mode)) {
    // A device or pipe takes the bytes; nothing of it is replaced.
    const Fd into(::open(target.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY));
    if (!into.valid()) return Failed(errno, target);
    return CopyContents(source.get(), into.get(), place, from);
  }
  TRY_ASSIGN(NewFile file, NewFile::Create(target, replaces, from.st_mode & 0777));
  if (replaces && !options_.preserve.mode) {
    // It takes over from the one that was there.
    if (::fchown(file.fd(), to.st_uid, to.st_gid) != 0 && errno != EPERM)
      return Failed(errno, target);
    if (::fchmod(file.fd(), to.st_mode & 07777) != 0) return Failed(errno, target);
  }
  const Status copied = CopyContents(source.get(), file.fd(), place, from);
  if (!copied.ok()) {
    if (options_.keep_partial && !replaces) TRY(file.Keep());
    return copied;
  }
  const Status kept = CopyAttributes(source.get(), from, file.fd(), options_.preserve);
  if (!kept.ok()) return kept.error().Within(Printable(place.destination));
  return file.Keep();
}

Status TreeCopier::CopyContents(int source_fd, int destination_fd, const Place& place,
                                const struct stat& from) {
  DataCopyOptions data = options_.data;
  data.wants_report = options_.explain || bar_.is_on();
  const auto copied = CopyData(
      source_fd, destination_fd, data, [&](uint64_t done_bytes, const std::string& way) {
        bar_.Update(done_bytes_ + done_bytes, place.source, way);
      });
  if (!copied.ok())
    return copied.error().Within(
        StrCat(Printable(place.source), " to ", Printable(place.destination)));
  done_bytes_ += static_cast<uint64_t>(from.st_size);
  Note(place, *copied);
  return OkStatus();
}

void TreeCopier::Note(const Place& place, const DataCopyReport& report) {
  total_.bytes += report.bytes;
  total_.fallback_count += report.fallback_count;
  if (!report.fallback_reason.empty()) total_.fallback_reason = report.fallback_reason;
  for (const DataCopyReport::Way& way : report.ways) {
    auto known = std::find_if(total_.ways.begin(), total_.ways.end(),
                              [&](const auto& w) { return w.name == way.name; });
    if (known == total_.ways.end()) known = total_.ways.insert(known, {way.name});
    known->bytes += way.bytes;
    known->commands += way.commands;
  }
  if (!options_.explain && !options_.verbose) return;
  bar_.Clear();
  std::printf("%s -> %s\n", Printable(place.source).c_str(),
              Printable(place.destination).c_str());
  if (options_.explain) std::fputs(DescribeCopy(report).c_str(), stdout);
}

Status TreeCopier::MakeRoomForSpecial(const std::string& destination) {
  struct stat to;
  if (::lstat(destination.c_str(), &to) != 0) return OkStatus();
  if (options_.no_clobber)
    return Error(ErrorCode::kExists, Printable(destination) + ", left as it is");
  if (S_ISDIR(to.st_mode)) return Error(ErrorCode::kIsDirectory, Printable(destination));
  if (::unlink(destination.c_str()) != 0) return Failed(errno, destination);
  return OkStatus();
}

Status TreeCopier::CopyLink(const Place& place, const struct stat& from) {
  std::string target(PATH_MAX, '\0');
  const ssize_t length = ::readlink(place.source.c_str(), target.data(), target.size());
  if (length < 0) return Failed(errno, place.source);
  target.resize(static_cast<size_t>(length));
  TRY(MakeRoomForSpecial(place.destination));
  if (::symlink(target.c_str(), place.destination.c_str()) != 0)
    return Failed(errno, place.destination);
  return CopyAttributesByPath(from, place.destination, options_.preserve);
}

Status TreeCopier::CopySpecial(const Place& place, const struct stat& from) {
  TRY(MakeRoomForSpecial(place.destination));
  if (::mknod(place.destination.c_str(), from.st_mode, from.st_rdev) != 0)
    return Failed(errno, place.destination);
  return CopyAttributesByPath(from, place.destination, options_.preserve);
}

Result<bool> TreeCopier::LinkToEarlier(const Place& place, const struct stat& from) {
  const auto [first, is_new] =
      first_names_.try_emplace({from.st_dev, from.st_ino}, place.destination);
  if (is_new) return false;
  TRY(MakeRoomForSpecial(place.destination));
  // Where the first one could not be copied, this one is tried by itself.
  if (::link(first->second.c_str(), place.destination.c_str()) != 0) return false;
  done_bytes_ += static_cast<uint64_t>(from.st_size);
  return true;
}

uint64_t CountBytes(const std::string& path, bool recursive, bool follow_links) {
  struct stat info;
  if (!GetStat(path, follow_links || !recursive, &info).ok()) return 0;
  if (S_ISREG(info.st_mode)) return static_cast<uint64_t>(info.st_size);
  if (!S_ISDIR(info.st_mode) || !recursive || InterruptSignal() != 0) return 0;
  const auto names = NamesIn(path);
  if (!names.ok()) return 0;
  uint64_t bytes = 0;
  for (const std::string& name : *names)
    bytes += CountBytes(path + "/" + name, recursive, follow_links);
  return bytes;
}

std::string DescribeCopy(const DataCopyReport& report) {
  std::string words;
  for (const DataCopyReport::Way& way : report.ways) {
    words += (words.empty() ? "" : ", ") + way.name + " " + FormatBytes(way.bytes);
    if (way.commands > 0)
      words += " in " + FormatCount(way.commands) +
               (way.commands == 1 ? " command" : " commands");
  }
  std::string text = "  " + (words.empty() ? "nothing to copy" : words) + "\n";
  const std::string latency = LatencyWords(report.latency);
  if (!latency.empty()) text += "  commands: " + latency + "\n";
  if (report.verified_bytes > 0)
    text += "  read back: " + FormatBytes(report.verified_bytes) + "\n";
  for (const DataCopyReport::Reason& reason : report.reasons)
    text += "  not by the device: " + FormatBytes(reason.bytes) + ", " + reason.name + "\n";
  if (report.fallback_count > 0)
    text += "  " + FormatCount(report.fallback_count) +
            (report.fallback_count == 1 ? " fallback: " : " fallbacks, the last: ") +
            report.fallback_reason + "\n";
  return text;
}

}  // namespace cofs
