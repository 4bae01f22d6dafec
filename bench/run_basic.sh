#!/usr/bin/env bash
# Measures cofs against the bare FUSE round trip, and against other file systems.
#
#   bench/run_basic.sh [--build DIR] [--rounds N] [--peers] [--json FILE] [--quick]
#
# Each file system gets a loop device over an image in memory (/dev/shm), formatted anew
# in every round; the rounds are interleaved, and the medians are printed. Needs root,
# fio and python3, and 6 GiB of free memory.
#
#   --build DIR   the build to measure (default: build/release, else the newest)
#   --rounds N    default 5
#   --peers       XFS, ext4, btrfs and mergerfs over XFS too, those that are installed
#   --json FILE   the medians and all single values as JSON
#   --quick       small sizes: shows that it runs, measures little
set -euo pipefail
cd "$(dirname "$0")/.."

build="" rounds=5 peers=0 json="" quick=0
while [ $# -gt 0 ]; do
  case "$1" in
    --build) build=$2; shift 2 ;;
    --rounds) rounds=$2; shift 2 ;;
    --peers) peers=1; shift ;;
    --json) json=$2; shift 2 ;;
    --quick) quick=1; shift ;;
    *) sed -n '2,14p' "$0" | sed 's/^# \{0,1\}//' >&2; exit 2 ;;
  esac
done
die() { echo "run_basic.sh: $*" >&2; exit 1; }

[ "$(id -u)" -eq 0 ] || die "mounting needs root"
for tool in fio python3 losetup; do
  command -v "$tool" >/dev/null || die "$tool is missing: apt-get install fio python3 util-linux"
