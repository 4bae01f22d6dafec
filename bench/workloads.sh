# shellcheck shell=bash disable=SC2034,SC2154  # a part of run.sh and step.sh
# What bench/run.sh runs on each file system: one function for each group of metrics.txt,
# which sets up its own volume. A step is one group on one file system in one round, in a
# process of its own (step.sh); what a step leaves is taken down by its caller.
#
# What is measured goes to $results by record, skip and measure. A metric that has no line
# when a step ends has failed, and what the step wrote last is the reason. Whatever fails
# before a measurement therefore only has to say why, and return.

# Sizes. A quick run shows that everything works, and measures little.
use_sizes() {
  tree_from=/usr/include # copied in, packed, removed
  if [ "$1" = quick ]; then
    seconds=1        # of what is measured for a time
    volume_mib=1024
    file_mib=128     # sequential I/O and random reads
    fsync_mib=16
    names=2000       # in all threads together
    readdir_names=10000
    mount_names=2000 # on a volume that is mounted
    copy_mib=128     # the large file that is copied
    small_files=1000 # the small ones, 1 to 16 KiB each
    rocksdb_keys=50000
    compiled="base/uuid.cc base/siphash.cc"
    [ ! -d /usr/include/linux ] || tree_from=/usr/include/linux
    scale_names="1000 10000" scale_mib="1 16 64" scale_extents="1 10 100" scale_copies="1 2 4"
    scale_copy_mib=4
  else
    seconds=5
    volume_mib=4096
    file_mib=1024
    fsync_mib=64
    names=10000
    readdir_names=100000
    mount_names=100000
    copy_mib=1024
    small_files=10000
    rocksdb_keys=1000000
    compiled="base/*.cc device/r*.cc"
    scale_names="10000 100000 1000000" scale_mib="1 16 256 1024 4096 16384"
    scale_extents="1 10 100 1000 10000" scale_copies="1 2 4 8 16 32 64"
    scale_copy_mib=16
  fi
}

# Seconds that a group takes on a file system of the kernel, for the first guess of how
# long a run will be.
expected_seconds() {
  case "$1" in
    seq-1m | copy-small) echo 4 ;;
    seq-4k) echo 5 ;;
    random) echo $((seconds * 4 + 3)) ;;
    fsync | sqlite) echo $((seconds * 2 + 1)) ;;
    names-* | readdir | mount) echo 2 ;;
    tree) echo 6 ;;
    copy-large) echo 8 ;;
    compile) echo 25 ;;
    rocksdb) echo 20 ;;
    scale-*) echo $((seconds * 24)) ;;
  esac
}

# --- Recording ---------------------------------------------------------------------------

wanted() { [[ " $metrics " == *" ${1%%:*} "* ]]; }

write_result() {
  wanted "$1" || return 0
  printf '%s\t%s\t%s\t%s\t%s\n' "$round" "$kind" "$1" "$2" "$3" >>"$results"
}
record() { write_result "$1" ok "$2"; }
skip() { write_result "$1" skipped "$2"; }

# last_words FILE: its last lines as one, for a reason.
last_words() { tail -n 3 "$1" | tr '\n\t' '  ' | cut -c 1-300; }

# failed METRIC FILE
failed() {
  local reason
  reason=$(last_words "$2")
  write_result "$1" failed "${reason:-no reason given}"
  echo "$kind: $1 failed: $reason" >&2
}

# measure METRIC COMMAND...: the command prints the value. A failure is recorded, and the
# step goes on.
measure() {
  local metric=$1 value
  shift
  if value=$("$@" 2>"$work/error") && [[ $value =~ ^[0-9]+(\.[0-9]+)?$ ]]; then
    record "$metric" "$value"
  else
    [ -s "$work/error" ] || echo "no value: $value" >"$work/error"
    failed "$metric" "$work/error"
  fi
}

skip_all() {
  local metric
  for metric in $group_metrics; do skip "$metric" "$1"; done
}

