# The guest of power_cuts.sh: mounts the volume and works on it until the power fails.
#@ timeout 120
#@ append power.words
#@ modules nvme fuse
#@ binaries mount.cofs power_load
#@ qemu -trace pci_nvme_copy -trace pci_nvme_flush_ns
#@ qemu -device nvme,id=nvme0,serial=first,mdts=7
#@ qemu -drive file=nbd:unix:@run@/disk.socket,format=raw,if=none,cache=writeback,id=disk
#@ qemu -device nvme-ns,drive=disk,bus=nvme0,nsid=1,logical_block_size=4096,physical_block_size=4096,mssrl=64,mcl=256,msrc=7
#@ qemu -device isa-debugcon,iobase=0xe9,chardev=acknowledged -chardev file,id=acknowledged,path=@run@/acknowledged.log

. /vm/functions.sh
# The value of a word of the kernel's command line.
from_host() { sed -n "s/.*$1=\([^ ]*\).*/\1/p" /proc/cmdline; }

modprobe nvme && modprobe fuse || fail "no modules"
wait_for nvme_name first 1
drive=/dev/$(nvme_name first 1)
echo "mounting $drive"
# Without a heartbeat: the next guest would wait for it, and be cut in that.
/cofs/mount.cofs $drive /mnt -o "log=/dev/console,nommp,$(from_host power.options)" || fail "mount.cofs"
/cofs/power_load run /mnt "$(from_host power.seed)" port:0xe9
fail "the workload ended"