done
if [ -z "$build" ]; then
  build=build/release
  [ -x "$build/bin/mount.cofs" ] || build=$(dirname "$(dirname "$(ls -t build/*/bin/mount.cofs 2>/dev/null | head -1)")")
fi
bin=$(realpath "$build/bin" 2>/dev/null) && [ -x "$bin/mount.cofs" ] || die "no build of cofs: give --build DIR"

if [ "$quick" -eq 1 ]; then
  file_mib=128 names=2000 seconds=1 image_mib=1024
else
  file_mib=1024 names=10000 seconds=5 image_mib=3072
fi

work=$(mktemp -d /dev/shm/cofs-bench-XXXXXX)
mnt=$work/mnt below=$work/below results=$work/results
mkdir "$mnt" "$below"
loop="" daemon=""

# Whatever is mounted, attached or running goes, in this order, also after a failure.
tear_down() {
  mountpoint -q "$mnt" && { umount "$mnt" || umount -l "$mnt"; }
  if [ -n "$daemon" ]; then
    wait "$daemon" 2>/dev/null || true
    daemon=""
  fi
  mountpoint -q "$below" && { umount "$below" || umount -l "$below"; }
  if [ -n "$loop" ]; then
    losetup -d "$loop"
    loop=""
  fi
  rm -f "$work/image"
}
trap 'tear_down; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

attach() {
  truncate -s "${image_mib}M" "$work/image"
  loop=$(losetup --show -f "$work/image")
}

wait_for_mount() {
  for _ in $(seq 300); do
    mountpoint -q "$mnt" && return
    kill -0 "$daemon" 2>/dev/null || die "$1 did not mount: $(cat "$work/log")"
    sleep 0.1
  done
  die "$1 does not come up"
}

set_up() {
  case "$1" in
    cofs)
      attach
      "$bin/mkfs.cofs" -f -q "$loop"
      "$bin/mount.cofs" -f "$loop" "$mnt" -o noatime >"$work/log" 2>&1 &
      daemon=$!
      wait_for_mount cofs
      ;;
    null)
      "$bin/null_fuse" -f -o allow_other,default_permissions "$mnt" >"$work/log" 2>&1 &
      daemon=$!
      wait_for_mount null
      ;;
    xfs) attach; mkfs.xfs -q -f "$loop"; mount -o noatime "$loop" "$mnt" ;;
    ext4) attach; mkfs.ext4 -q -F "$loop"; mount -o noatime "$loop" "$mnt" ;;
    btrfs) attach; mkfs.btrfs -q -f "$loop" 2>/dev/null; mount -o noatime "$loop" "$mnt" ;;
    mergerfs)
      attach
      mkfs.xfs -q -f "$loop"
      mount -o noatime "$loop" "$below"
      mergerfs -f -o cache.files=auto-full,cache.writeback=true "$below" "$mnt" >"$work/log" 2>&1 &
      daemon=$!
      wait_for_mount mergerfs
      ;;
  esac
}

drop_caches() {
  sync
  echo 3 >/proc/sys/vm/drop_caches
}

# run_fio NAME read|write mib|iops ARGUMENTS...: one fio job, one line of result.
run_fio() {
  local name=$1 direction=$2 unit=$3
  shift 3
  fio --name=job --filename="$mnt/data" --output-format=json --thread "$@" 2>/dev/null |
    python3 -c '
import json, sys
text = sys.stdin.read()
job = json.loads(text[text.index("{"):])["jobs"][0][sys.argv[1]]
value = job["bw_bytes"] / 2**20 if sys.argv[2] == "mib" else job["iops"]
print(sys.argv[3], round(value, 1))' "$direction" "$unit" "$name"
}

workloads() {
  local kind=$1 timed=(--time_based "--runtime=$seconds")
  run_fio seq-write-1M write mib --rw=write --bs=1M --size="${file_mib}M" --end_fsync=1
  drop_caches
  run_fio seq-read-1M-cold read mib --rw=read --bs=1M --size="${file_mib}M"
  run_fio rand-read-4k-qd1 read iops --rw=randread --bs=4k --direct=1 --ioengine=psync \
    --size="${file_mib}M" "${timed[@]}"
  run_fio rand-read-4k-qd16 read iops --rw=randread --bs=4k --direct=1 --ioengine=psync \
    --numjobs=16 --group_reporting --size="${file_mib}M" "${timed[@]}"
  run_fio rand-write-4k-qd1 write iops --rw=randwrite --bs=4k --direct=1 --ioengine=psync \
    --size="${file_mib}M" "${timed[@]}"
  run_fio rand-write-4k-qd16 write iops --rw=randwrite --bs=4k --direct=1 --ioengine=psync \
    --numjobs=16 --group_reporting --size="${file_mib}M" "${timed[@]}"
  run_fio write-4k-fsync write iops --rw=write --bs=4k --fsync=1 --size=64M "${timed[@]}"
  rm -f "$mnt/data"
  run_fio seq-write-4k write mib --rw=write --bs=4k --size="$((file_mib / 4))M" --end_fsync=1
  rm -f "$mnt/data"
  "$bin/names_bench" "$mnt" "$names"
  # A tree that every machine has; the null file system keeps no data, but copies it too.
  local begin end
  cp -r /usr/include "$work/warm" && rm -rf "$work/warm"
  begin=$(date +%s.%N)
  cp -r /usr/include "$mnt/tree"
  [ "$kind" = null ] || sync -f "$mnt"
  end=$(date +%s.%N)
  echo "cp-r-tree $(python3 -c "print(round($end - $begin, 3))")"
}

kinds=(cofs null)
if [ "$peers" -eq 1 ]; then
  for kind in xfs ext4 btrfs; do
    command -v "mkfs.$kind" >/dev/null && kinds+=("$kind")
  done
  command -v mergerfs >/dev/null && command -v mkfs.xfs >/dev/null && kinds+=(mergerfs)
fi

: >"$results"
for round in $(seq "$rounds"); do
  for kind in "${kinds[@]}"; do
    echo "round $round of $rounds: $kind" >&2
    set_up "$kind"
    workloads "$kind" | sed "s/^/$kind /" >>"$results"
    tear_down
  done
done
python3 bench/table.py "$results" ${json:+--json "$json"}
