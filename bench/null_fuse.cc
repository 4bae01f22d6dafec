// null_fuse: a FUSE file system that keeps names and sizes in memory and no data at all.
//
// What it costs is the FUSE round trip and nothing else, so the distance between it and
// cofs is what cofs itself costs. Reads give zeros, writes only move the size; nothing
// survives the unmount.
//
//   null_fuse [-f] [-o options] DIRECTORY
#define FUSE_USE_VERSION 35
#include <fuse_lowlevel.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/mutex.h"

namespace cofs {
namespace {

constexpr double kTimeoutSeconds = 86400;
constexpr size_t kReadMax = 1 << 20;

struct Node {
  struct stat st {};
  bool removed = false;                        // and kept until the kernel forgets it
  std::map<std::string, fuse_ino_t> children;  // of a directory
  std::string target;                          // of a symbolic link
};

// The whole tree, under one mutex: the round trip costs far more than what it guards.
class Tree {
 public:
  Tree() { nodes_[FUSE_ROOT_ID].st = NewStat(FUSE_ROOT_ID, S_IFDIR | 0755); }

  int Lookup(fuse_ino_t parent, const char* name, struct stat* st) {
    const MutexLock lock(mutex_);
    const auto& children = nodes_[parent].children;
    const auto found = children.find(name);
    if (found == children.end()) return ENOENT;
    *st = nodes_[found->second].st;
    return 0;
  }
  int Create(fuse_ino_t parent, const char* name, mode_t mode, struct stat* st,
             const char* target = "") {
    const MutexLock lock(mutex_);
    const auto [entry, inserted] = nodes_[parent].children.emplace(name, next_);
    if (!inserted) return EEXIST;
    nodes_[next_].target = target;
    *st = nodes_[next_].st = NewStat(next_, mode);
    ++next_;
    return 0;
  }
  int Remove(fuse_ino_t parent, const char* name, bool directory) {
    const MutexLock lock(mutex_);
    auto& children = nodes_[parent].children;
    const auto found = children.find(name);
    if (found == children.end()) return ENOENT;
    if (directory && !nodes_[found->second].children.empty()) return ENOTEMPTY;
    nodes_[found->second].removed = true;
    children.erase(found);
    return 0;
  }
  void Forget(fuse_ino_t inode) {
    const MutexLock lock(mutex_);
    const auto found = nodes_.find(inode);
    if (found != nodes_.end() && found->second.removed) nodes_.erase(found);
  }
  int Rename(fuse_ino_t from, const char* name, fuse_ino_t to, const char* new_name) {
    const MutexLock lock(mutex_);
    auto entry = nodes_[from].children.extract(name);
    if (entry.empty()) return ENOENT;
    const auto [target, inserted] =
        nodes_[to].children.try_emplace(new_name, entry.mapped());
    if (!inserted) {
      nodes_[target->second].removed = true;
      target->second = entry.mapped();
    }
    return 0;
  }
  int Stat(fuse_ino_t inode, struct stat* st) {
    const MutexLock lock(mutex_);
    const auto found = nodes_.find(inode);
    if (found == nodes_.end()) return ENOENT;
    *st = found->second.st;
    return 0;
  }
  int Change(fuse_ino_t inode, const struct stat& change, int what, struct stat* st) {
    const MutexLock lock(mutex_);
    const auto found = nodes_.find(inode);
    if (found == nodes_.end()) return ENOENT;
    struct stat& now = found->second.st;
    if (what & FUSE_SET_ATTR_MODE)
      now.st_mode = (now.st_mode & S_IFMT) | (change.st_mode & 07777);
    if (what & FUSE_SET_ATTR_UID) now.st_uid = change.st_uid;
    if (what & FUSE_SET_ATTR_GID) now.st_gid = change.st_gid;
    if (what & FUSE_SET_ATTR_SIZE) now.st_size = change.st_size;
    if (what & FUSE_SET_ATTR_MTIME) now.st_mtim = change.st_mtim;
    *st = now;
    return 0;
  }
  void Grow(fuse_ino_t inode, off_t size) {
    const MutexLock lock(mutex_);
    struct stat& st = nodes_[inode].st;
    st.st_size = std::max(st.st_size, size);
    st.st_blocks = (st.st_size + 511) / 512;
  }
  std::string Target(fuse_ino_t inode) {
    const MutexLock lock(mutex_);
    return nodes_[inode].target;
  }
  off_t Size(fuse_ino_t inode) {
    const MutexLock lock(mutex_);
    return nodes_[inode].st.st_size;
  }
  // A copy of the entries with their attributes, in the order of their names.
  std::vector<std::pair<std::string, struct stat>> Entries(fuse_ino_t inode) {
    const MutexLock lock(mutex_);
    std::vector<std::pair<std::string, struct stat>> entries;
    for (const auto& [name, child] : nodes_[inode].children)
      entries.emplace_back(name, nodes_[child].st);
    return entries;
  }

