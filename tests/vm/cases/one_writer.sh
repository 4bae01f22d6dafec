# Two device nodes over the same blocks, as two hosts with one drive have them: no lock and
# no claim of the kernel sees that they are one. The heartbeat does.
#@ timeout 300
#@ modules nvme dm-mod fuse
#@ programs dmsetup umount
#@ binaries mkfs.cofs mount.cofs fsck.cofs cofs vm_file
#@ disk drive 96M
#@ qemu -device nvme,id=nvme0,serial=first
#@ qemu -drive file=@drive@,format=raw,if=none,id=drive -device nvme-ns,drive=drive,bus=nvme0,nsid=1

. /vm/functions.sh
. /vm/volume.sh
modprobe nvme && modprobe dm-mod && modprobe fuse || fail "no modules"
wait_for nvme_name first 1
n=$(number_of $(nvme_name first 1))
a=$(echo "0 196608 linear $n 0" | dm_create a)
b=$(echo "0 196608 linear $n 0" | dm_create b)
mkdir -p /mnt/other

refused() {  # WORDS COMMAND...
  local words=$1
  shift
  "$@" >/tmp/refused.log 2>&1 && fail "not refused: $*"
  grep -q "$words" /tmp/refused.log || { cat /tmp/refused.log; fail "$*"; }
  cat /tmp/refused.log
}

format $a
mount_volume $a
$file write $V/file 0 100000 1 || fail "write"
echo "== what another node has mounted"
refused "in use by host .*mounted from $a" /cofs/mount.cofs $b /mnt/other
refused "in use by host .*mounted from $a" /cofs/mount.cofs $b /mnt/other -o ro
refused "in use by host .*mounted from $a" /cofs/fsck.cofs -n $b
refused "in use by host .*mounted from $a" /cofs/fsck.cofs -y $b
refused "in use by host .*mounted from $a" /cofs/mkfs.cofs -f $b
$file check $V/file 0 100000 1 || fail "the file"
unmount_and_check $b
echo "== after its end"
mount_volume $b
$file check $V/file 0 100000 1 || fail "the file"
echo "== after a kill, on this host"
kill -9 $(/cofs/cofs stat --json $V | sed -n 's/.*"pid": \([0-9]*\),.*/\1/p') || fail "kill"
/bin/umount -l $V || fail "umount"
mount_volume $a
grep -q "for its heartbeat" /tmp/mount.log && fail "a process that is gone was waited for"
unmount_and_check $a
echo "== one that writes over the heartbeat of another"
mount_volume $a
refused "in use by host" /cofs/fsck.cofs -n $b
dd if=/dev/zero of=$b bs=4096 seek=128 count=1 conv=fsync oflag=direct 2>/dev/null || fail "dd"
wait_for sh -c "/cofs/cofs stat $V | grep -q 'another one has taken the volume'"
$file write $V/new 0 4096 2 2>/dev/null && fail "a write to a volume that was lost"
/bin/umount $V || fail "umount"
/cofs/fsck.cofs -n --data $b || fail "fsck.cofs"
