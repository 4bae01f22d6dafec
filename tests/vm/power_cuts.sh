#!/bin/bash
# Power cuts: a guest works on a cofs volume on an emulated NVMe drive, whose medium is a
# file behind a volatile write cache (power/volatile_disk.c, in nbdkit). At a random moment
# QEMU is killed and the cache loses what was not flushed, or a random part of it. Then, on
# the host: fsck.cofs --data, a mount that writes nothing, and a comparison with all that
# had been acknowledged (power/load_check.h). The next guest goes on from what is left.
#
#   power_cuts.sh --bin DIR --work DIR [--rounds N] [--seed N]
#
# Every second round clones by copies of the drive (clone=device).
#
# The workload and what the cache loses follow from the seed; the moment only as far as
# the same machine takes the same time. COFS_LONG=1: 200 rounds instead of 10.
#
# Exit: 0 passed, 77 skipped (what is missing is said), else failed: the image, as the
# power cut left it, stays in the work directory.
set -euo pipefail

readonly kStarted=$SECONDS kImageBytes=112M
here=$(cd "$(dirname "$0")" && pwd)
bin='' work='' seed=${COFS_SEED:-} rounds=10
[ "${COFS_LONG:-0}" != 1 ] || rounds=200
while [ $# -gt 0 ]; do
  case $1 in
    --bin) bin=$2 ;;
    --work) work=$2 ;;
    --rounds) rounds=$2 ;;
    --seed) seed=$2 ;;
    *) echo "unknown argument: $1" >&2; exit 2 ;;
  esac
  shift 2
done
[ -n "$bin" ] && [ -n "$work" ] || { echo "usage: see $0" >&2; exit 2; }
. "$here/machine.sh"

nbdkit='' guest='' mounted=0
clean_up() {
  [ -z "$guest" ] || kill -9 "$guest" 2>/dev/null || true
  [ -z "$nbdkit" ] || kill -9 "$nbdkit" 2>/dev/null || true
  [ $mounted -eq 0 ] || umount "$run/mnt" || true
}
trap clean_up EXIT
fail() {
  echo "FAILED: round $round of seed $seed: $*"
  tail -n 20 "$run/nbdkit.log" "$run/serial.log" 2>/dev/null || true
  exit 1
}

# A number below BOUND, which follows from the seed and what was drawn before.
draw() {  # BOUND
  drawn=$(((drawn * 1103515245 + 12345) & 0x7fffffff))
  drawn_number=$(((drawn >> 8) % $1))
}
pause_ms() { sleep "$(($1 / 1000)).$(printf %03d $(($1 % 1000)))"; }

wait_until() {  # SECONDS COMMAND...
  local tries=$(($1 * 20))
  shift
  until "$@"; do
    [ $tries -gt 0 ] || fail "waited in vain for: $*"
    tries=$((tries - 1))
    sleep 0.05
  done
}
is_mounting() { grep -qs '^mounting' "$run/serial.log" || ! kill -0 "$guest"; }
is_working() { grep -qs '^R' "$run/acknowledged.log" || ! kill -0 "$guest"; }

switch_on() {
  local options=verify_copy=sample,copy=device
  [ $((round % 2)) -eq 0 ] || options=$options,clone=device
  # A heartbeat that a cut has left makes all that look at the volume wait some seconds.
  [ "$round" -eq "$rounds" ] || options=$options,nommp
  rm -f "$run"/{serial.log,acknowledged.log,disk.socket,nbdkit.log}
  nbdkit -f -U "$run/disk.socket" "$(built volatile_disk.so)" file="$run/volume.img" \
    seed=$round_seed 2>"$run/nbdkit.log" &
  nbdkit=$!
  wait_until 20 test -S "$run/disk.socket"
  "${qemu[@]/power.words/power.seed=$round_seed power.options=$options}" </dev/null &
  guest=$!
}

# Kills the guest; the cache loses all that was not flushed, or a part of it.
cut_power() {
  draw 3
  kill -0 "$guest" 2>/dev/null || fail "the guest has ended by itself"
  if [ "$drawn_number" -eq 0 ]; then
    kill -9 "$guest" "$nbdkit"
    lost="all that was not flushed is lost"
  else
    kill -9 "$guest"
    kill -TERM "$nbdkit"
  fi
  wait "$guest" 2>/dev/null || true
  wait "$nbdkit" 2>/dev/null || true
  [ "$drawn_number" -eq 0 ] || lost=$(sed -n 's/^volatile-disk: //p' "$run/nbdkit.log")
  [ -n "$lost" ] || fail "the cache said nothing: $(cat "$run/nbdkit.log")"
  guest='' nbdkit=''
}

mount_here() {  # OPTIONS
  "$bin/mount.cofs" "$run/volume.img" "$run/mnt" -o "log=$run/mount.log,$1" ||
    fail "mount.cofs: $(cat "$run/mount.log")"
  mounted=1
}
unmount_here() {
  umount "$run/mnt" || fail "umount"
  mounted=0
}
check_volume() {
  "$bin/fsck.cofs" -n --data "$run/volume.img" >"$run/fsck.log" 2>&1 ||
    fail "fsck.cofs: $(cat "$run/fsck.log")"
}

one_round() {
  round_seed=$((seed * 1000 + round))
  drawn=$round_seed
  switch_on
  # One in four falls into the mount, which recovers from the cut before it.
  local phase=working span=3000
  draw 4
  [ "$drawn_number" -gt 0 ] || phase=mounting span=1500
  wait_until 100 is_$phase
  draw $span
  pause_ms "$drawn_number"
  echo "== round $round: $drawn_number ms after it began $phase"
  cut_power
  echo "$lost"
  check_volume
  mount_here ro
  touch "$run/acknowledged.log"
  "$bin/power_load" check "$run/mnt" $round_seed "$run/acknowledged.log" "$run/state" ||
    fail "the files are not what was acknowledged"
  unmount_here
  copies=$((copies + $(grep -c 'pci_nvme_copy cid' "$run/trace.log" || true)))
  flushes=$((flushes + $(grep -c 'pci_nvme_flush_ns ' "$run/trace.log" || true)))
}

main() {
  round=0 copies=0 flushes=0
  need nbdkit nbdkit
  [ -n "$seed" ] || seed=$((RANDOM * 32768 + RANDOM))
  echo "seed $seed, $rounds rounds"
  prepare_run power_cuts
  [ -e "$(built volatile_disk.so)" ] ||
    skip "built without nbdkit's headers: apt-get install nbdkit-plugin-dev"
  [ -w /dev/fuse ] || skip "no /dev/fuse"
  mkdir "$run/mnt"
  truncate -s $kImageBytes "$run/volume.img"
  "$bin/mkfs.cofs" -q "$run/volume.img"
  for round in $(seq "$rounds"); do one_round; done

  # In the end the volume goes on as any other.
  mount_here copy=auto
  "$bin/power_load" check "$run/mnt" 0 /dev/null "$run/state" || fail "after the last mount"
  unmount_here
  check_volume
  echo "the drive was given $copies Copy and $flushes Flush commands"
  [ "$copies" -ge $((rounds * 5)) ] || fail "too few copies by the drive"
  rm -rf "$run/root" "$run/initramfs" "$run/volume.img" "$run/state"
  echo "PASSED in $((SECONDS - kStarted)) s"
}
main; exit
