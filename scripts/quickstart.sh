#!/usr/bin/env bash
# From a fresh checkout to a working volume: builds cofs, formats a sparse image,
# mounts it, copies a real tree and a large file in, copies the large file on the
# volume, compares everything, unmounts, checks, and says what it did.
#
#   scripts/quickstart.sh [--keep]    --keep leaves the image in place
#
# Needs root (or sudo) for packages that are missing, and /dev/fuse. Writes only below
# build/ and a temporary directory, which it removes.
set -euo pipefail
cd "$(dirname "$0")/.."

keep=0
case "${1:-}" in
  --keep) keep=1 ;;
  "") ;;
  *)
    sed -n '2,10s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac

work=$(mktemp -d "${TMPDIR:-/tmp}/cofs-quickstart-XXXXXX")
image=$work/volume.img
mount_point=$work/mnt
mounted=0
finish() {
  if [ "$mounted" -eq 1 ]; then umount "$mount_point" 2>/dev/null || fusermount3 -u "$mount_point" || true; fi
  if [ "$keep" -eq 1 ]; then echo "The image is kept: $image"; else rm -rf "$work"; fi
}
trap finish EXIT

report=()
now() { date +%s.%N; }
# step WORDS COMMAND...: runs it, keeps its time for the report.
step() {
  local words=$1 started ended
  shift
  started=$(now)
  "$@" >"$work/log" 2>&1 || {
    cat "$work/log" >&2
    echo "quickstart: failed: $words" >&2
    exit 1
  }
  ended=$(now)
  report+=("$(awk -v a="$started" -v b="$ended" -v w="$words" 'BEGIN {printf "%7.2f s  %s", b - a, w}')")
  echo "${report[-1]}"
}

build() {
  cmake --preset release
  cmake --build --preset release
}

echo "cofs quickstart: takes a few minutes, most of it compiling"
step "packages that were missing installed" scripts/dependencies.sh build
step "cofs built (build/release/bin)" build
bin=$PWD/build/release/bin
export PATH=$bin:$PATH

tree=/usr/include
[ -d "$tree" ] || tree=/usr/share
# At most 5,000 files of a real tree: enough to see, quick to compare.
(cd "$tree" && find . -type f | LC_ALL=C sort | awk 'NR <= 5000' >"$work/list")
large=$work/large
head -c 268435456 /dev/urandom >"$large"

copy_tree() { mkdir "$mount_point/tree" && tar -C "$tree" -cf - -T "$work/list" | tar -C "$mount_point/tree" -xf -; }
# As many files as the list has, each as in the original, byte for byte.
compare_tree() {
  (cd "$mount_point/tree" && find . -type f | LC_ALL=C sort) | cmp - "$work/list" || return 1
  LC_ALL=C diff -r --no-dereference "$tree" "$mount_point/tree" |
    grep -v "^Only in $tree" >"$work/different" || true
  [ ! -s "$work/different" ] || { cat "$work/different"; return 1; }
}
compare_large() { cmp "$large" "$mount_point/large" && cmp "$large" "$mount_point/copy"; }

mkdir "$mount_point"
step "mkfs.cofs: a sparse image of 2 GiB" mkfs.cofs --size 2G -L quickstart "$image"
step "mount.cofs: live at a directory" mount.cofs "$image" "$mount_point"
mounted=1
step "$(wc -l <"$work/list") files of $tree copied in" copy_tree
step "a file of 256 MiB copied in" cp "$large" "$mount_point/large"
step "copied on the volume by cp --reflink=auto" cp --reflink=auto "$mount_point/large" "$mount_point/copy"
step "everything compared byte for byte" eval "compare_tree && compare_large"
cofs stat "$mount_point" >"$work/stat"
step "unmounted" umount "$mount_point"
mounted=0
step "fsck.cofs -n: clean" fsck.cofs -n "$image"

echo
echo "cofs stat, before the unmount:"
sed 's/^/  /' "$work/stat"
echo
echo "What was done, and where the time went:"
printf '  %s\n' "${report[@]}"
