# cofs probe, cofs cp, policies and the cost model on drives with and without Copy.
#@ timeout 420
#@ modules nvme fuse
#@ programs umount
#@ binaries mkfs.cofs mount.cofs fsck.cofs cofs cofs-probe
#@ disk drive 256M
#@ disk zero 64M
#@ qemu -trace pci_nvme_copy
#@ qemu -device nvme,id=nvme0,serial=first,mdts=7
#@ qemu -drive file=@drive@,format=raw,if=none,id=drive -device nvme-ns,drive=drive,bus=nvme0,nsid=1,logical_block_size=4096,physical_block_size=4096
#@ qemu -drive file=@zero@,format=raw,if=none,id=zero -device nvme-ns,drive=zero,bus=nvme0,nsid=2,logical_block_size=512,physical_block_size=512,mssrl=0,mcl=0,msrc=0

. /vm/functions.sh
modprobe nvme && modprobe fuse || fail "no modules"
wait_for nvme_name first 2
drive=/dev/$(nvme_name first 1)
zero=/dev/$(nvme_name first 2)
V=/mnt
cofs=/cofs/cofs

run() { echo "\$ $*"; "$@" || fail "$*"; }
# check COMMAND: shows it with its output, which expect WORDS then looks at.
expect() { echo "$output" | grep -q -- "$1" || fail "'$1' is not in the output"; }
check() {
  echo "\$ $*"
  output=$("$@" 2>&1)
  status=$?
  echo "$output"
}
mount_drive() {
  /cofs/mount.cofs -o "$1,log=/tmp/log" $drive $V || fail "mount: $(cat /tmp/log)"
}
unmount() { umount $V || fail "umount"; }

echo "== nothing on it: nothing is written without a word"
check $cofs probe $drive
expect "nothing known"
expect "write-test allows one"
expect "not proved"
check $cofs probe --write-test $drive
expect "proved, NVMe Copy"
[ "$(dd if=$drive bs=1M 2>/dev/null | tr -d '\0' | wc -c)" -eq 0 ] || fail "not put back"
check $cofs probe --write-test $zero
expect "absent"

echo "== a volume: in its free blocks"
run /cofs/mkfs.cofs -q $drive
check $cofs probe $drive
expect "in free blocks of the volume"
expect "proved, NVMe Copy"
check /cofs/fsck.cofs -n $drive
[ $status -eq 0 ] || fail "fsck"

echo "== mounted: by the daemon"
mount_drive copy=auto
cat /tmp/log
grep -q "copies by nvme-copy: .*proved by a trial copy" /tmp/log || fail "no line in the log"
check $cofs probe $drive
expect "by the daemon"
dd if=/dev/urandom of=$V/image bs=1M count=16 2>/dev/null || fail "dd"
sync
check $cofs cp --explain --require-offload $V/image $V/copy
[ $status -eq 0 ] || fail "cp"
expect "nvme-copy 16.0 MiB"
cmp $V/image $V/copy || fail "the copy differs"
check $cofs stat $V
expect "by nvme-copy"
run $cofs set $V copy=buffered
check $cofs cp --explain $V/image $V/copy2
expect "buffered 16.0 MiB"
run $cofs set $V copy=auto verify_copy=all
check $cofs cp --explain --require-offload $V/image $V/copy3
expect "nvme-copy 16.0 MiB"
check $cofs stat $V
expect "verify_copy=all"
check $cofs top -n 1 $V
unmount
check /cofs/fsck.cofs -n --data $drive
[ $status -eq 0 ] || fail "fsck"

echo "== a volume on a namespace without limits"
run /cofs/mkfs.cofs -q $zero
/cofs/mount.cofs -o copy=device,log=/tmp/log2 $zero $V || fail "mount"
cat /tmp/log2
dd if=/dev/urandom of=$V/image bs=1M count=8 2>/dev/null || fail "dd"
sync
check $cofs cp $V/image $V/copy
[ $status -eq 2 ] || fail "copied without a device"
[ ! -e $V/copy ] || fail "a half file"
run $cofs set $V copy=auto
check $cofs cp --explain $V/image $V/copy
expect "buffered 8.0 MiB"
unmount
