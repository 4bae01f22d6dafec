# NVMe where copies fail: reads that a drive can't do, in every command of a copy; targets
# over TCP, without Copy and with; then every kind of copy on a drive with small limits.
#@ timeout 900
#@ append hardened_usercopy=off
#@ modules nvme nvmet nvmet-tcp nvme-tcp fuse configfs
#@ programs cp umount
#@ binaries mkfs.cofs mount.cofs fsck.cofs cofs vm_file copy_parity_test
#@ disk bad 96M
#@ disk behind 96M
#@ disk small 112M
#@ disk over 96M
#@ disk mark 1M
#@ qemu -trace pci_nvme_copy -trace pci_nvme_err_aio
#@ qemu -device nvme,id=nvme0,serial=first,mdts=7
#@ qemu -blockdev driver=file,filename=@bad@,node-name=bad-file -blockdev driver=blkdebug,image=bad-file,node-name=bad-debug,inject-error.0.event=read_aio,inject-error.0.iotype=read,inject-error.0.errno=5,inject-error.0.sector=61440,inject-error.0.once=on,inject-error.1.event=read_aio,inject-error.1.iotype=read,inject-error.1.errno=5,inject-error.1.sector=65536,inject-error.1.once=on,inject-error.2.event=read_aio,inject-error.2.iotype=read,inject-error.2.errno=5,inject-error.2.sector=69632,inject-error.2.once=on,inject-error.3.event=read_aio,inject-error.3.iotype=read,inject-error.3.errno=5,inject-error.3.sector=73728,inject-error.3.once=on,inject-error.4.event=read_aio,inject-error.4.iotype=read,inject-error.4.errno=5,inject-error.4.sector=77824,inject-error.4.once=on,inject-error.5.event=read_aio,inject-error.5.iotype=read,inject-error.5.errno=5,inject-error.5.sector=81920,inject-error.5.once=on,inject-error.6.event=read_aio,inject-error.6.iotype=read,inject-error.6.errno=5,inject-error.6.sector=90112 -blockdev driver=raw,file=bad-debug,node-name=bad
#@ qemu -device nvme-ns,drive=bad,bus=nvme0,nsid=1,logical_block_size=4096,physical_block_size=4096,mssrl=64,mcl=64,msrc=0
#@ qemu -drive file=@behind@,format=raw,if=none,id=behind -device nvme-ns,drive=behind,bus=nvme0,nsid=2
#@ qemu -drive file=@small@,format=raw,if=none,id=small -device nvme-ns,drive=small,bus=nvme0,nsid=3,logical_block_size=512,physical_block_size=512,mssrl=37,mcl=90,msrc=2
#@ qemu -drive file=@mark@,format=raw,if=none,id=mark -device nvme-ns,drive=mark,bus=nvme0,nsid=4
#@ qemu -device nvme,id=nvme1,serial=second,mdts=7
#@ qemu -drive file=@over@,format=raw,if=none,id=over -device nvme-ns,drive=over,bus=nvme1,nsid=1

. /vm/functions.sh
. /vm/volume.sh
modprobe nvme && modprobe fuse || fail "no modules"
wait_for nvme_name first 4
wait_for nvme_name second 1
bad=/dev/$(nvme_name first 1)
MARK_DEVICE=/dev/$(nvme_name first 4)

# ---- errors in the k-th command of a copy ----
kCommand=$((64 * 4096))  # mcl
kCommands=6
kLength=$((kCommand * kCommands))
# Sectors that fail once, 2 MiB apart, and one that always does (see the drive above).
once_at() { echo $(((30 + 2 * $1) * MIB)); }
kAlways=$((44 * MIB))

# The place in $V/big of a byte of the device.
place_of() {
  /cofs/cofs map --json $V/big | tr -d ' \n' | sed 's/{"file_offset"/\n&/g' |
    awk -F '[:,]' -v d=$1 '/device_offset/ && d >= $4 && d < $4 + $6 { print $2 + d - $4 }'
}

# Copies so that the byte AT of the device is in the middle of the K-th command. Sets
# `copied` to the answer and `begin` to where the copy began.
copy_around() {  # K AT
  local place=$(place_of $2)
  [ -n "$place" ] || fail "the file does not hold the bad sector at $2"
  begin=$((place - ($1 - 1) * kCommand - kCommand / 2))
  rm -f $V/copy
  copied=$($file copy $V/big $begin $V/copy 0 $kLength)
}
# The drive's way of copying is used again, some time after a failure.
works_again() {
  local before=$(way_figure nvme-copy bytes)
  rm -f $V/again
  $file copy $V/small 0 $V/again 0 $kLength >/dev/null
  [ $(way_figure nvme-copy bytes) -gt $before ]
}