# seconds_of, milliseconds_of COMMAND...: print how long it took.
seconds_of() {
  local begin=$EPOCHREALTIME
  "$@" >/dev/null || return
  awk -v begin="$begin" -v end="$EPOCHREALTIME" 'BEGIN { printf "%.4f\n", end - begin }'
}
milliseconds_of() {
  local begin=$EPOCHREALTIME
  "$@" >/dev/null || return
  awk -v begin="$begin" -v end="$EPOCHREALTIME" 'BEGIN { printf "%.2f\n", (end - begin) * 1000 }'
}

# All that was written is on the device.
settle() {
  local holder
  sync -f "$mnt" || return
  holder=$(below_of "$kind")
  if [ -b "$holder" ]; then sync "$holder"; elif [ -n "$holder" ]; then sync -f "$holder"; fi
}
drop_caches() { sync && echo 3 >/proc/sys/vm/drop_caches; }

# --- What is copied in ----------------------------------------------------------------

# Made once for all file systems, in memory: reading it costs all of them the same.
prepare_sources() {
  local group
  for group in "$@"; do
    case "$group" in
      tree)
        mkdir -p "$work/sources/tree" && cp -r "$tree_from/." "$work/sources/tree/" &&
          tar -C "$work/sources" -cf "$work/sources/tree.tar" tree
        ;;
      copy-large) head -c "${copy_mib}M" /dev/urandom >"$work/sources/large" ;;
      copy-small) make_small_files "$work/sources/small" ;;
    esac || return
  done
}

make_small_files() {
  python3 -c '
import os, sys
root, count = sys.argv[1], int(sys.argv[2])
for i in range(count):
    directory = f"{root}/{i % 100}"
    os.makedirs(directory, exist_ok=True)
    with open(f"{directory}/{i}", "wb") as file:
        file.write(os.urandom((i % 16 + 1) * 1024 - i % 7))' "$1" "$small_files"
}

# --- Sequential and random I/O --------------------------------------------------------

# fio_value read|write mib|iops ARGUMENTS...: one fio job, its rate.
fio_value() {
  local direction=$1 unit=$2
  shift 2
  fio --name=job --output-format=json --thread --ioengine=psync --group_reporting "$@" \
    >"$work/fio.json" || { grep -i 'error\|fio:' "$work/fio.json" >&2; return 1; }
  python3 -c '
import json, sys
text = open(sys.argv[3], encoding="utf-8").read()
job = json.loads(text[text.index("{"):])["jobs"][0]
if job["error"]:
    sys.exit("fio: error %d" % job["error"])
rates = job[sys.argv[1]]
print("%.1f" % (rates["bw_bytes"] / 2**20 if sys.argv[2] == "mib" else rates["iops"]))' \
    "$direction" "$unit" "$work/fio.json"
}

# Write, then read what was written.
sequential() {
  local name=$1 block=$2 mib=$3
  set_up "$kind" || return
  measure "seq-write-$name" fio_value write mib --filename="$mnt/data" --rw=write \
    --bs="$block" --size="${mib}M" --end_fsync=1
  drop_caches
  measure "seq-read-$name-cold" fio_value read mib --filename="$mnt/data" --rw=read \
    --bs="$block" --size="${mib}M"
}
run_seq_1m() { sequential 1m 1M "$file_mib"; }
run_seq_4k() { sequential 4k 4k "$((file_mib / 4))"; }

run_random() {
  local direction threads metric
  set_up "$kind" || return
  fio_value write mib --filename="$mnt/data" --rw=write --bs=1M --size="${file_mib}M" \
    --end_fsync=1 >/dev/null || return
  for direction in read write; do
    for threads in 1 16; do
      metric=rand-$direction-4k-qd$threads
      wanted "$metric" || continue
      measure "$metric" fio_value "$direction" iops --filename="$mnt/data" \
        --rw="rand$direction" --bs=4k --direct=1 --numjobs="$threads" \
        --size="${file_mib}M" --time_based --runtime="$seconds"
    done
  done
}

