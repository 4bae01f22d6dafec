# Volumes of cofs, in the guest: made, mounted at /mnt/v, used and checked.
# The cases read functions.sh first.

V=/mnt/v
file=/cofs/vm_file
MIB=1048576

# ---- one volume ----
format() {  # DEVICE
  /cofs/mkfs.cofs -f $1 >/tmp/mkfs.log 2>&1 || { cat /tmp/mkfs.log; fail "mkfs.cofs $1"; }
}
mount_volume() {  # DEVICE OPTIONS
  mkdir -p $V
  : >/tmp/mount.log
  /cofs/mount.cofs $1 $V -o log=/tmp/mount.log,commit=300${2:+,$2} ||
    { cat /tmp/mount.log; fail "mount.cofs $1 $2"; }
}
# Unmounts, and checks every record and all data.
unmount_and_check() {  # DEVICE
  /bin/umount $V || fail "umount"
  /cofs/fsck.cofs -n --data $1 >/tmp/fsck.log 2>&1 ||
    { cat /tmp/fsck.log /tmp/mount.log; fail "fsck.cofs $1"; }
}
# A figure of the mounted volume: bytes | commands of a way, or fallbacks.
way_figure() {  # WAY bytes|commands
  /cofs/cofs stat --json $V | tr -d ' \n' |
    sed -n "s/.*{\"way\":\"$1\",\"bytes\":\([0-9]*\),\"commands\":\([0-9]*\)[,}].*/\1 \2/p" |
    if [ $2 = bytes ]; then cut -d ' ' -f 1; else cut -d ' ' -f 2; fi
}
fallback_count() {
  /cofs/cofs stat --json $V | tr -d ' \n' | sed -n 's/.*"fallbacks":\([0-9]*\).*/\1/p'
}
expect() {  # A OPERATOR B WHAT...
  local a=$1 operator=$2 b=$3
  shift 3
  [ "$a" $operator "$b" ] || { cat /tmp/mount.log; fail "$*: $a, expected $operator $b"; }
}
same() { cmp "$1" "$2" || fail "$1 and $2 differ"; }

# Bytes that the kernel has read from disks, by their names.
read_bytes() {
  local each sectors=0
  for each in "$@"; do
    set -- $(cat /sys/block/$each/stat)
    sectors=$((sectors + $3))
  done
  echo $((sectors * 512))
}

# Tells the host's look at QEMU's trace (*.check) where in it we are: /vm/marks lists the
# numbers. MARK_DEVICE is a drive for nothing else.
mark_number=0
mark() {  # TEXT...
  mark_number=$((mark_number + 1))
  $file mark $MARK_DEVICE $mark_number || fail "mark"
  echo "MARK $mark_number $*"
}

# ---- what every volume goes through ----
kSourceBytes=$((4 * MIB + 1234))
kFragments=24

make_sources() {
  $file write $V/source 0 $kSourceBytes 1 || fail "write"
  # Fragments with holes between: one command can take many.
  $file scatter $V/fragments $kFragments 65536 20480 2 || fail "write"
}
check_copies() {  # NAME...
  local name
  $file check $V/source 0 $kSourceBytes 1 || fail "the source"
  for name in "$@"; do
    $file size $V/$name $kSourceBytes && $file check $V/$name 0 $kSourceBytes 1 ||
      fail "$name"
  done
  $file gathered $V/fragments $kFragments 65536 20480 2 || fail "fragments"
  same $V/fragments $V/fragments-copied
}
copy_all() {
  /bin/cp --reflink=auto $V/source $V/by-cp || fail "cp"
  # cp reads and writes files with holes.
  local copied=$($file copy $V/source 0 $V/by-call 0 100000000)
  expect "$copied" = $kSourceBytes "copy_file_range"
  copied=$($file copy $V/fragments 0 $V/fragments-copied 0 100000000)
  expect "$copied" = $(((kFragments - 1) * 65536 + 20480)) "copy_file_range of fragments"
}
kCopiedBytes=$((2 * kSourceBytes + kFragments * 20480))

