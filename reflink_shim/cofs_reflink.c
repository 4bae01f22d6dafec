/* cofs-reflink.so: a preload library that brings FICLONE, FICLONERANGE, FIDEDUPERANGE
 * and FS_IOC_FIEMAP, and the modes of fallocate(2) that unshare, collapse and insert
 * ranges, of unmodified programs to a cofs mount.
 *
 *   LD_PRELOAD=cofs-reflink.so cp --reflink=always A B
 *
 * No kernel passes these calls on to a FUSE file system. The library lets the kernel
 * try first; only where it has answered that the file system can't, and the file
 * system is cofs, it asks cofs by ioctls of its own (fs/fuse/cofs_ioctl.h). Every
 * other call, and every other file system, is left alone.
 *
 * A clone is a copy_file_range(2) that was armed: the kernel then writes back dirty
 * pages of the source, drops the destination's cached pages and learns its new size,
 * as for any copy.
 *
 * The caller's rights are those of its descriptors. For a clone the kernel checks them, for
 * a dedupe cofs does: the source's by a ticket that is given only for a descriptor open for
 * reading.
 *
 * Thread-safe. Async-signal-safe where ioctl(2) is: only system calls, no memory is
 * allocated (the largest frame is 8 KiB), no lock is taken; errno of successful calls is
 * preserved.
 */
#define _GNU_SOURCE
#define _LARGEFILE64_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "fs/fuse/cofs_ioctl.h"

#ifndef FUSE_SUPER_MAGIC
#define FUSE_SUPER_MAGIC 0x65735546
#endif

typedef int (*ioctl_function)(int, unsigned long, ...);
typedef int (*fallocate_function)(int, int, off64_t, off64_t);

static ioctl_function next_ioctl;
static fallocate_function next_fallocate;

__attribute__((constructor)) static void find_next(void) {
  next_ioctl = (ioctl_function)dlsym(RTLD_NEXT, "ioctl");
  next_fallocate = (fallocate_function)dlsym(RTLD_NEXT, "fallocate64");
}

/* Before the constructor has run there is only the system call. */
static int fallocate_by_kernel(int fd, int mode, off64_t offset, off64_t length) {
#if __SIZEOF_LONG__ >= 8
  return (int)syscall(SYS_fallocate, fd, mode, offset, length);
#else
  /* Each half is an argument of its own, in the order of memory. */
  union {
    off64_t whole;
    long halves[2];
  } a = {offset}, b = {length};
  return (int)syscall(SYS_fallocate, fd, mode, a.halves[0], a.halves[1], b.halves[0],
                      b.halves[1]);
#endif
}

static int real_ioctl(int fd, unsigned long request, void* argument) {
  if (next_ioctl == NULL) return (int)syscall(SYS_ioctl, fd, request, argument);
  return next_ioctl(fd, request, argument);
}

static int real_fallocate(int fd, int mode, off64_t offset, off64_t length) {
  if (next_fallocate == NULL) return fallocate_by_kernel(fd, mode, offset, length);
  return next_fallocate(fd, mode, offset, length);
}

static int fail(int error_number) {
  errno = error_number;
  return -1;
}

/* Whether `fd` is on cofs. Another FUSE file system is asked nothing but its type and an
 * ioctl that only reads. */
static int is_on_cofs(int fd) {
  struct statfs file_system;
  struct cofs_ioc_version version = {0};
  return fstatfs(fd, &file_system) == 0 && file_system.f_type == FUSE_SUPER_MAGIC &&
         real_ioctl(fd, COFS_IOC_VERSION, &version) == 0 &&
         version.magic == COFS_VERSION_MAGIC;
}

/* The kernel's answers for a file system that does not do it. */
static int is_refusal(int error_number) {
  return error_number == EOPNOTSUPP || error_number == ENOTTY;
}

/* Has dirty pages from `offset` on written to cofs. What fails here is met again by
 * whoever reads or syncs the file; what is compared and shared is what cofs has. */
static void write_back(int fd, uint64_t offset) {
  struct cofs_ioc_write_back range = {.offset = offset};
  real_ioctl(fd, COFS_IOC_WRITE_BACK, &range);
}

/* ---- FICLONE, FICLONERANGE ---- */

