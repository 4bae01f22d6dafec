# The whole file system on SCSI: a target with EXTENDED COPY, the same with it turned off,
# and one that never had it; then every kind of copy on the target.
#@ timeout 900
#@ modules nvme fuse scsi_debug sd_mod tcm_loop target_core_file crc-t10dif configfs
#@ programs cp umount
#@ binaries mkfs.cofs mount.cofs fsck.cofs cofs cofs-reflink.so vm_file copy_parity_test
#@ disk mark 1M
#@ qemu -drive file=@mark@,format=raw,if=none,id=mark -device nvme,serial=mark,drive=mark

. /vm/functions.sh
. /vm/volume.sh
modprobe nvme && modprobe fuse || fail "no modules"
wait_for nvme_name mark 1
MARK_DEVICE=/dev/$(nvme_name mark 1)

on_target() {
  lio_start 112
  : >$LIO_TRACE
  copies_by_device lio /dev/$lun scsi-xcopy $lun
  echo "the target carried out $(lio_copy_count) EXTENDED COPY"
  expect $(lio_copy_count) -gt 0 "EXTENDED COPY"
}

parity() {
  : >$LIO_TRACE
  COFS_PARITY_DEVICE=/dev/$lun COFS_PARITY_WAY=scsi-xcopy /cofs/copy_parity_test || fail "parity"
  echo "the target carried out $(lio_copy_count) EXTENDED COPY"
  expect $(lio_copy_count) -gt 10 "EXTENDED COPY of the table"
}

turned_off() {
  echo 0 >$LIO/attrib/emulate_3pc
  copies_through_memory emulate_3pc=0 /dev/$lun
}

never_had_it() {
  modprobe scsi_debug dev_size_mb=96 || fail "no scsi_debug"
  wait_for scsi_name scsi_debug
  wait_for test -b /dev/$(scsi_name scsi_debug)
  copies_through_memory scsi_debug /dev/$(scsi_name scsi_debug)
}

on_target
parity
turned_off
never_had_it
