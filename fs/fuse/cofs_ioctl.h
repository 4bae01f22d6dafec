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

/* Who answers: tells cofs from another FUSE file system, to which this number may mean
 * anything.
 */
#define COFS_VERSION_MAGIC 0x73666F63u /* "cofs" */
struct cofs_ioc_version {
  __u32 magic;   /* COFS_VERSION_MAGIC */
  __u32 version; /* of this interface: 1 */
  __u32 reserved[2];
};

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

/* Has the kernel write the dirty pages of the file, from `offset` on, back to cofs, as
 * sync_file_range(2) does for other file systems: they are there on return, not durable.
 */
struct cofs_ioc_write_back {
  __u64 offset;
  __u64 reserved;
};

/* Extents of the regular file that the call is made on, as far as they are written
 * back: COFS_IOC_WRITE_BACK or fsync(2) first for all of them.
 *
 * In: the bytes [begin, end) of the file. Out: up to COFS_MAP_EXTENTS extents that
 * overlap them, in order, and COFS_MAP_MORE in `flags` when there may be more: go on with
 * `begin` at the end of the last one. They are whole (not clipped), but for those of which
 * something is shared: these come in parts, clipped to [begin, end).
 */
#define COFS_MAP_EXTENTS 255
#define COFS_MAP_MORE 1u

#define COFS_EXTENT_UNWRITTEN 1u /* preallocated: reads as zeros */
#define COFS_EXTENT_SHARED 2u    /* shared with another file at this moment */
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

/* ---- copies ----
 *
 * Says how the next copy_file_range(2) calls of the calling thread into the file that
 * the call is made on are to be carried out. The file is regular and open for writing.
 *
 * The arm waits for copies of exactly the range that it names, in one call or in several
 * that follow each other; a call for another range fails with EINVAL and ends it, as any
 * failure but EINTR does. It is used up when `length` bytes have been copied. A second
 * arm of the same thread for the same file replaces it; length 0 takes it back. It never
 * falls away silently: a copy that comes too late (after ten minutes) fails with
 * ETIMEDOUT.
 *
 * An armed copy that can't be carried out as asked fails with EREMOTEIO, or with the
 * error of the clone or the device; never with one that makes the kernel copy by itself.
 *
 * COFS_ARM_CLONE is FICLONERANGE: the blocks are shared, or, on a volume mounted with
 * clone=device, copied by the device; else nothing is done. Offsets and length are
 * multiples of the block size, but for a length that ends at the end of the source and
 * not inside the destination; else EINVAL. A clone that takes several calls is one of
 * the source as it was at the first.
 *
 * Errors: EINVAL, EBADF (not open for writing), EPERM (the caller's process can't be
 * seen from the daemon's pid namespace), EBUSY (too many arms).
 */
#define COFS_ARM_CLONE 1u
#define COFS_ARM_AUTO 2u     /* the device where it is worth it, else memory */
#define COFS_ARM_SHARE 3u    /* blocks are shared where they can be, else as COFS_ARM_AUTO */
#define COFS_ARM_DEVICE 4u   /* the device, or the call fails */
#define COFS_ARM_BUFFERED 5u /* through memory */
struct cofs_ioc_copy_arm {
  __u64 source_offset; /* bytes */
  __u64 destination_offset;
  __u64 length;
  __u32 how; /* COFS_ARM_... */
  __u32 reserved;
};

/* How the bytes got into the open file that the call is made on, by all copies since its
 * inode was opened for writing or since the last report with COFS_REPORT_RESET. Zeros
 * when there was none. EBADF unless it is open for writing.
 */
#define COFS_REPORT_RESET 1u /* in: count from zero after this report */