run_fsync() {
  local threads
  set_up "$kind" || return
  for threads in 1 8; do
    wanted "fsync-4k-t$threads" || continue
    mkdir "$mnt/$threads" || return
    measure "fsync-4k-t$threads" fio_value write iops --directory="$mnt/$threads" \
      --rw=write --bs=4k --fsync=1 --numjobs="$threads" --size="${fsync_mib}M" \
      --time_based --runtime="$seconds"
  done
}

# --- Names ------------------------------------------------------------------------------

names_of_threads() {
  local what rate
  set_up "$kind" || return
  "$bin/names_bench" --threads "$1" "$mnt" "$names" >"$work/names" || return
  while read -r what rate; do
    record "$what-t$1" "$rate"
  done <"$work/names"
}
run_names_t1() { names_of_threads 1; }
run_names_t8() { names_of_threads 8; }

run_readdir() {
  set_up "$kind" || return
  mkdir "$mnt/large" || return
  measure readdir read_large_directory
}
read_large_directory() { "$bin/names_bench" --readdir "$mnt/large" "$readdir_names" | cut -d ' ' -f 2; }

# --- Programs -----------------------------------------------------------------------------

run_tree() {
  set_up "$kind" || return
  measure tree-copy-in seconds_of copy_tree_in
  measure tree-untar seconds_of untar
  drop_caches
  measure tree-remove seconds_of remove_tree
}
copy_tree_in() { cp -r "$work/sources/tree" "$mnt/copied" && settle; }
untar() { tar -C "$mnt" -xf "$work/sources/tree.tar" && settle; }
# mergerfs fails one syncfs after a removal (late times of files that are gone), not two.
remove_tree() { rm -r "$mnt/copied" && { settle 2>/dev/null || settle; }; }

keeps_no_data="keeps no data"

run_compile() {
  [ "$kind" != null ] || { skip_all "$keeps_no_data"; return; }
  set_up "$kind" || return
  mkdir "$mnt/cofs" && cp -r "$source_root/base" "$source_root/device" "$mnt/cofs/" || return
  measure compile seconds_of compile_on_volume
}
compile_on_volume() (
  local includes
  cd "$mnt/cofs" || return
  includes=$(pkg-config --cflags blkid liburing) || return
  # shellcheck disable=SC2086  # patterns, and several words
  printf '%s\n' $compiled |
    xargs -P 2 -I FILE g++ -std=c++20 -O1 -I. $includes -c FILE -o FILE.o && settle
)

run_sqlite() {
  local mode
  [ "$kind" != null ] || { skip_all "$keeps_no_data"; return; }
  python3 -c 'import sqlite3' 2>/dev/null || { skip_all "python3 has no sqlite3"; return; }
  set_up "$kind" || return
  for mode in wal delete; do
    wanted "sqlite-$mode" || continue
    measure "sqlite-$mode" python3 "$here/sqlite_bench.py" "$mode" "$seconds" "$mnt/$mode.db"
  done
}

run_rocksdb() {
  [ "$kind" != null ] || { skip_all "$keeps_no_data"; return; }
  command -v db_bench >/dev/null ||
    { skip_all "db_bench is missing: apt-get install rocksdb-tools"; return; }
  set_up "$kind" || return
  measure rocksdb-fill db_value rocksdb fillrandom --num="$rocksdb_keys"
  drop_caches
  measure rocksdb-read db_value rocksdb readrandom --use_existing_db --num="$rocksdb_keys" \
    --reads="$((rocksdb_keys / 10))"
  ! wanted rocksdb-fill-sync ||
    measure rocksdb-fill-sync db_value rocksdb-sync fillrandom --num=1000000000 \
      --duration="$seconds" --sync=1
}
# db_value DIRECTORY BENCHMARK ARGUMENTS...: operations per second.
db_value() {
  db_bench --db="$mnt/$1" --benchmarks="$2" --value_size=400 --compression_type=none \
    "${@:3}" >"$work/db_bench" || return
  awk -v name="$2" '$1 == name && $2 == ":" { print $5 }' "$work/db_bench"
}

