#!/usr/bin/env bash
# Runs xfstests on cofs, from an unmodified upstream checkout.
#
#   xfstests-config/run.sh XFSTESTS_DIR [options] [arguments of xfstests' check]
#   xfstests-config/run.sh /src/xfstests -g generic/quick
#   xfstests-config/run.sh /src/xfstests --profile shim generic/110 generic/111
#
#   --build DIR     the build to test (default: build/release, else the newest)
#   --profile NAME  plain   cofs as it is (default)
#                   shim    with cofs-reflink.so preloaded: reflink, dedupe, fiemap
#                   nvme    in a virtual machine, on a drive with Copy (guest.sh), shim too
#                   xfs     XFS on the same devices, to compare with
#   --fast          the subset for contributors, under ten minutes
#   --install       install the Debian packages and make the users that tests need
#   --work DIR      images, mount points, results (default: /var/tmp/cofs-xfstests)
#   --size GIB      of each of the two sparse images (default: 12)
#   --devices A,B   instead of images: all on them is lost
#   --limit SECONDS for one test, then it is ended and counts as failed (default: 600)
#   --mount OPTIONS mount options of cofs
#   --expect        compare with expected.txt and exit 1 where it is worse
#   --report        write RESULTS.md from the results of all profiles in the work folder
#
# Needs root. The host is not changed: helpers and mounts live in a mount namespace of
# this run. Results: WORK/results/PROFILE. Exit: 0 all ran (or, with --expect, nothing is
# worse), 1 otherwise, 2 usage.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
top=$(dirname "$here")

packages=(
  xfslibs-dev uuid-dev libtool libtool-bin e2fsprogs automake autoconf pkg-config gettext
  gcc g++ quota attr make libacl1-dev libattr1-dev libaio-dev xfsprogs libgdbm-dev
  libgdbm-compat-dev gawk fio dbench uuid-runtime python3 sqlite3 libcap-dev libcap2-bin
  liburing-dev acl bc dump indent psmisc fsverity xfsdump btrfs-progs duperemove keyutils
  lvm2 strace libssl-dev
)

usage() { sed -n '2,26s/^# \{0,1\}//p' "$0"; }
die() { echo "run.sh: $*" >&2; exit 2; }

build="" profile=plain devices="" install=0 work=/var/tmp/cofs-xfstests size_gib=12 limit=600
mount_options="" expect=0 report=0 fast=0 source_dir="" inside=0 in_guest=0
original=("$@")
check_arguments=()
while [ $# -gt 0 ]; do
  case "$1" in
    --build) build=${2:?}; shift ;;
    --profile) profile=${2:?}; shift ;;
    --install) install=1 ;;
    --work) work=${2:?}; shift ;;
    --size) size_gib=${2:?}; shift ;;
    --limit) limit=${2:?}; shift ;;
    --mount) mount_options=${2:?}; shift ;;
    --expect) expect=1 ;;
    --report) report=1 ;;
    --fast) fast=1 ;;
    --devices) devices=${2:?}; shift ;;
    --inside-namespace) inside=1 ;;
    --inside-guest) in_guest=1 ;;
    -h | --help) usage; exit 0 ;;
    *) if [ -z "$source_dir" ]; then source_dir=$1; else check_arguments+=("$1"); fi ;;
  esac
  shift
done
case "$profile" in
  plain | shim | nvme | xfs) ;;
  *) die "no profile '$profile': plain, shim, nvme or xfs" ;;
esac
[ -n "$source_dir" ] || { usage >&2; exit 2; }
[ -f "$source_dir/check" ] && [ -d "$source_dir/tests/generic" ] ||
  die "$source_dir is not a checkout of xfstests"
source_dir=$(realpath "$source_dir")
mkdir -p "$work"
work=$(realpath "$work")
results=$work/results/$profile

if [ "$report" -eq 1 ]; then
  exec python3 "$here/summary.py" report "$work/results" "$top" >"$here/RESULTS.md"
fi

