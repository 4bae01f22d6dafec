/* ioctl(2) interface of a mounted cofs volume. Installed as <cofs/ioctl.h>; plain C.
 *
 * All calls work on any open file or directory of the volume unless it says otherwise;
 * a file system that is not cofs answers ENOTTY. Numbers are in host byte order.
 * Fields called reserved are zero, in both directions.
 *
 * Besides these, cofs answers FITRIM, FS_IOC_GETFLAGS, FS_IOC_SETFLAGS and their
 * FS_IOC_FS[GS]ETXATTR relatives of <linux/fs.h>.
 */
#ifndef COFS_IOCTL_H
#define COFS_IOCTL_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define COFS_IOC_MAGIC 0xC5

/* Counters and settings of the mount, as JSON text (UTF-8), in pages.
 *
 * First call: snapshot = 0, offset = 0. The answer holds `length` bytes of text and
 * `total`, the length of the whole text. Until offset + length == total, call again
 * with the snapshot number of the answer and the offset to go on from. EAGAIN: the
 * daemon no longer keeps that snapshot; begin again.
 */
#define COFS_STATS_TEXT_BYTES 8160
struct cofs_ioc_stats {
  __u64 snapshot;
  __u32 offset;
  __u32 length;
  __u32 total;
  __u32 reserved[3];
  char text[COFS_STATS_TEXT_BYTES]; /* no terminating zero */
};

/* Extents of the regular file that the call is made on, as far as they are written
 * back: fsync(2) first for all of them.
 *
 * In: the bytes [begin, end) of the file. Out: up to COFS_MAP_EXTENTS extents that
 * overlap them, in order, whole (not clipped), and COFS_MAP_MORE in `flags` when there
 * may be more: go on with `begin` at the end of the last one.
 */
#define COFS_MAP_EXTENTS 255
#define COFS_MAP_MORE 1u

#define COFS_EXTENT_UNWRITTEN 1u /* preallocated: reads as zeros */
#define COFS_EXTENT_SHARED 2u    /* may be shared with another file */
struct cofs_map_extent {
  __u64 file_offset;   /* bytes */
  __u64 device_offset; /* bytes on the device or in the image */
  __u64 length;        /* bytes */
  __u32 flags;         /* COFS_EXTENT_... */
  __u32 reserved;
};
struct cofs_ioc_map {
  __u64 begin;
  __u64 end;
  __u32 count;
  __u32 flags;
  __u64 reserved;
  struct cofs_map_extent extents[COFS_MAP_EXTENTS];
};

#define COFS_IOC_STATS _IOWR(COFS_IOC_MAGIC, 1, struct cofs_ioc_stats)
#define COFS_IOC_MAP _IOWR(COFS_IOC_MAGIC, 2, struct cofs_ioc_map)

#endif /* COFS_IOCTL_H */