static void disarm(int destination) {
  struct cofs_ioc_copy_arm none = {.length = 0};
  real_ioctl(destination, COFS_IOC_COPY_ARM, &none);
}

/* What an ioctl of ours answers to a thread that the daemon can't see: it has to do
 * without. */
static int arm_error(int error_number) {
  return error_number == EPERM ? EOPNOTSUPP : error_number;
}

static int clone_range(int destination, int source, uint64_t source_offset, uint64_t length,
                       uint64_t destination_offset) {
  struct stat status;
  if (fstat(source, &status) != 0) return -1;
  const uint64_t size = (uint64_t)status.st_size;
  if (length == 0) {
    if (source_offset > size) return fail(EINVAL);
    length = size - source_offset;
    if (length == 0) return 0;
  }
  if (source_offset > size || length > size - source_offset ||
      destination_offset > INT64_MAX - length)
    return fail(EINVAL);

  struct cofs_ioc_copy_arm arm = {.source_offset = source_offset,
                                  .destination_offset = destination_offset,
                                  .length = length,
                                  .how = COFS_ARM_CLONE};
  if (real_ioctl(destination, COFS_IOC_COPY_ARM, &arm) != 0)
    return fail(arm_error(errno));
  int64_t from = (int64_t)source_offset;
  int64_t to = (int64_t)destination_offset;
  while (length > 0) {
    /* Not by the library's function, which is a point where a thread can be cancelled:
     * ioctl is none. */
    const size_t chunk = length > SSIZE_MAX ? SSIZE_MAX & ~(size_t)0xfff : (size_t)length;
    const long done =
        syscall(SYS_copy_file_range, source, &from, destination, &to, chunk, 0u);
    if (done <= 0) {
      /* 0: the source has become shorter. */
      const int error_number = done < 0 ? errno : EINVAL;
      disarm(destination);
      /* EREMOTEIO: not as armed, because the device does not copy. */
      return fail(error_number == EREMOTEIO ? EOPNOTSUPP : error_number);
    }
    length -= (uint64_t)done;
  }
  return 0;
}

static int clone_or_fail(int destination, unsigned long request, void* argument) {
  const int saved = errno;
  const int result = real_ioctl(destination, request, argument);
  if (result == 0 || !is_refusal(errno)) return result;
  /* The kernel has found both descriptors to be on one file system, the source open for
   * reading and the destination for writing. */
  const int refusal = errno;
  if (!is_on_cofs(destination)) return fail(refusal);
  int answer;
  if (request == FICLONE) {
    answer = clone_range(destination, (int)(intptr_t)argument, 0, 0, 0);
  } else {
    /* The kernel has read this structure: it is readable. */
    const struct file_clone_range* range = argument;
    answer = clone_range(destination, (int)range->src_fd, range->src_offset,
                         range->src_length, range->dest_offset);
  }
  if (answer == 0) errno = saved;
  return answer;
}

/* ---- FIDEDUPERANGE ---- */

static int dedupe_one(const struct file_dedupe_range* range, dev_t source_device,
                      const struct cofs_ioc_ticket* ticket,
                      struct file_dedupe_range_info* info) {
  const int destination = (int)info->dest_fd;
  struct stat status;
  if (info->dest_fd < 0 || fstat(destination, &status) != 0) return -EBADF;
  if (info->reserved != 0) return -EINVAL;
  if (status.st_dev != source_device) return -EXDEV;
  if (S_ISDIR(status.st_mode)) return -EISDIR;
  if (!S_ISREG(status.st_mode)) return -EINVAL;
  struct cofs_ioc_dedupe dedupe = {.source_offset = range->src_offset,
                                   .destination_offset = info->dest_offset,
                                   .length = range->src_length};
  memcpy(dedupe.ticket, ticket->ticket, sizeof(dedupe.ticket));
  write_back(destination, info->dest_offset);
  if (real_ioctl(destination, COFS_IOC_DEDUPE, &dedupe) != 0) return -errno;
  if (dedupe.differs) return FILE_DEDUPE_RANGE_DIFFERS;
  /* An end inside of a block is left out unless both files end there; as Linux does, all
   * that was asked for is told of all the same (vfs_dedupe_file_range()). */
  const uint64_t block_bytes = 4096;
  info->bytes_deduped = range->src_length - dedupe.deduped_bytes < block_bytes
                            ? range->src_length
                            : dedupe.deduped_bytes;
  return FILE_DEDUPE_RANGE_SAME;
}