# --- The volume ---------------------------------------------------------------------------

run_mount() {
  attach "$kind" || return
  case "$kind" in
    null) format_volume null && skip mkfs "has no volume" ;;
    *) measure mkfs milliseconds_of format_volume "$kind" ;;
  esac
  mount_volume "$kind" && "$bin/names_bench" --keep "$mnt" "$mount_names" >/dev/null || return
  measure_memory
  unmount_volume
  drop_caches
  measure mount-clean milliseconds_of mount_volume "$kind"
  if [ "$kind" != cofs ]; then
    skip mount-crash "measured of cofs only"
    return
  fi
  mkdir "$mnt/more" && "$bin/names_bench" --keep "$mnt/more" "$mount_names" >/dev/null || return
  settle
  kill_daemon
  drop_caches
  measure mount-crash milliseconds_of mount_volume "$kind"
}

measure_memory() {
  local pid
  if is_kernel "$kind"; then
    skip rss-walk "in the kernel"
    return
  fi
  pid=$(daemon_pid)
  drop_caches
  find "$mnt" -size +1G >/dev/null
  # shellcheck disable=SC2016  # awk's
  measure rss-walk awk '/^VmRSS/ { printf "%.1f\n", $2 / 1024 }' "/proc/$pid/status"
}

# --- Copies on the volume -----------------------------------------------------------------

# copy_cost PREFIX METHOD ARGUMENTS...: one copy by copies.py, as four metrics, and the
# destination removed again.
copy_cost() {
  local prefix=$1-$2 values what value destination=$mnt/destination
  shift 2
  drop_caches
  if ! values=$(python3 "$here/copies.py" --device "$(loop_device)" \
    --below "$(below_of "$kind")" "$@" 2>"$work/error"); then
    for what in "" -cpu -read -written; do failed "$prefix$what" "$work/error"; done
  else
    read -r -a values <<<"$values"
    for what in "" -cpu -read -written; do
      value=${values[0]}
      values=("${values[@]:1}")
      if [ "$value" = - ]; then skip "$prefix$what" "has no device"; else record "$prefix$what" "$value"; fi
    done
  fi
  rm -rf "$destination" && { settle 2>/dev/null || settle; }
}

skip_copy() {
  local what
  for what in "" -cpu -read -written; do skip "$1$what" "$2"; done
}

# copies_of PREFIX NAME: all ways of copying $work/sources/NAME on the volume.
copies_of() {
  local prefix=$1 from=$mnt/source to=$mnt/destination clone
  set_up "$kind" && cp -r "$work/sources/$2" "$from" && settle || return
  copy_cost "$prefix" never command "$from" "$to" cp -r --reflink=never "$from" "$to"
  [ "$kind" != cofs ] || "$bin/cofs" set "$mnt" copy=buffered || return
  copy_cost "$prefix" range range "$from" "$to"
  if has_clones "$kind"; then
    clone=(cp -r --reflink=always)
    if [ "$kind" = cofs ]; then
      if [ -d "$from" ]; then clone=("$bin/cofs" cp -r --reflink=always); else clone=("$bin/cofs" clone); fi
    fi
    copy_cost "$prefix" clone command "$from" "$to" "${clone[@]}" "$from" "$to"
  else
    skip_copy "$prefix-clone" "shares no blocks"
  fi
  if [ "$kind" = cofs ]; then
    tear_down
    set_up cofs-image && cp -r "$work/sources/$2" "$from" && settle &&
      "$bin/cofs" set "$mnt" copy=device || return
    copy_cost "$prefix" device range "$from" "$to"
  else
    skip_copy "$prefix-device" "hands no copies down"
  fi
}
run_copy_large() { copies_of copy-large large; }
run_copy_small() { copies_of copy-small small; }

# --- Scaling --------------------------------------------------------------------------------

