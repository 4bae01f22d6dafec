# The whole file system on drives that copy: namespaces, partitions, stacked devices.
#@ timeout 900
#@ modules nvme dm-mod fuse
#@ programs cp dmsetup addpart umount
#@ binaries mkfs.cofs mount.cofs fsck.cofs cofs cofs-reflink.so vm_file
#@ disk plain 320M
#@ disk large 96M
#@ disk odd 96M
#@ disk second 160M
#@ disk mark 1M
#@ qemu -trace pci_nvme_copy -trace pci_nvme_copy_source_range -trace pci_nvme_read -trace pci_nvme_write
#@ qemu -device nvme,id=nvme0,serial=first,mdts=7
#@ qemu -drive file=@plain@,format=raw,if=none,id=plain -device nvme-ns,drive=plain,bus=nvme0,nsid=1,logical_block_size=512,physical_block_size=512
#@ qemu -drive file=@large@,format=raw,if=none,id=large -device nvme-ns,drive=large,bus=nvme0,nsid=2,logical_block_size=4096,physical_block_size=4096,mssrl=64,mcl=256,msrc=7
#@ qemu -drive file=@odd@,format=raw,if=none,id=odd -device nvme-ns,drive=odd,bus=nvme0,nsid=3,logical_block_size=512,physical_block_size=512,mssrl=37,mcl=90,msrc=2
#@ qemu -device nvme,id=nvme1,serial=second,mdts=7
#@ qemu -drive file=@second@,format=raw,if=none,id=second -device nvme-ns,drive=second,bus=nvme1,nsid=11,logical_block_size=512,physical_block_size=512
#@ qemu -drive file=@mark@,format=raw,if=none,id=mark -device nvme-ns,drive=mark,bus=nvme1,nsid=15,logical_block_size=512,physical_block_size=512

. /vm/functions.sh
. /vm/volume.sh
modprobe nvme && modprobe dm-mod && modprobe fuse || fail "no modules"
wait_for nvme_name first 3
wait_for nvme_name second 15
plain=$(nvme_name first 1)
second=$(nvme_name second 11)
MARK_DEVICE=/dev/$(nvme_name second 15)

namespaces() {
  copies_by_device 512 /dev/$plain nvme-copy $plain
  copies_by_device 4096 /dev/$(nvme_name first 2) nvme-copy $(nvme_name first 2)
  copies_by_device odd /dev/$(nvme_name first 3) nvme-copy $(nvme_name first 3)
}

stacks() {
  local p=$(number_of $plain) s=$(number_of $second)
  dd if=/dev/zero of=/dev/$plain bs=1M count=4 2>/dev/null
  # A partition off the drive's 4 KiB grid.
  addpart /dev/$plain 1 2049 163840 || fail "addpart"
  wait_for test -b /dev/${plain}p1
  copies_by_device partition /dev/${plain}p1 nvme-copy $plain
  # Two pieces, the second before the first.
  local pair=$(printf "0 81920 linear $p 400000\n81920 81920 linear $p 200000\n" |
               dm_create pair)
  copies_by_device linear $pair nvme-copy $plain
  dmsetup remove pair || fail "dmsetup remove"
  local striped=$(echo "0 245760 striped 2 1024 $p 400000 $s 20000" | dm_create striped)
  stripes "striped" $striped
  local d=$(dm_number striped)
  local over=$(printf "0 102400 linear $d 8000\n102400 102400 linear $d 124000\n" |
               dm_create over)
  stripes "linear-on-striped" $over
}

# Source and destination can be on different drives: then there is nothing that a drive
# could do. Pieces inside of one chunk are done by a drive or refused, in either case
# known; what is left goes through memory.
kPiece=65536
kPieces=32
stripes() {  # TITLE DEVICE
  echo "== $1: nvme-copy on $2"
  format $2
  mount_volume $2 verify_copy=off,copy=device
  make_sources
  mark "begin $1"
  local i=0 by_drives=0 refused=0 copied
  while [ $i -lt $kPieces ]; do
    copied=$($file copy $V/source $((i * kPiece)) $V/by-call $((i * kPiece)) $kPiece)
    case $copied in
      $kPiece) by_drives=$((by_drives + 1)) ;;
      "0 EREMOTEIO") refused=$((refused + 1)) ;;
      *) fail "$1: copy_file_range: $copied" ;;
    esac
    i=$((i + 1))
  done
  mark "end $1"
  expect $by_drives -gt 0 "$1: pieces copied by drives, $refused refused"
  expect $(way_figure nvme-copy bytes) -ge $((by_drives * kPiece)) "$1: bytes by drives"
  echo "COPIED $1 way=nvme-copy bytes=$((by_drives * kPiece)) refused=$refused"
  unmount_and_check $2
  mount_volume $2 verify_copy=off
  copy_all
  expect $(way_figure buffered bytes) -gt 0 "$1: bytes through memory"
  check_copies by-cp by-call
  unmount_and_check $2
  mount_volume $2
  check_copies by-cp by-call
  unmount_and_check $2
}

namespaces
stacks