static int dedupe_or_fail(int source, void* argument) {
  const int saved = errno;
  const int result = real_ioctl(source, FIDEDUPERANGE, argument);
  if (result == 0 || !is_refusal(errno)) return result;
  /* The kernel has read the argument, and found the source to be a regular file. */
  const int refusal = errno;
  struct cofs_ioc_ticket ticket;
  struct stat status;
  if (!is_on_cofs(source) || fstat(source, &status) != 0) return fail(refusal);
  if (real_ioctl(source, COFS_IOC_TICKET, &ticket) != 0)
    return fail(errno == EBADF ? EINVAL : arm_error(errno));
  struct file_dedupe_range* range = argument;
  if (range->reserved1 != 0 || range->reserved2 != 0) return fail(EINVAL);
  write_back(source, range->src_offset);
  for (unsigned i = 0; i < range->dest_count; ++i) {
    struct file_dedupe_range_info* info = &range->info[i];
    info->bytes_deduped = 0;
    info->status = dedupe_one(range, status.st_dev, &ticket, info);
  }
  errno = saved;
  return 0;
}

/* ---- FS_IOC_FIEMAP ---- */

static void put_extent(struct fiemap_extent* out, const struct cofs_map_extent* in) {
  memset(out, 0, sizeof(*out));
  out->fe_logical = in->file_offset;
  out->fe_physical = in->device_offset;
  out->fe_length = in->length;
  if (in->flags & COFS_EXTENT_UNWRITTEN) out->fe_flags |= FIEMAP_EXTENT_UNWRITTEN;
  if (in->flags & COFS_EXTENT_SHARED) out->fe_flags |= FIEMAP_EXTENT_SHARED;
}

/* Extents from fm_start on into `map`, until it is full or the range ends. */
static int fill_map(int fd, struct fiemap* map) {
  const uint64_t end = map->fm_length > UINT64_MAX - map->fm_start
                           ? UINT64_MAX
                           : map->fm_start + map->fm_length;
  uint64_t begin = map->fm_start;
  uint32_t count = 0;
  for (;;) {
    struct cofs_ioc_map page = {.begin = begin, .end = UINT64_MAX};
    if (real_ioctl(fd, COFS_IOC_MAP, &page) != 0) return -1;
    for (uint32_t i = 0; i < page.count && i < COFS_MAP_EXTENTS; ++i) {
      const struct cofs_map_extent* extent = &page.extents[i];
      /* One extent more than asked for is looked at: without one, the last is LAST. */
      if (extent->file_offset >= end ||
          (map->fm_extent_count != 0 && count == map->fm_extent_count)) {
        map->fm_mapped_extents = count;
        return 0;
      }
      if (map->fm_extent_count != 0) put_extent(&map->fm_extents[count], extent);
      ++count;
      begin = extent->file_offset + extent->length;
    }
    if (!(page.flags & COFS_MAP_MORE) || page.count == 0) break;
  }
  if (count > 0 && map->fm_extent_count != 0)
    map->fm_extents[count - 1].fe_flags |= FIEMAP_EXTENT_LAST;
  map->fm_mapped_extents = count;
  return 0;
}

static int fiemap_or_fail(int fd, void* argument) {
  const int saved = errno;
  const int result = real_ioctl(fd, FS_IOC_FIEMAP, argument);
  if (result == 0 || !is_refusal(errno)) return result;
  const int refusal = errno;
  struct stat status;
  if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) || !is_on_cofs(fd))
    return fail(refusal);
  struct fiemap* map = argument;
  if (map == NULL) return fail(EFAULT);
  if (map->fm_length == 0 ||
      map->fm_extent_count > (UINT32_MAX - sizeof(*map)) / sizeof(map->fm_extents[0]))
    return fail(EINVAL);
  if (map->fm_flags & ~(uint32_t)FIEMAP_FLAG_SYNC) {
    map->fm_flags &= ~(uint32_t)FIEMAP_FLAG_SYNC;
    return fail(EBADR);
  }
  if (map->fm_flags & FIEMAP_FLAG_SYNC) write_back(fd, 0);
  if (fill_map(fd, map) != 0) return -1;
  errno = saved;
  return 0;
}

/* ---- what programs call ---- */

