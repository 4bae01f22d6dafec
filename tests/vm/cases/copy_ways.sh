# Every way of copying by a drive, on drives, partitions and stacked devices.
#@ timeout 480
#@ modules nvme dm-mod dm-zero loop scsi_debug sd_mod tcm_loop target_core_file crc-t10dif configfs
#@ programs dmsetup addpart
#@ binaries copy_ways_guest_test
#@ disk plain 64M
#@ disk large 64M
#@ disk odd 64M
#@ disk zero 64M
#@ disk guard 64M
#@ disk bad 64M
#@ disk second 64M
#@ qemu -trace pci_nvme_copy -trace pci_nvme_copy_source_range
#@ qemu -device nvme,id=nvme0,serial=first,mdts=7
#@ qemu -drive file=@plain@,format=raw,if=none,id=plain -device nvme-ns,drive=plain,bus=nvme0,nsid=1,logical_block_size=512,physical_block_size=512
#@ qemu -drive file=@large@,format=raw,if=none,id=large -device nvme-ns,drive=large,bus=nvme0,nsid=2,logical_block_size=4096,physical_block_size=4096,mssrl=64,mcl=256,msrc=7
#@ qemu -drive file=@odd@,format=raw,if=none,id=odd -device nvme-ns,drive=odd,bus=nvme0,nsid=3,logical_block_size=512,physical_block_size=512,mssrl=7,mcl=20,msrc=2
#@ qemu -drive file=@zero@,format=raw,if=none,id=zero -device nvme-ns,drive=zero,bus=nvme0,nsid=4,logical_block_size=512,physical_block_size=512,mssrl=0,mcl=0,msrc=0
#@ qemu -drive file=@guard@,format=raw,if=none,id=guard -device nvme-ns,drive=guard,bus=nvme0,nsid=5,logical_block_size=512,physical_block_size=512,ms=16,pif=2
#@ qemu -blockdev driver=file,filename=@bad@,node-name=bad-file -blockdev driver=blkdebug,image=bad-file,node-name=bad-debug,inject-error.0.event=read_aio,inject-error.0.errno=5,inject-error.0.sector=32000,inject-error.1.event=read_aio,inject-error.1.errno=5,inject-error.1.sector=33600,inject-error.1.once=on -blockdev driver=raw,file=bad-debug,node-name=bad -device nvme-ns,drive=bad,bus=nvme0,nsid=6,logical_block_size=4096,physical_block_size=4096
#@ qemu -device nvme,id=nvme1,serial=second,mdts=7
#@ qemu -drive file=@second@,format=raw,if=none,id=second -device nvme-ns,drive=second,bus=nvme1,nsid=11,logical_block_size=512,physical_block_size=512

. /vm/functions.sh
test=/cofs/copy_ways_guest_test
run() { echo "== $*"; $test "$@" || fail "$*"; }

# The bytes [START, START + COUNT) x 4 KiB of a device are all zero.
zeros() {
  [ "$(dd if=$1 bs=4096 skip=$2 count=$3 2>/dev/null | tr -d '\0' | wc -c)" -eq 0 ] ||
    fail "something was written to $1, outside, at block $2"
}

nvme_cases() {
  modprobe nvme || fail "no nvme"
  wait_for nvme_name first 6
  wait_for nvme_name second 11
  local plain=$(nvme_name first 1) second=$(nvme_name second 11)
  for nsid in 1 2 3; do
    local name=$(nvme_name first $nsid)
    run find /dev/$name nvme-copy proved
    run model /dev/$name nvme-copy 20 2000000
    run engine /dev/$name nvme-copy
  done
  run model /dev/$plain nvme-copy-ioctl 12 1000000
  run model /dev/$(nvme_name first 3) nvme-copy-ioctl 8 100000
  run find /dev/$(nvme_name first 4) nvme-copy absent "MSSRL or MCL is zero"
  run engine /dev/$(nvme_name first 4) buffered
  run find /dev/$plain scsi-xcopy absent "not a SCSI device"

  local guard=$(nvme_name first 5)
  if [ -n "$guard" ] && [ "$(cat /sys/block/$guard/size)" -gt 0 ]; then
    run find /dev/$guard nvme-copy proved
    run model /dev/$guard nvme-copy 12 1000000
  else
    echo "== the kernel does not take the namespace with a 64-bit guard"
  fi
  run fault /dev/$(nvme_name first 6) nvme-copy 4000 4200
}