# Runs COMMAND, whose bytes go by WAY, at least BYTES of them, and of which nothing but
# metadata comes to the host. `copied_from` lists the drives below.
by_device_only() {  # TITLE WAY BYTES COMMAND...
  local title=$1 way=$2 least=$3
  shift 3
  local before=$(read_bytes $copied_from) bytes=$(way_figure $way bytes)
  local commands=$(way_figure $way commands)
  mark "begin $title"
  "$@"
  mark "end $title"
  bytes=$(($(way_figure $way bytes) - bytes))
  commands=$(($(way_figure $way commands) - commands))
  local read=$(($(read_bytes $copied_from) - before))
  echo "COPIED $title way=$way bytes=$bytes commands=$commands host_read=$read"
  expect $bytes -ge $least "$title: bytes by $way"
  expect $commands -gt 0 "$title: commands"
  expect $read -le $((256 * 1024)) "$title: bytes read by the host"
}

# Copies by cp and by a plain program, and clones where they are asked to be copies, go by
# WAY; the volume is sound and complete, now and after the next mount.
copies_by_device() {  # TITLE DEVICE WAY DISK...
  local title=$1 device=$2 way=$3
  shift 3
  copied_from="$*"
  echo "== $title: $way on $device"
  format $device
  mount_volume $device copy=device,verify_copy=off
  make_sources
  by_device_only $title $way $kCopiedBytes copy_all
  check_copies by-cp by-call
  reflinks_by_device $way
  unmount_and_check $device
  mount_volume $device clone=device,verify_copy=off
  check_copies by-cp by-call by-reflink
  by_device_only clone-$title $way $((2 * kSourceBytes)) clone_all
  check_copies by-clone by-program
  unmount_and_check $device
}
# By the preload library and by the program, on a mount with clone=device.
clone_all() {
  LD_PRELOAD=/cofs/cofs-reflink.so /bin/cp --reflink=always $V/source $V/by-clone ||
    fail "cp --reflink=always with clone=device"
  /cofs/cofs clone $V/source $V/by-program || fail "cofs clone with clone=device"
}
# The preload library, and clones that the device makes.
reflinks_by_device() {  # WAY
  local before=$(way_figure $1 bytes)
  LD_PRELOAD=/cofs/cofs-reflink.so /bin/cp --reflink=always $V/source $V/by-reflink ||
    fail "cp --reflink=always"
  check_copies by-reflink
  /cofs/cofs set $V clone=device || fail "cofs set"
  LD_PRELOAD=/cofs/cofs-reflink.so /bin/cp --reflink=always $V/source $V/by-reflink ||
    fail "cp --reflink=always by the device"
  check_copies by-reflink
  expect $(($(way_figure $1 bytes) - before)) -ge $kSourceBytes "clones by the device"
  echo "CLONED by-reflink"
}

# The same copies where the device can't: through memory, without a word of it to cp.
copies_through_memory() {  # TITLE DEVICE
  echo "== $1: $2 without copies by the device"
  format $2
  mount_volume $2
  make_sources
  copy_all
  expect $(way_figure buffered bytes) -ge $kCopiedBytes "$1: bytes through memory"
  for way in nvme-copy scsi-xcopy host-file device; do
    expect $(way_figure $way bytes) -eq 0 "$1: bytes by $way"
  done
  check_copies by-cp by-call
  unmount_and_check $2
  mount_volume $2 copy=device
  # Not EOPNOTSUPP: the kernel would copy by itself then.
  local refused=$($file copy $V/source 0 $V/refused 0 $MIB)
  expect "$refused" = "0 EREMOTEIO" "$1: a copy that must be the device's"
  check_copies by-cp by-call
  rm $V/refused
  unmount_and_check $2
  echo "FELL BACK $1"
}
