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