stack_cases() {
  modprobe dm-mod && modprobe dm-zero || fail "no device mapper"
  local plain=$(nvme_name first 1) second=$(nvme_name second 11)
  dd if=/dev/zero of=/dev/$plain bs=1M count=4 2>/dev/null

  # A partition off the drive's 4 KiB grid.
  addpart /dev/$plain 1 2049 8192 || fail "addpart"
  wait_for test -b /dev/${plain}p1
  run find /dev/${plain}p1 nvme-copy proved
  run model /dev/${plain}p1 nvme-copy 20 2000000
  run engine /dev/${plain}p1 nvme-copy
  zeros /dev/$plain 0 256
  zeros /dev/$plain 1281 2000

  # Of two drives; then two pieces of one drive, the second before the first.
  local p=$(number_of $plain) p1=$(number_of ${plain}p1) s=$(number_of $second)
  local both=$(printf "0 4096 linear $p1 64\n4096 4096 linear $s 1000\n" | dm_create both)
  run find $both nvme-copy proved
  run model $both nvme-copy 24 500000
  dmsetup remove both || fail "dmsetup remove"
  local pair=$(printf "0 4096 linear $p 60000\n4096 4096 linear $p 40000\n" |
               dm_create pair)
  run model $pair nvme-copy 20 2000000
  zeros /dev/$plain 5512 1988
  zeros /dev/$plain 8012 1988
  local striped=$(echo "0 8192 striped 2 64 $p 80000 $s 20000" | dm_create striped)
  run find $striped nvme-copy proved
  run model $striped nvme-copy 24 1000000
  local d=$(dm_number striped)
  local over=$(printf "0 2496 linear $d 500\n2496 2496 linear $d 4000\n" | dm_create over)
  run model $over nvme-copy 32 100000

  # What is not understood, and what changes meanwhile.
  local hole=$(printf "0 4096 linear $p 100000\n4096 4096 zero\n" | dm_create hole)
  run find $hole nvme-copy absent 'target "zero"'
  local moving=$(echo "0 8192 linear $p 100000" | dm_create moving)
  cat >/tmp/move <<EOM
dmsetup suspend moving && echo "0 8192 linear $s 60000" | dmsetup load moving &&
  dmsetup resume moving
EOM
  run change $moving nvme-copy "sh /tmp/move >/dev/null"
  modprobe loop && truncate -s 16M /tmp/file && losetup /dev/loop0 /tmp/file ||
    fail "no loop device"
  run find /dev/loop0 nvme-copy absent "use the image file itself"
}

scsi_cases() {
  modprobe sd_mod && modprobe scsi_debug dev_size_mb=16 || fail "no scsi_debug"
  wait_for scsi_name scsi_debug
  local refuses=$(scsi_name scsi_debug)
  wait_for test -b /dev/$refuses
  "$test" find /dev/$refuses scsi-xcopy absent || "$test" find /dev/$refuses scsi-xcopy failed ||
    fail "scsi_debug can't copy"
  run engine /dev/$refuses buffered

  lio_start 64
  run find /dev/$lun scsi-xcopy proved
  run model /dev/$lun scsi-xcopy 16 2000000
  run engine /dev/$lun scsi-xcopy
  local count=$(lio_copy_count)
  echo "== the target carried out $count EXTENDED COPY"
  [ "$count" -gt 20 ] || { head -20 $LIO_TRACE; fail "too few"; }
  addpart /dev/$lun 1 2049 8192 && wait_for test -b /dev/${lun}1
  run model /dev/${lun}1 scsi-xcopy 10 500000

  # Turned off, the target still answers with its limits.
  echo 0 >$LIO/attrib/emulate_3pc
  run find /dev/$lun scsi-xcopy absent 3PC
  run engine /dev/$lun buffered
}

nvme_cases
stack_cases
scsi_cases