/* Index into `ways`; others are zero. */
#define COFS_WAY_NVME_COPY 0
#define COFS_WAY_SCSI_XCOPY 1
#define COFS_WAY_HOST_FILE 2
#define COFS_WAY_DEVICE 3   /* another command of the device */
#define COFS_WAY_BUFFERED 4 /* whole blocks, read and written by cofs */
#define COFS_WAY_MEMORY 5   /* parts of blocks, and what could not go otherwise */
#define COFS_WAY_SHARED 6   /* no data moved: blocks shared */
#define COFS_WAY_HOLES 7    /* no data there, preallocated blocks included */
#define COFS_WAYS_MAX 16
struct cofs_copy_way_report {
  __u64 bytes;
  __u64 commands; /* sent; 0 where there are none to count */
};
/* Why bytes did not go by the device: index into `reasons`; others are zero. */
#define COFS_REASON_NO_WAY 0         /* the device has none that works */
#define COFS_REASON_TOO_SMALL 1      /* faster through memory */
#define COFS_REASON_SET_ASIDE 2      /* the way failed a while ago */
#define COFS_REASON_NOT_APPLICABLE 3 /* not these blocks: a border below, an alignment */
#define COFS_REASON_COMMAND_FAILED 4
#define COFS_REASON_VERIFY_FAILED 5 /* what was read back differed */
#define COFS_REASON_CHANGED_BELOW 6 /* the stack below changed meanwhile */
#define COFS_REASON_UNALIGNED 7     /* offsets that differ within a block */
#define COFS_REASON_BAD_SOURCE 8    /* a source block does not match its checksum */
#define COFS_REASONS_MAX 16
struct cofs_copy_reason_report {
  __u64 count;
  __u64 bytes;
};
#define COFS_LATENCY_BUCKETS 32
#define COFS_REPORT_REASON_BYTES 192
struct cofs_ioc_copy_report {
  __u32 flags; /* COFS_REPORT_... */
  __u32 reserved;
  __u64 copies;    /* copy_file_range requests that copied something */
  __u64 bytes;     /* copied; the ways count whole blocks */
  __u64 fallbacks; /* times that a way gave up and the next went on */
  __u64 verified_bytes; /* read back after a copy by the device */
  __u64 reserved2[3];
  struct cofs_copy_way_report ways[COFS_WAYS_MAX];
  struct cofs_copy_reason_report reasons[COFS_REASONS_MAX];
  /* Commands of all ways by the time that they took: latency[0] below 1 us, latency[i]
   * from 2^(i-1) us on and below 2^i us. */
  __u64 latency[COFS_LATENCY_BUCKETS];
  char fallback_reason[COFS_REPORT_REASON_BYTES]; /* of the last one; zero-terminated */
};

/* ---- dedupe ----
 *
 * A ticket shows that its holder may read the regular file that it was asked for on; it
 * is given only for a descriptor open for reading (else EBADF). It holds for the thread
 * and the user that asked, and for 30 seconds.
 */
struct cofs_ioc_ticket {
  __u64 ticket[2];
};

/* FIDEDUPERANGE for one destination, the file that the call is made on: if `length`
 * bytes of the ticket's file are the same as here, the blocks are shared from then on.
 * Compared is what is written back: COFS_IOC_WRITE_BACK first, on both.
 *
 * Offsets are multiples of the block size (EINVAL); so is the length (it is rounded
 * down), unless it ends at the end of both files. Both ranges end before the end of
 * their files (EINVAL). The descriptor is open for writing, or the caller owns the file
 * or is root (EPERM). ESTALE: the ticket is not, or no longer, good.
 * Out: `differs`, or how many bytes from the start are shared now, which can be less
 * than asked when the files are written meanwhile or the call is interrupted.
 */
struct cofs_ioc_dedupe {
  __u64 ticket[2];
  __u64 source_offset;
  __u64 destination_offset;
  __u64 length;
  __u64 deduped_bytes; /* out */
  __u32 differs;       /* out: 1 when the bytes are not the same */
  __u32 reserved;
};

/* FALLOC_FL_UNSHARE_RANGE: blocks of [offset, offset + length) that are shared with
 * other files are copied to blocks of this file's own. Holes stay; nothing happens
 * beyond the end of the file, whose size does not change. The descriptor is open for
 * writing (EBADF). ENOSPC: a front part of the range may be done.
 */
struct cofs_ioc_unshare {
  __u64 offset;
  __u64 length;
};

/* FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE: `length` bytes at `offset` are taken
 * out of the file, or as many zeros put in there; what lies behind moves, without being
 * copied. Multiples of the block size, inside the file (EINVAL). The descriptor is open for
 * writing (EBADF). EPERM: an append-only or immutable file; EFBIG.
 *
 * What is moved is what is written back: COFS_IOC_WRITE_BACK from `offset` on first. The
 * kernel drops its pages from there on, but only ftruncate(2) tells it of a new size. So a
 * file is made `length` bytes longer before an insert, which leaves the size as it is
 * (EINVAL when something has been written to these last bytes), and after a collapse it is
 * truncated to `size`. Nobody else should write to the file meanwhile.
 */
#define COFS_SHIFT_UNIT 4096u
#define COFS_SHIFT_COLLAPSE 1u
#define COFS_SHIFT_INSERT 2u
struct cofs_ioc_shift {
  __u64 offset;
  __u64 length;
  __u32 what; /* COFS_SHIFT_... */
  __u32 reserved;
  __u64 size; /* out: of the file, in bytes */
};

/* ---- settings of a live mount ----
 *
 * `options`: `length` bytes of text as behind mount -o, of those that can be changed:
 * "copy=device,clone=share,verify_copy=all". All of them or none. Root only (EPERM);
 * EINVAL for what is not known, or can't be changed on a live mount.
 */
#define COFS_SET_OPTIONS_BYTES 504
struct cofs_ioc_set {
  __u32 length;
  __u32 reserved;
  char options[COFS_SET_OPTIONS_BYTES]; /* no terminating zero */
};

/* ---- scrub ----
 *
 * Verifies all data and metadata in the background. Root only (EPERM).
 *
 * COFS_SCRUB_START begins one, at most `bytes_per_second` fast (0: no limit); with
 * COFS_SCRUB_RESUME it goes on where the last one stopped, if it did. EBUSY: one runs.
 * COFS_SCRUB_STOP ends it where it is and waits for that; nothing when none runs.
 * EINVAL for anything else.
 *
 * COFS_IOC_SCRUB_REPORT hands out how it stands and what it has found, as JSON text in
 * pages, as COFS_IOC_STATS does. Root only: it names files.
 */
#define COFS_SCRUB_START 1u
#define COFS_SCRUB_STOP 2u
#define COFS_SCRUB_RESUME 1u /* in `flags` */
struct cofs_ioc_scrub {
  __u32 action;
  __u32 flags;
  __u64 bytes_per_second;
  __u64 reserved[2];
};

#define COFS_IOC_STATS _IOWR(COFS_IOC_MAGIC, 1, struct cofs_ioc_stats)
#define COFS_IOC_MAP _IOWR(COFS_IOC_MAGIC, 2, struct cofs_ioc_map)
#define COFS_IOC_COPY_ARM _IOW(COFS_IOC_MAGIC, 3, struct cofs_ioc_copy_arm)
#define COFS_IOC_COPY_REPORT _IOWR(COFS_IOC_MAGIC, 4, struct cofs_ioc_copy_report)
#define COFS_IOC_TICKET _IOR(COFS_IOC_MAGIC, 5, struct cofs_ioc_ticket)
#define COFS_IOC_DEDUPE _IOWR(COFS_IOC_MAGIC, 6, struct cofs_ioc_dedupe)
#define COFS_IOC_UNSHARE _IOW(COFS_IOC_MAGIC, 7, struct cofs_ioc_unshare)
#define COFS_IOC_SET _IOW(COFS_IOC_MAGIC, 8, struct cofs_ioc_set)
#define COFS_IOC_VERSION _IOR(COFS_IOC_MAGIC, 9, struct cofs_ioc_version)
#define COFS_IOC_WRITE_BACK _IOW(COFS_IOC_MAGIC, 10, struct cofs_ioc_write_back)
#define COFS_IOC_SHIFT _IOWR(COFS_IOC_MAGIC, 11, struct cofs_ioc_shift)
#define COFS_IOC_SCRUB _IOW(COFS_IOC_MAGIC, 20, struct cofs_ioc_scrub)
#define COFS_IOC_SCRUB_REPORT _IOWR(COFS_IOC_MAGIC, 21, struct cofs_ioc_stats)

#endif /* COFS_IOCTL_H */
