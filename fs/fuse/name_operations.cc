#include <linux/fs.h>  // RENAME_*
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "fs/fuse/attributes.h"
#include "fs/fuse/operations.h"

namespace cofs {
namespace {

bool IsDots(std::string_view name) { return name == "." || name == ".."; }

// Directory entries until `size_bytes` of answer are full.
struct DirectoryPage {
  struct Entry {
    size_t name_start = 0;  // in `names`, zero-terminated
    InodeId inode;
    uint8_t type = 0;
    uint64_t cookie = 0;
  };
  std::vector<Entry> entries;
  std::string names;
};

// How many bytes fuse_add_direntry[_plus]() will take.
size_t EntryBytes(fuse_req_t request, bool plus) {
  return plus ? fuse_add_direntry_plus(request, nullptr, 0, "", nullptr, 0)
              : fuse_add_direntry(request, nullptr, 0, "", nullptr, 0);
}

Result<DirectoryPage> ReadPage(Volume& volume, InodeId directory, uint64_t cookie,
                               size_t size_bytes, size_t entry_bytes) {
  DirectoryPage page;
  size_t used_bytes = 0;
  const auto visit = [&](const DirectoryEntry& entry) {
    // Entries are padded to 8 bytes.
    const size_t bytes = RoundUp(entry_bytes + entry.name.size(), 8);
    if (used_bytes + bytes > size_bytes) return false;
    used_bytes += bytes;
    page.entries.push_back({page.names.size(), entry.inode, entry.type, entry.cookie});
    page.names.append(entry.name);
    page.names.push_back('\0');
    return true;
  };
  const Status status = volume.ReadDirectory(directory, cookie, visit);
  // What was found before an error goes out; the next call meets the error again.
  if (!status.ok() && page.entries.empty()) return status.error();
  return page;
}

mode_t ModeOfType(uint8_t type) { return static_cast<mode_t>(type) << 12; }

}  // namespace

void Operations::Lookup(Reply& reply, fuse_ino_t parent, const char* name) {
  // NFS handles: the kernel asks for an inode by number with ".", and for a
  // directory's parent with "..".
  if (std::strcmp(name, ".") == 0) return ReplyEntry(reply, volume_.LookupById(InodeId(parent)));
  if (std::strcmp(name, "..") == 0)
    return ReplyEntry(reply, volume_.LookupParent(InodeId(parent)));
  const Result<InodeStat> inode = volume_.Lookup(InodeId(parent), name);
  if (inode.Is(ErrorCode::kNotFound)) {
    static_cast<void>(reply.Entry(NegativeEntry()));  // nothing was counted
    return;
  }
  ReplyEntry(reply, inode);
}

void Operations::Forget(Reply& reply, fuse_ino_t inode, uint64_t count) {
  reply.Nothing();
  volume_.Forget(InodeId(inode), count);
}

void Operations::ForgetMany(Reply& reply, size_t count, fuse_forget_data* forgets) {
  for (size_t i = 0; i < count; ++i)
    volume_.Forget(InodeId(forgets[i].ino), forgets[i].nlookup);
  reply.Nothing();
}

void Operations::ReadLink(Reply& reply, fuse_ino_t inode) {
  const Result<std::string> target = volume_.ReadLink(InodeId(inode));
  if (!target.ok()) return reply.Fail(target.error());
  reply.Link(target->c_str());
}

void Operations::MakeNode(Reply& reply, fuse_ino_t parent, const char* name, mode_t mode,
                          dev_t rdev) {
  const NewInode inode = NewInodeFor(reply, mode, static_cast<uint32_t>(rdev));
  ReplyEntry(reply, volume_.Create(InodeId(parent), name, inode));
}

void Operations::MakeDirectory(Reply& reply, fuse_ino_t parent, const char* name,
                               mode_t mode) {
  const NewInode inode = NewInodeFor(reply, S_IFDIR | (mode & 07777));
  ReplyEntry(reply, volume_.Create(InodeId(parent), name, inode));
}

void Operations::Unlink(Reply& reply, fuse_ino_t parent, const char* name) {
  reply.Done(volume_.Unlink(InodeId(parent), name));
}

void Operations::RemoveDirectory(Reply& reply, fuse_ino_t parent, const char* name) {
  reply.Done(volume_.RemoveDirectory(InodeId(parent), name));
}

void Operations::MakeSymlink(Reply& reply, const char* target, fuse_ino_t parent,
                             const char* name) {
  const NewInode inode = NewInodeFor(reply, S_IFLNK | 0777);
  ReplyEntry(reply, volume_.MakeSymlink(InodeId(parent), name, target, inode));
}

void Operations::Rename(Reply& reply, fuse_ino_t parent, const char* name,
                        fuse_ino_t new_parent, const char* new_name, unsigned flags) {
  RenameOptions options;
  // The kernel has asked for CAP_MKNOD.
  if ((flags & RENAME_WHITEOUT) != 0) options.whiteout = NewInodeFor(reply, S_IFCHR);
  flags &= ~static_cast<unsigned>(RENAME_WHITEOUT);
  if (flags == RENAME_NOREPLACE)
    options.mode = RenameMode::kNoReplace;
  else if (flags == RENAME_EXCHANGE)
    options.mode = RenameMode::kExchange;
  else if (flags != 0)
    return reply.Errno(EINVAL);
  reply.Done(volume_.Rename(InodeId(parent), name, InodeId(new_parent), new_name, options));
}

void Operations::Link(Reply& reply, fuse_ino_t inode, fuse_ino_t new_parent,
                      const char* new_name) {
  ReplyEntry(reply, volume_.Link(InodeId(inode), InodeId(new_parent), new_name));
}

void Operations::Create(Reply& reply, fuse_ino_t parent, const char* name, mode_t mode,
                        fuse_file_info* file) {
  const NewInode inode = NewInodeFor(reply, S_IFREG | (mode & 07777));
  // The kernel sends CREATE only for names that don't exist: an existing one (a race
  // that a single kernel can't have) would be opened without a check of its permissions.
  const Result<InodeStat> created = volume_.Create(InodeId(parent), name, inode);
  if (!created.ok()) return reply.Fail(created.error());
  file->fh = Opened(created->id, file->flags);
  file->keep_cache = 1;
  CurrentRequest()->answer_open_flags = OpenFlagsFor(file->flags);
  if (reply.Create(EntryOf(*created, AttributeTimeout(created->id)), *file)) return;
  Released(created->id, file->fh);
  volume_.Forget(created->id, 1);
}

void Operations::OpenDirectory(Reply& reply, fuse_ino_t, fuse_file_info* file) {
  // The kernel goes on without OPENDIR and RELEASEDIR, and caches directories.
  if (!opens_directories_) return reply.Errno(ENOSYS);
  file->cache_readdir = 1;
  file->keep_cache = 1;
  static_cast<void>(reply.Open(*file));  // nothing to be released
}

void Operations::ReadDirectory(Reply& reply, fuse_ino_t inode, size_t size, off_t offset,
                               fuse_file_info*) {
  const Result<DirectoryPage> page =
      ReadPage(volume_, InodeId(inode), static_cast<uint64_t>(offset), size,
               EntryBytes(reply.request(), false));
  if (!page.ok()) return reply.Fail(page.error());
  std::vector<char> out(size);
  size_t used = 0;
  for (const DirectoryPage::Entry& entry : page->entries) {
    struct stat attributes {};
    attributes.st_ino = entry.inode.value();
    attributes.st_mode = ModeOfType(entry.type);
    const size_t bytes =
        fuse_add_direntry(reply.request(), out.data() + used, size - used,
                          page->names.data() + entry.name_start, &attributes,
                          static_cast<off_t>(entry.cookie));
    if (bytes > size - used) break;
    used += bytes;
  }
  static_cast<void>(reply.Directory({out.data(), used}));  // nothing was counted
}

void Operations::ReadDirectoryPlus(Reply& reply, fuse_ino_t inode, size_t size,
                                   off_t offset, fuse_file_info*) {
  const Result<DirectoryPage> page =
      ReadPage(volume_, InodeId(inode), static_cast<uint64_t>(offset), size,
               EntryBytes(reply.request(), true));
  if (!page.ok()) return reply.Fail(page.error());
  std::vector<char> out(size);
  std::vector<InodeId> looked_up;
  looked_up.reserve(page->entries.size());
  size_t used = 0;
  for (const DirectoryPage::Entry& entry : page->entries) {
    const char* name = page->names.data() + entry.name_start;
    fuse_entry_param parameters = NegativeEntry();  // number 0: a name without attributes
    parameters.attr.st_ino = entry.inode.value();
    parameters.attr.st_mode = ModeOfType(entry.type);
    bool counted = false;
    if (!IsDots(name)) {
      // An inode that can't be read shows as a name: stat(2) of it meets the error.
      if (const Result<InodeStat> found = volume_.LookupById(entry.inode); found.ok()) {
        parameters = EntryOf(*found, AttributeTimeout(found->id));
        counted = true;
      }
    }
    const size_t bytes =
        fuse_add_direntry_plus(reply.request(), out.data() + used, size - used, name,
                               &parameters, static_cast<off_t>(entry.cookie));
    if (bytes > size - used) {
      if (counted) volume_.Forget(entry.inode, 1);
      break;
    }
    if (counted) looked_up.push_back(entry.inode);
    used += bytes;
  }
  if (reply.Directory({out.data(), used})) return;
  for (const InodeId id : looked_up) volume_.Forget(id, 1);
}

}  // namespace cofs