 private:
  static struct stat NewStat(fuse_ino_t inode, mode_t mode) {
    struct stat st {};
    st.st_ino = inode;
    st.st_mode = mode;
    st.st_nlink = S_ISDIR(mode) ? 2 : 1;
    st.st_blksize = 4096;
    clock_gettime(CLOCK_REALTIME_COARSE, &st.st_mtim);
    st.st_atim = st.st_ctim = st.st_mtim;
    return st;
  }

  Mutex mutex_;
  std::unordered_map<fuse_ino_t, Node> nodes_ GUARDED_BY(mutex_);
  fuse_ino_t next_ GUARDED_BY(mutex_) = FUSE_ROOT_ID + 1;
};

Tree& TreeOf(fuse_req_t request) {
  return *static_cast<Tree*>(fuse_req_userdata(request));
}

fuse_entry_param EntryOf(const struct stat& st) {
  fuse_entry_param entry{};
  entry.ino = st.st_ino;
  entry.attr = st;
  entry.attr_timeout = entry.entry_timeout = kTimeoutSeconds;
  return entry;
}

void ReplyEntry(fuse_req_t request, int error_number, const struct stat& st) {
  if (error_number != 0) {
    fuse_reply_err(request, error_number);
    return;
  }
  const fuse_entry_param entry = EntryOf(st);
  fuse_reply_entry(request, &entry);
}

// What cofs asks for, too: the distance between the two is not to be one of settings.
void Init(void*, fuse_conn_info* connection) {
  connection->want |=
      connection->capable &
      (FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_ASYNC_READ |
       FUSE_CAP_ASYNC_DIO | FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO);
  connection->max_write = connection->max_readahead = kReadMax;
  connection->max_background = 128;
  connection->congestion_threshold = 96;
}

void Lookup(fuse_req_t request, fuse_ino_t parent, const char* name) {
  struct stat st {};
  const int error_number = TreeOf(request).Lookup(parent, name, &st);
  ReplyEntry(request, error_number, st);
}

void Forget(fuse_req_t request, fuse_ino_t inode, uint64_t) {
  TreeOf(request).Forget(inode);
  fuse_reply_none(request);
}

void GetAttributes(fuse_req_t request, fuse_ino_t inode, fuse_file_info*) {
  struct stat st {};
  if (const int error_number = TreeOf(request).Stat(inode, &st))
    fuse_reply_err(request, error_number);
  else
    fuse_reply_attr(request, &st, kTimeoutSeconds);
}

void SetAttributes(fuse_req_t request, fuse_ino_t inode, struct stat* change, int what,
                   fuse_file_info*) {
  struct stat st {};
  if (const int error_number = TreeOf(request).Change(inode, *change, what, &st))
    fuse_reply_err(request, error_number);
  else
    fuse_reply_attr(request, &st, kTimeoutSeconds);
}

void MakeNode(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode,
              dev_t) {
  struct stat st {};
  const int error_number = TreeOf(request).Create(parent, name, mode, &st);
  ReplyEntry(request, error_number, st);
}

void MakeDirectory(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode) {
  MakeNode(request, parent, name, S_IFDIR | mode, 0);
}

void MakeSymlink(fuse_req_t request, const char* target, fuse_ino_t parent,
                 const char* name) {
  struct stat st {};
  const int error_number =
      TreeOf(request).Create(parent, name, S_IFLNK | 0777, &st, target);
  ReplyEntry(request, error_number, st);
}

void ReadLink(fuse_req_t request, fuse_ino_t inode) {
  fuse_reply_readlink(request, TreeOf(request).Target(inode).c_str());
}

void Create(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode,
            fuse_file_info* file) {
  struct stat st {};
  if (const int error_number =
          TreeOf(request).Create(parent, name, S_IFREG | mode, &st)) {
    fuse_reply_err(request, error_number);
    return;
  }
  const fuse_entry_param entry = EntryOf(st);
  fuse_reply_create(request, &entry, file);
}

void Unlink(fuse_req_t request, fuse_ino_t parent, const char* name) {
  fuse_reply_err(request, TreeOf(request).Remove(parent, name, false));
}

void RemoveDirectory(fuse_req_t request, fuse_ino_t parent, const char* name) {
  fuse_reply_err(request, TreeOf(request).Remove(parent, name, true));
}

void Rename(fuse_req_t request, fuse_ino_t from, const char* name, fuse_ino_t to,
            const char* new_name, unsigned flags) {
  fuse_reply_err(request,
                 flags ? EINVAL : TreeOf(request).Rename(from, name, to, new_name));
}

void Open(fuse_req_t request, fuse_ino_t, fuse_file_info* file) {
  file->keep_cache = 1;
  fuse_reply_open(request, file);
}

using Entries = std::vector<std::pair<std::string, struct stat>>;

// The walk of a directory goes over what it held when it was opened.
void OpenDirectory(fuse_req_t request, fuse_ino_t inode, fuse_file_info* file) {
  auto entries = std::make_unique<Entries>(TreeOf(request).Entries(inode));
  file->fh = reinterpret_cast<uint64_t>(entries.get());
  if (fuse_reply_open(request, file) == 0) entries.release();
}

void ReleaseDirectory(fuse_req_t request, fuse_ino_t, fuse_file_info* file) {
  delete reinterpret_cast<Entries*>(file->fh);
  fuse_reply_err(request, 0);
}

void ReplyOk(fuse_req_t request, fuse_ino_t, fuse_file_info*) {
  fuse_reply_err(request, 0);
}

void Sync(fuse_req_t request, fuse_ino_t, int, fuse_file_info*) {
  fuse_reply_err(request, 0);
}

void Read(fuse_req_t request, fuse_ino_t inode, size_t size, off_t offset,
          fuse_file_info*) {
  static const std::vector<char> zeros(kReadMax);
  const off_t left = std::max<off_t>(TreeOf(request).Size(inode) - offset, 0);
  fuse_reply_buf(request, zeros.data(),
                 std::min({size, static_cast<size_t>(left), kReadMax}));
}

void Write(fuse_req_t request, fuse_ino_t inode, const char*, size_t size, off_t offset,
           fuse_file_info*) {
  TreeOf(request).Grow(inode, offset + static_cast<off_t>(size));
  fuse_reply_write(request, size);
}

void ReadDirectory(fuse_req_t request, const fuse_file_info& file, size_t size,
                   off_t offset, bool plus) {
  std::vector<char> buffer(size);
  size_t used = 0;
  const Entries& entries = *reinterpret_cast<const Entries*>(file.fh);
  for (auto i = static_cast<size_t>(offset); i < entries.size(); ++i) {
    const auto& [name, st] = entries[i];
    const fuse_entry_param entry = EntryOf(st);
    const auto next = static_cast<off_t>(i + 1);
    const size_t need =
        plus ? fuse_add_direntry_plus(request, buffer.data() + used, size - used,
                                      name.c_str(), &entry, next)
             : fuse_add_direntry(request, buffer.data() + used, size - used, name.c_str(),
                                 &st, next);
    if (need > size - used) break;
    used += need;
  }
  fuse_reply_buf(request, buffer.data(), used);
}

void ReadDirectoryPlain(fuse_req_t request, fuse_ino_t, size_t size, off_t offset,
                        fuse_file_info* file) {
  ReadDirectory(request, *file, size, offset, false);
}

void ReadDirectoryPlus(fuse_req_t request, fuse_ino_t, size_t size, off_t offset,
                       fuse_file_info* file) {
  ReadDirectory(request, *file, size, offset, true);
}

void StatFs(fuse_req_t request, fuse_ino_t) {
  struct statvfs usage {};
  usage.f_bsize = usage.f_frsize = 4096;
  usage.f_blocks = usage.f_bfree = usage.f_bavail = uint64_t{1} << 28;
  usage.f_files = usage.f_ffree = uint64_t{1} << 28;
  usage.f_namemax = 255;
  fuse_reply_statfs(request, &usage);
}

fuse_lowlevel_ops Operations() {
  fuse_lowlevel_ops ops{};
  ops.init = Init;
  ops.lookup = Lookup;
  ops.forget = Forget;
  ops.getattr = GetAttributes;
  ops.setattr = SetAttributes;
  ops.mknod = MakeNode;
  ops.mkdir = MakeDirectory;
  ops.symlink = MakeSymlink;
  ops.readlink = ReadLink;
  ops.create = Create;
  ops.unlink = Unlink;
  ops.rmdir = RemoveDirectory;
  ops.rename = Rename;
  ops.open = Open;
  ops.opendir = OpenDirectory;
  ops.release = ReplyOk;
  ops.releasedir = ReleaseDirectory;
  ops.flush = ReplyOk;
  ops.fsync = Sync;
  ops.fsyncdir = Sync;
  ops.read = Read;
  ops.write = Write;
  ops.readdir = ReadDirectoryPlain;
  ops.readdirplus = ReadDirectoryPlus;
  ops.statfs = StatFs;
  return ops;
}

int Serve(int argc, char** argv) {
  fuse_args args = FUSE_ARGS_INIT(argc, argv);
  fuse_cmdline_opts options{};
  if (fuse_parse_cmdline(&args, &options) != 0 || options.mountpoint == nullptr) {
    fprintf(stderr, "usage: null_fuse [-f] [-o options] DIRECTORY\n");
    return 1;
  }
  Tree tree;
  const fuse_lowlevel_ops operations = Operations();
  fuse_session* session = fuse_session_new(&args, &operations, sizeof operations, &tree);
  int result = 1;
  if (session != nullptr && fuse_set_signal_handlers(session) == 0) {
    if (fuse_session_mount(session, options.mountpoint) == 0) {
      fuse_daemonize(options.foreground);
      fuse_loop_config config{};
      config.max_idle_threads = 10;
      result = fuse_session_loop_mt(session, &config) != 0;
      fuse_session_unmount(session);
    }
    fuse_remove_signal_handlers(session);
  }
  if (session != nullptr) fuse_session_destroy(session);
  free(options.mountpoint);
  fuse_opt_free_args(&args);
  return result;
}

}  // namespace
}  // namespace cofs

int main(int argc, char** argv) { return cofs::Serve(argc, argv); }
