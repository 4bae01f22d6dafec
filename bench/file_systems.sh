# shellcheck shell=bash disable=SC2034,SC2154  # a part of run.sh and step.sh
# The file systems that bench/run.sh compares: how each is made, mounted and taken away.
#
# A volume is a loop device over an image in memory, $work/image, mounted at $mnt. What
# there is to undo is kept in files below $work, so that another process can undo it:
# $work/loop and $work/daemon. The caller sets work, mnt, below, bin and volume_mib.

all_kinds=(xfs btrfs ext4 fuse2fs mergerfs null cofs)

# missing_for KIND: prints what is not there and how to get it; nothing if all is there.
missing_for() {
  local program package
  while read -r program package; do
    command -v "$program" >/dev/null || echo "$program is missing: apt-get install $package"
  done < <(programs_of "$1")
}

programs_of() {
  case "$1" in
    xfs) echo "mkfs.xfs xfsprogs" ;;
    btrfs) echo "mkfs.btrfs btrfs-progs" ;;
    ext4) echo "mkfs.ext4 e2fsprogs" ;;
    fuse2fs) printf '%s\n' "mkfs.ext4 e2fsprogs" "fuse2fs fuse2fs" ;;
    mergerfs) printf '%s\n' "mkfs.xfs xfsprogs" "mergerfs mergerfs" ;;
  esac
}

# Empty words for what has no version of its own to show.
version_of() {
  case "$1" in
    xfs) mkfs.xfs -V ;;
    btrfs) mkfs.btrfs --version ;;
    ext4) mkfs.ext4 -V 2>&1 ;;
    fuse2fs) fuse2fs -V 2>&1 | grep -i '^fuse2fs' ;;
    mergerfs) mergerfs -V ;;
    cofs) "$bin/mount.cofs" -V ;;
  esac 2>/dev/null | head -n 1
}

is_kernel() { [[ $1 == xfs || $1 == btrfs || $1 == ext4 ]]; }
has_clones() { [[ $1 == xfs || $1 == btrfs || $1 == cofs || $1 == cofs-image ]]; }

# What holds the data of a file system whose own syncfs does not reach it.
below_of() {
  case "$1" in
    mergerfs) echo "$below" ;;
    fuse2fs) loop_device ;;
  esac
}

# By the kernel's list, without touching a mount that may hang.
is_mounted() { grep -q " $1 " /proc/self/mountinfo; }

loop_device() { [ ! -e "$work/loop" ] || cat "$work/loop"; }
daemon_pid() { [ ! -e "$work/daemon" ] || cat "$work/daemon"; }

attach() {
  [ "$1" != null ] || return 0
  truncate -s "${volume_mib}M" "$work/image" &&
    losetup --show -f "$work/image" >"$work/loop"
}

format_volume() {
  local device
  device=$(loop_device)
  case "$1" in
    xfs | mergerfs | cofs-image) mkfs.xfs -q -f "$device" ;;
    btrfs) mkfs.btrfs -q -f "$device" ;;
    ext4 | fuse2fs) mkfs.ext4 -q -F "$device" ;;
    cofs) "$bin/mkfs.cofs" -f -q "$device" ;;
    null) ;;
  esac || return
  # An image file on XFS, which copies by sharing blocks: no loop device in between.
  if [ "$1" = cofs-image ]; then
    mount -o noatime "$device" "$below" &&
      "$bin/mkfs.cofs" -q -s "$((volume_mib * 9 / 10))M" "$below/volume" &&
      umount "$below"
  fi
}

# Returns when the file system answers.
mount_volume() {
  local device
  device=$(loop_device)
  case "$1" in
    xfs | btrfs | ext4) mount -t "$1" -o noatime "$device" "$mnt" ;;
    fuse2fs) start_daemon fuse2fs -f "$device" "$mnt" -o big_writes ;;
    mergerfs)
      # It refuses to create files on less than 4 GiB, if not told.
      mount -o noatime "$device" "$below" &&
        start_daemon mergerfs -f "$below" "$mnt" \
          -o cache.files=auto-full,cache.writeback=true,minfreespace=0
      ;;
    null) start_daemon "$bin/null_fuse" -f -o allow_other,default_permissions "$mnt" ;;
    cofs) start_daemon "$bin/mount.cofs" -f "$device" "$mnt" -o noatime ;;
    cofs-image)
      mount -o noatime "$device" "$below" &&
        start_daemon "$bin/mount.cofs" -f "$below/volume" "$mnt" -o noatime
      ;;
  esac
}

start_daemon() {
  "$@" </dev/null >"$work/daemon.log" 2>&1 &
  local pid=$! _
  echo "$pid" >"$work/daemon"
  for _ in $(seq 6000); do
    if is_mounted "$mnt" && stat -f "$mnt" >/dev/null 2>&1; then return 0; fi
    if ! is_running "$pid"; then break; fi
    sleep 0.005
  done
  echo "${1##*/} did not mount: $(tail -n 3 "$work/daemon.log" | tr '\n' ' ')" >&2
  return 1
}

is_running() { grep -qs '^State:[[:space:]]*[^ZX[:space:]]' "/proc/$1/status"; }

unmount() {
  is_mounted "$1" || return 0
  timeout 120 umount "$1" 2>/dev/null || umount -l "$1"
}

# A daemon goes by itself after the unmount; one that does not is killed.
end_daemon() {
  local pid _
  pid=$(daemon_pid)
  [ -n "$pid" ] || return 0
  for _ in $(seq 12000); do
    is_running "$pid" || break
    sleep 0.005
  done
  if is_running "$pid"; then
    echo "the daemon did not end after the unmount, and was killed" >&2
    kill -KILL "$pid" || true
  fi
  rm -f "$work/daemon"
}

unmount_volume() {
  unmount "$mnt"
  end_daemon
  unmount "$below"
}

# What a crash of the host does to a file system in user space.
kill_daemon() {
  kill -KILL "$(daemon_pid)"
  umount -l "$mnt"
  end_daemon
}

set_up() {
  attach "$1" && format_volume "$1" && mount_volume "$1"
}

# Also after a failure, and by another process than that which set up.
tear_down() {
  unmount_volume
  if [ -e "$work/loop" ]; then
    losetup -d "$(loop_device)"
    rm -f "$work/loop"
  fi
  rm -f "$work/image"
}
