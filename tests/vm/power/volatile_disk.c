/* A disk with a volatile write cache, for nbdkit: a file, and in memory what was written
 * to it since the last flush. A power cut keeps, drops or tears each of those writes.
 *
 *   nbdkit ./volatile_disk.so file=PATH seed=NUMBER
 *
 * The power is cut by SIGTERM (when nothing is connected any more): the cache loses a
 * random subset of its writes, which follows from the seed, and says so on standard error.
 * With SIGKILL it loses all of them.
 *
 * Reads see the cache; a flush puts all of it into the file in the order of the writes.
 * What is in the cache when the power fails is a list of writes, each with the bytes that
 * it wrote: an older write may survive a newer one to the same place, as on a drive that
 * had put the older one onto the medium already.
 */
#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* One client, one request at a time: QEMU waits for an answer anyway where order counts. */
#define THREAD_MODEL NBDKIT_THREAD_MODEL_SERIALIZE_ALL_REQUESTS

enum { kSectorBytes = 512 };

struct write {
  struct write* next;
  uint64_t offset;
  uint32_t count;
  char bytes[];
};

static char* path;
static uint64_t seed;
static int fd = -1;
static int64_t size;
static char* view; /* the file as its reader sees it: a private mapping, with the cache */
static struct write *first, **end = &first;
static uint64_t flushes;

static int config(const char* key, const char* value) {
  if (strcmp(key, "file") == 0) {
    path = nbdkit_absolute_path(value);
    return path == NULL ? -1 : 0;
  }
  if (strcmp(key, "seed") == 0) return nbdkit_parse_uint64_t("seed", value, &seed);
  nbdkit_error("unknown parameter %s", key);
  return -1;
}

static int get_ready(void) {
  if (path == NULL) {
    nbdkit_error("file=PATH is missing");
    return -1;
  }
  struct stat info;
  fd = open(path, O_RDWR | O_CLOEXEC);
  if (fd < 0 || fstat(fd, &info) != 0) {
    nbdkit_error("%s: %m", path);
    return -1;
  }
  size = info.st_size;
  view = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
  if (view == MAP_FAILED) {
    nbdkit_error("%s: mmap: %m", path);
    return -1;
  }
  return 0;
}

static void* open_disk(int readonly) {
  (void)readonly;
  return NBDKIT_HANDLE_NOT_NEEDED;
}

static int64_t get_size(void* handle) {
  (void)handle;
  return size;
}

static int pread_disk(void* handle, void* buffer, uint32_t count, uint64_t offset,
                      uint32_t flags) {
  (void)handle, (void)flags;
  memcpy(buffer, view + offset, count);
  return 0;
}

static int pwrite_disk(void* handle, const void* buffer, uint32_t count, uint64_t offset,
                       uint32_t flags) {
  (void)handle, (void)flags;
  struct write* each = malloc(sizeof(*each) + count);
  if (each == NULL) {
    nbdkit_set_error(ENOMEM);
    return -1;
  }
  each->next = NULL;
  each->offset = offset;
  each->count = count;
  memcpy(each->bytes, buffer, count);
  *end = each;
  end = &each->next;
  memcpy(view + offset, buffer, count);
  return 0;
}

/* Puts a part of a write into the file. */
static int store(const struct write* each, uint32_t begin, uint32_t count) {
  while (count > 0) {
    const ssize_t done =
        pwrite(fd, each->bytes + begin, count, (off_t)(each->offset + begin));
    if (done <= 0) {
      nbdkit_error("%s: %m", path);
      return -1;
    }
    begin += (uint32_t)done;
    count -= (uint32_t)done;
  }
  return 0;
}

static void forget_first(void) {
  struct write* each = first;
  first = each->next;
  if (first == NULL) end = &first;
  free(each);
}

static int flush_disk(void* handle, uint32_t flags) {
  (void)handle, (void)flags;
  while (first != NULL) {
    if (store(first, 0, first->count) != 0) return -1;
    forget_first();
  }
  flushes++;
  return 0;
}

static int can_fua(void* handle) {
  (void)handle;
  return NBDKIT_FUA_EMULATE; /* by a flush */
}

/* SplitMix64. */
static uint64_t random_number(void) {
  uint64_t x = seed += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

/* Each sector survives with a chance of one in two. */
static int tear(const struct write* each) {
  for (uint32_t at = 0; at < each->count; at += kSectorBytes) {
    const uint32_t left = each->count - at;
    if (random_number() % 2 == 0) continue;
    if (store(each, at, left < kSectorBytes ? left : kSectorBytes) != 0) return -1;
  }
  return 0;
}

/* After the last client has gone and a signal has come: the power cut. */
static void unload(void) {
  if (fd < 0) return;
  unsigned kept = 0, dropped = 0, torn = 0;
  const uint64_t survivors = 10 + 40 * (random_number() % 3); /* of a hundred writes */
  while (first != NULL) {
    if (random_number() % 10 == 0) {
      if (tear(first) != 0) break;
      torn++;
    } else if (random_number() % 100 < survivors) {
      if (store(first, 0, first->count) != 0) break;
      kept++;
    } else {
      dropped++;
    }
    forget_first();
  }
  fprintf(stderr,
          "volatile-disk: after %" PRIu64
          " flushes the cache kept %u writes, dropped %u and tore %u\n",
          flushes, kept, dropped, torn);
  free(path);
}

static struct nbdkit_plugin plugin = {
    .name = "volatile-disk",
    .longname = "file behind a volatile write cache",
    .unload = unload,
    .config = config,
    .config_help = "file=PATH  seed=NUMBER",
    .get_ready = get_ready,
    .open = open_disk,
    .get_size = get_size,
    .can_fua = can_fua,
    .pread = pread_disk,
    .pwrite = pwrite_disk,
    .flush = flush_disk,
};
NBDKIT_REGISTER_PLUGIN(plugin)