__attribute__((visibility("default"))) int ioctl(int fd, unsigned long request, ...) {
  va_list arguments;
  va_start(arguments, request);
  void* argument = va_arg(arguments, void*);
  va_end(arguments);
  /* Request numbers are 32 bits for the kernel; some programs pass them sign-extended. */
  switch ((uint32_t)request) {
    case (uint32_t)FICLONE:
    case (uint32_t)FICLONERANGE:
      return clone_or_fail(fd, (uint32_t)request, argument);
    case (uint32_t)FIDEDUPERANGE:
      return dedupe_or_fail(fd, argument);
    case (uint32_t)FS_IOC_FIEMAP:
      return fiemap_or_fail(fd, argument);
    default:
      return real_ioctl(fd, request, argument);
  }
}

/* ---- fallocate ---- */

static int unshare(int fd, int mode, uint64_t offset, uint64_t length) {
  struct cofs_ioc_unshare range = {.offset = offset, .length = length};
  write_back(fd, offset);
  if (real_ioctl(fd, COFS_IOC_UNSHARE, &range) != 0) return -1;
  /* It allocates, too, as fallocate does without this flag. */
  return real_fallocate(fd, mode & FALLOC_FL_KEEP_SIZE, (off64_t)offset, (off64_t)length);
}

/* Nothing was moved. After any other error something may have been: the file stays as long
 * as it is. */
static int is_shift_refusal(int error_number) {
  return error_number == EINVAL || error_number == EPERM || error_number == EFBIG ||
         error_number == ENOSPC;
}

/* The kernel learns a new size by ftruncate(2) alone: no signal may come between it and the
 * change. */
static int shift(int fd, uint32_t what, uint64_t offset, uint64_t length) {
  struct cofs_ioc_shift range = {.offset = offset, .length = length, .what = what};
  struct stat status;
  sigset_t all, before;
  if (fstat(fd, &status) != 0) return -1;
  const uint64_t size = (uint64_t)status.st_size;
  const int inserts = what == COFS_SHIFT_INSERT;
  if (inserts && (offset >= size || offset % COFS_SHIFT_UNIT || length % COFS_SHIFT_UNIT))
    return fail(EINVAL);
  if (inserts && length > (uint64_t)INT64_MAX - size) return fail(EFBIG);
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int result = inserts ? ftruncate64(fd, (off64_t)(size + length)) : 0;
  int error = errno;
  if (result == 0) {
    write_back(fd, offset);
    result = real_ioctl(fd, COFS_IOC_SHIFT, &range);
    error = errno;
    if (inserts && result != 0 && is_shift_refusal(error) &&
        ftruncate64(fd, (off64_t)size) != 0)
      error = EIO;
    if (!inserts && result == 0) {
      result = ftruncate64(fd, (off64_t)range.size);
      error = errno;
    }
  }
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  errno = error;
  return result;
}

static int fallocate_or_else(int fd, int mode, off64_t offset, off64_t length) {
  const int saved = errno;
  int result = real_fallocate(fd, mode, offset, length);
  if (result == 0 || errno != EOPNOTSUPP) return result;
  const int unshares = (mode & ~FALLOC_FL_KEEP_SIZE) == FALLOC_FL_UNSHARE_RANGE;
  if (!unshares && mode != FALLOC_FL_COLLAPSE_RANGE && mode != FALLOC_FL_INSERT_RANGE)
    return result;
  /* The kernel has found the range to be one and the file to be open for writing. */
  if (!is_on_cofs(fd)) return fail(EOPNOTSUPP);
  if (unshares)
    result = unshare(fd, mode, (uint64_t)offset, (uint64_t)length);
  else
    result = shift(fd, mode == FALLOC_FL_COLLAPSE_RANGE ? COFS_SHIFT_COLLAPSE
                                                        : COFS_SHIFT_INSERT,
                   (uint64_t)offset, (uint64_t)length);
  if (result == 0) errno = saved;
  return result;
}

__attribute__((visibility("default"))) int fallocate(int fd, int mode, off_t offset,
                                                     off_t length) {
  return fallocate_or_else(fd, mode, offset, length);
}

__attribute__((visibility("default"))) int fallocate64(int fd, int mode, off64_t offset,
                                                       off64_t length) {
  return fallocate_or_else(fd, mode, offset, length);
}