# Microseconds for each operation, from operations per second.
run_scale_names() {
  local count what rate
  for count in $scale_names; do
    set_up "$kind" || return
    "$bin/names_bench" --keep "$mnt" "$count" >"$work/names" || return
    while read -r what rate; do
      record "scale-${what%-cold}:$count" "$(awk -v rate="$rate" 'BEGIN { printf "%.2f", 1e6 / rate }')"
    done <"$work/names"
    tear_down
  done
}

# copy_times NAME PARAMETER: clone and copy of $mnt/source, in milliseconds.
copy_times() {
  local from=$mnt/source to=$mnt/destination method=range clone=(cp --reflink=always)
  local library=$bin/../lib/cofs-reflink.so
  # The same program everywhere where it can be: its start is a part of short times.
  if [ "$kind" = cofs ]; then
    if [ -e "$library" ]; then
      clone=(env LD_PRELOAD="$library" "${clone[@]}")
    else
      clone=("$bin/cofs" clone)
    fi
  fi
  if [ "$volume_kind" = cofs-image ]; then
    method=device
    "$bin/cofs" set "$mnt" copy=device || return
  elif has_clones "$kind"; then
    drop_caches
    measure "$1-clone:$2" copy_milliseconds command "$from" "$to" "${clone[@]}" "$from" "$to"
    rm -f "$to" && settle
  else
    skip "$1-clone:$2" "shares no blocks"
  fi
  drop_caches
  measure "$1-$method:$2" copy_milliseconds range "$from" "$to"
  rm -f "$to" && settle
}
copy_milliseconds() {
  python3 "$here/copies.py" --below "$(below_of "$kind")" "$@" >"$work/copy" && awk '{ printf "%.2f\n", $1 * 1000 }' "$work/copy"
}

# for_volume_kinds FUNCTION: for cofs also with an image on XFS, where copies go down.
for_volume_kinds() {
  local volume_kind
  for volume_kind in "$kind" $([ "$kind" != cofs ] || echo cofs-image); do "$1" || return; done
}

run_scale_size() {
  for_volume_kinds scale_size
  [ "$kind" = cofs ] || skip scale-size-device "hands no copies down"
}
scale_size() {
  local mib need available
  for mib in $scale_mib; do
    need=$((mib * 5 / 2 + 1024))
    available=$(awk '/^MemAvailable/ { print int($2 / 1024) }' /proc/meminfo)
    if [ "$need" -gt "$((available * 8 / 10))" ]; then
      echo "$kind: $mib MiB are left out: $need MiB of memory are needed" >&2
      break
    fi
    volume_mib=$need
    set_up "$volume_kind" &&
      fio_value write mib --filename="$mnt/source" --rw=write --bs=1M --size="${mib}M" \
        --refill_buffers --end_fsync=1 >/dev/null || return
    copy_times scale-size "$mib"
    tear_down
  done
}

run_scale_extents() {
  for_volume_kinds scale_extents
  [ "$kind" = cofs ] || skip scale-extents-device "hands no copies down"
}
scale_extents() {
  local extents
  for extents in $scale_extents; do
    set_up "$volume_kind" && make_extents "$mnt/source" "$extents" || return
    copy_times scale-extents "$extents"
    tear_down
  done
}
# Blocks with holes between them: no file system can join them.
make_extents() {
  python3 -c '
import os, sys
descriptor = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
for i in range(int(sys.argv[2])):
    os.pwrite(descriptor, os.urandom(4096), i * 8192)
os.fsync(descriptor)' "$1" "$2"
}

run_scale_parallel() {
  local copies
  for copies in $scale_copies; do
    set_up "$kind" && head -c "${scale_copy_mib}M" /dev/urandom >"$mnt/source" && settle || return
    [ "$kind" != cofs ] || "$bin/cofs" set "$mnt" copy=buffered || return
    measure "scale-parallel:$copies" python3 "$here/copies.py" --below "$(below_of "$kind")" \
      parallel "$copies" "$mnt/source" "$mnt/destination"
    tear_down
  done
}