[ "$(id -u)" -eq 0 ] || die "needs root: it mounts, and so do the tests"
if [ -z "$build" ]; then
  build=$top/build/release
  [ -x "$build/bin/mount.cofs" ] ||
    build=$(dirname "$(dirname "$(ls -t "$top"/build/*/bin/mount.cofs 2>/dev/null | head -1)")")
fi
build=$(realpath "$build" 2>/dev/null) && [ -x "$build/bin/mount.cofs" ] ||
  die "no build of cofs: cmake --preset release && cmake --build --preset release, or give --build DIR"

if [ "$install" -eq 1 ]; then
  apt-get install -y -q --no-install-recommends "${packages[@]}"
  for user in fsgqa fsgqa2 123456-fsgqa; do
    id "$user" >/dev/null 2>&1 || useradd --badname -m "$user" 2>/dev/null || useradd -m "$user"
  done
fi
for user in fsgqa fsgqa2; do
  id "$user" >/dev/null 2>&1 || die "the user $user is missing: run once with --install"
done

tree=$work/xfstests
if [ "$inside" -eq 0 ] && [ "$in_guest" -eq 0 ]; then
  if [ ! -x "$source_dir/ltp/fsx" ]; then
    echo "Building xfstests"
    make -C "$source_dir" -j"$(nproc)" >"$work/make.log" 2>&1 || {
      tail -n 20 "$work/make.log" >&2
      die "xfstests did not build, see $work/make.log"
    }
  fi
  rsync -a --delete --exclude=.git --exclude=results "$source_dir/" "$tree/"
  python3 "$here/adapt.py" "$tree"
fi

summary() {
  local arguments=()
  [ "$expect" -eq 0 ] || arguments=("$here/expected.txt")
  python3 "$here/summary.py" summary "$results" "$profile" "${arguments[@]}"
}

if [ "$profile" = nvme ] && [ "$in_guest" -eq 0 ]; then
  [ "$fast" -eq 0 ] || check_arguments+=($(sed 's/#.*//' "$here/fast.txt"))
  [ ${#check_arguments[@]} -gt 0 ] || check_arguments=(-g copy_range)
  [ -z "$mount_options" ] || check_arguments+=(--mount "$mount_options")
  rm -rf "$results"
  status=0
  "$here/guest.sh" --build "$build" --work "$work/guest" --limit 36000 -- \
    "$here/run.sh" "$source_dir" --inside-guest --profile nvme --build "$build" --work "$work" \
    --devices /dev/nvme0n1,/dev/nvme0n2 --limit $((limit * 4)) "${check_arguments[@]}" || status=$?
  [ $status -ne 77 ] || exit 77
  if [ $status -ne 0 ]; then
    tail -n 20 "$work/guest/shared/output" >&2 || true
    die "the guest failed"
  fi
  mkdir -p "$results"
  cp -r "$work/guest/shared/results/." "$results/"
  mv "$work/guest/shared/copy_commands" "$results/"
  cat "$work/guest/shared/output"
  echo "Copy commands of the drive: $(cat "$results/copy_commands")"
  summary
  exit
fi
[ "$in_guest" -eq 0 ] || results=/run/shared/results

# ---- everything from here on in a mount namespace of its own ----

if [ "$inside" -eq 0 ]; then
  exec unshare --mount --propagation slave -- "$0" --inside-namespace "${original[@]}"
fi

# The copies here of what else is mounted of cofs would outlive its unmount outside.
awk '$3 ~ /^fuse(blk)?\.cofs$/ { print $2 }' /proc/self/mounts | while read -r other; do
  umount -l "$other" || true
done

loops=()
watchdog=""
tear_down() {
  trap - EXIT INT TERM
  [ -z "$watchdog" ] || kill "$watchdog" 2>/dev/null || true
  for dir in "$work/mnt/scratch" "$work/mnt/test"; do
    for _ in 1 2 3; do
      mountpoint -q "$dir" || break
      umount "$dir" 2>/dev/null || umount -l "$dir"
    done
  done
  for loop in "${loops[@]}"; do losetup -d "$loop" 2>/dev/null || true; done
}
trap tear_down EXIT
trap 'exit 1' INT TERM

mkdir -p "$work/mnt/test" "$work/mnt/scratch" "$work/helpers" "$results"
make_device() {  # NAME: prints the loop device
  rm -f "$work/$1.img"
  truncate -s "${size_gib}G" "$work/$1.img"
  losetup --find --show --direct-io=on "$work/$1.img"
}
if [ -n "$devices" ]; then
  test_device=${devices%%,*} scratch_device=${devices#*,}
else
  test_device=$(make_device test)
  loops+=("$test_device")
  scratch_device=$(make_device scratch)
  loops+=("$scratch_device")
fi

# The helpers that mount(8), mkfs(8) and fsck(8) look for, beside what is in /usr/sbin.
mkdir -p "$work/sbin.host" "$work/sbin"
mount --bind /usr/sbin "$work/sbin.host"
find "$work/sbin" -mindepth 1 -delete
for program in "$work"/sbin.host/*; do ln -s "$program" "$work/sbin/"; done
for helper in mount mkfs fsck; do ln -sf "$build/bin/$helper.cofs" "$work/sbin/$helper.fuseblk.cofs"; done
mount --bind "$work/sbin" /usr/sbin
[ /sbin -ef /usr/sbin ] || mount --bind "$work/sbin" /sbin

type=fuseblk.cofs mkfs_options=-f
[ "$profile" != xfs ] || { type=xfs mkfs_options=; }
[ -z "$mount_options" ] || mount_options="-o $mount_options"
cat >"$tree/local.config" <<END
export FSTYP=$type
export TEST_DEV=$test_device
export TEST_DIR=$work/mnt/test
export SCRATCH_DEV=$scratch_device
export SCRATCH_MNT=$work/mnt/scratch
export MKFS_OPTIONS="$mkfs_options"
export MOUNT_OPTIONS="$mount_options"
export TEST_FS_MOUNT_OPTS="$mount_options"
export RESULT_BASE=$results
END
[ "$profile" != xfs ] || echo 'export FSCK_OPTIONS=-n' >>"$tree/local.config"

mkfs -t "$type" $mkfs_options "$test_device" >"$results/mkfs.log" 2>&1 || {
  cat "$results/mkfs.log" >&2
  die "mkfs failed"
}
rm -rf "$results"/{generic,check.*,result.xml}
echo "$(date +%F), Linux $(uname -r), cofs $(git -C "$top" rev-parse --short HEAD 2>/dev/null)" \
  >"$results/run"

# One test at a time that takes too long: it is ended with all that it started, and if that
# does not help the daemons' connections to the kernel are aborted.
descendants() {
  local child
  for child in $(pgrep -P "$1" || true); do
    descendants "$child"
    echo "$child"
  done
}
(
  trap 'exit 0' TERM
  while :; do
    sleep 5 &
    wait $!
    for pid in $(pgrep -f '^/bin/bash ([^ ]*/)?tests/[a-z]+/[0-9]+$' || true); do
      age=$(ps -o etimes= -p "$pid" 2>/dev/null | tr -d ' ') || continue
      [ "${age:-0}" -ge "$limit" ] || continue
      echo "$(date '+%F %T') $(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null): ended after $age s" >>"$results/watchdog.log"
      kill -KILL $(descendants "$pid") "$pid" 2>/dev/null || true
      if [ "$age" -ge $((limit + 30)) ]; then
        for dir in "$work/mnt/scratch" "$work/mnt/test"; do
          connection=$(awk -v d="$dir" '$5 == d { split($3, n, ":"); print n[2] }' /proc/self/mountinfo | head -1)
          [ -z "$connection" ] || echo 1 >"/sys/fs/fuse/connections/$connection/abort" 2>/dev/null || true
        done
      fi
    done
  done
) &
watchdog=$!

if [ "$fast" -eq 1 ]; then check_arguments+=($(sed 's/#.*//' "$here/fast.txt")); fi
[ ${#check_arguments[@]} -gt 0 ] || check_arguments=(-g generic/quick)
sed 's/[[:space:]].*//; /^#/d; /^$/d' "$here/exclude" >"$work/exclude"

export ASAN_OPTIONS="log_path=$results/sanitizer detect_leaks=0" UBSAN_OPTIONS="log_path=$results/sanitizer"
preload=()
if [ "$profile" = shim ] || [ "$profile" = nvme ]; then
  preload=("LD_PRELOAD=$(ls "$build"/lib/cofs-reflink.so)")
fi
cd "$tree"
env "${preload[@]}" ./check -R xunit -E "$work/exclude" "${check_arguments[@]}" 2>&1 |
  tee "$results/check.out" || true
kill "$watchdog" 2>/dev/null || true
watchdog=""

[ "$in_guest" -eq 1 ] || summary
