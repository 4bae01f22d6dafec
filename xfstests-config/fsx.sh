#!/usr/bin/env bash
# Runs xfstests' fsx on cofs: random operations on one file, compared with a copy in memory:
# reads and writes, mapped too, truncation, fallocate, punched, zeroed, collapsed and
# inserted ranges, copy_file_range, clones and dedupe (by the preload library).
#
#   xfstests-config/fsx.sh XFSTESTS_DIR [options]
#
#   --build DIR       the build to test (default: build/release)
#   --on WHERE        image   an image file (default)
#                     loop    a loop device
#                     nvme    a drive with Copy, in a virtual machine (guest.sh)
#                     a path  this block device: all on it is lost
#   --seeds A-B       one volume for each seed (default: 1-10)
#   --operations N    of each seed (default: 1000000)
#   --work DIR        (default: /var/tmp/cofs-fsx)
#
# The operations come in ten parts. After each the volume is unmounted, checked by
# fsck.cofs --data, mounted again, and the file compared. Every third part is O_DIRECT.
# Needs root, and an XFSTESTS_DIR that is built (run.sh builds it). Exit: 0 passed.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
top=$(dirname "$here")
die() { echo "fsx.sh: $*" >&2; exit 1; }

build=$top/build/release on=image seeds=1-10 operations=1000000 work=/var/tmp/cofs-fsx source_dir=""
while [ $# -gt 0 ]; do
  case $1 in
    --build) build=${2:?}; shift ;;
    --on) on=${2:?}; shift ;;
    --seeds) seeds=${2:?}; shift ;;
    --operations) operations=${2:?}; shift ;;
    --work) work=${2:?}; shift ;;
    -h | --help) sed -n '2,21s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) source_dir=$1 ;;
  esac
  shift
done
source_dir=$(realpath "$source_dir") build=$(realpath "$build")
[ -x "$source_dir/ltp/fsx" ] || die "$source_dir/ltp/fsx is missing: build xfstests"
[ -x "$build/bin/mount.cofs" ] || die "no build of cofs in $build"
mkdir -p "$work/mnt"

if [ "$on" = nvme ]; then
  status=0
  "$here/guest.sh" --build "$build" --work "$work/guest" --limit 36000 -- \
    "$here/fsx.sh" "$source_dir" --build "$build" --seeds "$seeds" --operations "$operations" \
    --work /fsx --on /dev/nvme0n1 || status=$?
  [ $status -ne 77 ] || exit 77
  cat "$work/guest/shared/output"
  echo "Copy commands of the drive: $(cat "$work/guest/shared/copy_commands")"
  exit $status
fi

device=$on loop=""
tear_down() {
  trap - EXIT INT TERM
  ! mountpoint -q "$work/mnt" || umount "$work/mnt" || umount -l "$work/mnt"
  [ -z "$loop" ] || losetup -d "$loop"
}
trap tear_down EXIT
trap 'exit 1' INT TERM
if [ "$on" = image ] || [ "$on" = loop ]; then
  device=$work/image
  rm -f "$device"
  truncate -s 1G "$device"
fi
if [ "$on" = loop ]; then
  loop=$(losetup --find --show --direct-io=on "$work/image")
  device=$loop
fi

sum() { sha256sum <"$work/mnt/file"; }
mount_volume() { "$build/bin/mount.cofs" "$device" "$work/mnt"; }
fsx() {  # SEED ARGUMENTS...
  local seed=$1
  shift
  LD_PRELOAD=$build/lib/cofs-reflink.so "$source_dir/ltp/fsx" -q -c 1000 -l 600000 -S "$seed" \
    -N $((operations / 10)) -P "$work" "$@" "$work/mnt/file" >"$work/fsx.log" 2>&1 || {
    tail -n 40 "$work/fsx.log" >&2
    die "seed $seed: fsx found a difference"
  }
}

started=$SECONDS
for ((seed = ${seeds%-*}; seed <= ${seeds#*-}; ++seed)); do
  "$build/bin/mkfs.cofs" -q -f "$device"
  mount_volume
  for ((part = 0; part < 10; ++part)); do
    direct=()
    [ $((part % 3)) -ne 2 ] || direct=(-Z -R -W -r 4096 -w 4096 -t 4096)
    fsx $((seed * 100 + part)) "${direct[@]}"
    before=$(sum)
    umount "$work/mnt"
    # umount(2) returns before the daemon of an image has gone.
    for ((tries = 0; ; ++tries)); do
      status=0
      "$build/bin/fsck.cofs" -n --data "$device" >"$work/fsck.log" 2>&1 || status=$?
      if [ $status -eq 0 ]; then break; fi
      if [ $tries -lt 50 ] && grep -q "in use\|mounted" "$work/fsck.log"; then sleep 0.1; continue; fi
      cat "$work/fsck.log" >&2
      die "seed $seed, part $part: fsck.cofs"
    done
    mount_volume
    [ "$(sum)" = "$before" ] || die "seed $seed, part $part: the file is another one after a remount"
  done
  [ "$seed" != "${seeds%-*}" ] || sed -n '/not supported/p' "$work/fsx.log"
  echo "seed $seed: $operations operations, 10 remounts, $((SECONDS - started)) s so far"
  umount "$work/mnt"
  sleep 0.5
done