# Mounts; copies are offered to the drive where they are worth it, which has been measured
# at the mount, on a machine where everything takes its time: until it is found so.
mount_until_worth_it() {
  local tries=0 least
  while [ $tries -lt 20 ]; do
    mount_volume $bad verify_copy=off
    least=$(/cofs/cofs stat --json $V | tr -d ' \n' | sed 's/{"way":/\n&/g' |
            sed -n 's/^{"way":"nvme-copy".*"request_bytes_min":\([0-9]*\).*/\1/p')
    [ -n "$least" ] && [ $least -le $kCommand ] && return
    echo "through memory below ${least:-any} bytes: again"
    /bin/umount $V || fail "umount"
    tries=$((tries + 1))
  done
  fail "copies by the drive are never worth it"
}

every_command_fails() {
  echo "== errors in the k-th command: $bad"
  format $bad
  mount_until_worth_it
  fallocate -l $((48 * MIB)) $V/big || fail "fallocate"
  local from=$(place_of $((28 * MIB)))
  $file write $V/big $from $((18 * MIB)) 3 || fail "write"
  $file write $V/small 0 $kLength 4 || fail "write"
  local k=1 fallbacks buffered
  while [ $k -le $kCommands ]; do
    wait_for works_again
    fallbacks=$(fallback_count)
    buffered=$(way_figure buffered bytes)
    copy_around $k $(once_at $((k - 1)))
    expect "$copied" = $kLength "copy with an error in command $k"
    $file check $V/copy 0 $kLength 3 $begin || fail "copy with an error in command $k"
    expect $(fallback_count) -gt $fallbacks "fallbacks"
    buffered=$(($(way_figure buffered bytes) - buffered))
    expect $buffered -ge $((kLength - k * kCommand)) "bytes through memory"
    expect $buffered -gt 0 "bytes through memory"
    echo "FAULT $k through_memory=$buffered"
    k=$((k + 1))
  done
  # A sector that nobody can read: what is before it is copied, then comes the error.
  k=1
  while [ $k -le $kCommands ]; do
    wait_for works_again
    copy_around $k $kAlways
    local good=$(($(place_of $kAlways) - begin))
    expect "$copied" = "$good EIO" "copy up to a bad sector in command $k"
    $file size $V/copy $good && $file check $V/copy 0 $good 3 $begin ||
      fail "copy up to a bad sector"
    echo "ROT $k copied=$good"
    k=$((k + 1))
  done
  rm $V/big $V/copy
  unmount_and_check $bad
  mount_volume $bad
  $file check $V/again 0 $kLength 4 || fail "again"
  unmount_and_check $bad
}

# ---- NVMe over TCP ----
# Target and host in one kernel: some of 6.1 take the pages that they hand each other for
# memory that must not be copied, and stop. Hence hardened_usercopy=off above.
NVMET=/sys/kernel/config/nvmet
fabrics() {
  modprobe configfs && modprobe nvmet && modprobe nvmet-tcp && modprobe nvme-tcp ||
    fail "no nvmet"
  mount -t configfs none /sys/kernel/config || fail "configfs"
  /bin/busybox ip link set lo up || fail "no network"
  mkdir -p $NVMET/ports/1
  echo 127.0.0.1 >$NVMET/ports/1/addr_traddr
  echo tcp >$NVMET/ports/1/addr_trtype
  echo 4420 >$NVMET/ports/1/addr_trsvcid
  echo ipv4 >$NVMET/ports/1/addr_adrfam
}
# The name of the namespace of a connected subsystem.
away_name() {
  local each
  for each in /sys/block/nvme*n1; do
    case $each in *c[0-9]*) continue ;; esac
    [ "$(cat $each/device/subsysnqn)" = $1 ] && basename $each && return
  done
  return 1
}
connect() {  # SUBSYSTEM
  echo 1 >$NVMET/subsystems/$1/attr_allow_any_host
  ln -s $NVMET/subsystems/$1 $NVMET/ports/1/subsystems/$1 || fail "nvmet port"
  echo -n "transport=tcp,traddr=127.0.0.1,trsvcid=4420,nqn=$1" >/dev/nvme-fabrics ||
    fail "connect"
  wait_for away_name $1
  wait_for test -b /dev/$(away_name $1)
}
over_tcp() {
  fabrics
  mkdir -p $NVMET/subsystems/plain/namespaces/1
  echo -n /dev/$(nvme_name first 2) >$NVMET/subsystems/plain/namespaces/1/device_path
  echo 1 >$NVMET/subsystems/plain/namespaces/1/enable || fail "nvmet namespace"
  connect plain
  copies_through_memory nvmet-tcp /dev/$(away_name plain)
}

parity() {
  echo "== parity: nvme-copy"
  COFS_PARITY_DEVICE=/dev/$(nvme_name first 3) COFS_PARITY_WAY=nvme-copy \
    /cofs/copy_parity_test || fail "parity"
}

every_command_fails
over_tcp
parity
