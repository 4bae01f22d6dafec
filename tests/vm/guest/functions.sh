# For the cases, in the guest.

fail() { echo "FAIL: $*"; exit 1; }

# Waits for a condition given as a command, up to ten seconds.
wait_for() {
  local tries=0
  until "$@" >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ $tries -gt 100 ] && fail "waited in vain for: $*"
    sleep 0.1
  done
}

# The name of a namespace: nvme_name SERIAL NSID.
nvme_name() {
  local each
  for each in /sys/block/nvme*n*; do
    [ "$(cat $each/nsid)" = "$2" ] || continue
    [ "$(cat $each/device/serial | tr -d ' ')" = "$1" ] || continue
    basename $each
    return 0
  done
  return 1
}

# The name of the disk of a SCSI host driver: scsi_name PROC_NAME.
scsi_name() {
  local each host
  for each in /sys/block/sd*; do
    host=$(readlink -f $each/device | sed 's|.*/\(host[0-9]*\)/.*|\1|')
    [ "$(cat /sys/class/scsi_host/$host/proc_name)" = "$1" ] || continue
    basename $each
    return 0
  done
  return 1
}

# MAJOR:MINOR of a device by name.
number_of() { cat /sys/class/block/$1/dev; }

# Makes a device-mapper device from the table on standard input; prints its path.
dm_create() {
  dmsetup create "$1" >/dev/null || fail "dmsetup create $1"
  echo /dev/mapper/$1
}

# MAJOR:MINOR of a device-mapper device.
dm_number() { dmsetup info -c --noheadings --separator : -o major,minor "$1"; }

# ---- the kernel's own SCSI target, behind a local SCSI host ----
LIO=/sys/kernel/config/target/core/fileio_0/disk
LIO_TRACE=/sys/kernel/tracing/trace

# A disk over a file in memory; its name is in `lun` afterwards.
lio_start() {  # MEBIBYTES
  modprobe sd_mod && modprobe configfs && modprobe target_core_file &&
    modprobe tcm_loop || fail "no target"
  mount -t configfs none /sys/kernel/config || fail "configfs"
  local port=/sys/kernel/config/target/loopback/naa.60014055c0f50001/tpgt_1
  mkdir -p $LIO
  truncate -s $1M /tmp/lun
  echo "fd_dev_name=/tmp/lun,fd_dev_size=$(($1 * 1048576))" >$LIO/control
  echo "5c0f50001" >$LIO/wwn/vpd_unit_serial
  echo 1 >$LIO/enable
  mkdir -p $port/lun/lun_0
  echo naa.60014055c0f50002 >$port/nexus
  ln -s $LIO $port/lun/lun_0/disk
  wait_for scsi_name tcm_loopback
  lun=$(scsi_name tcm_loopback)
  wait_for test -b /dev/$lun
  # The target tells what it was asked to do.
  mount -t tracefs none /sys/kernel/tracing
  echo 1 >/sys/kernel/tracing/events/target/target_cmd_complete/enable
}
# How many EXTENDED COPY it has carried out.
lio_copy_count() { grep -c "status GOOD.* CDB 83 00 " $LIO_TRACE; }
