# The guest of xfstests-config/guest.sh: the host's files beneath a layer in memory, and a
# drive with Copy. Runs the command that lies in the shared folder.
#@ modules nvme fuse loop xfs 9p 9pnet_virtio virtio_pci overlay
#@ programs umount
#@ disk first 12G
#@ disk second 12G
#@ qemu -trace pci_nvme_copy -trace pci_nvme_copy_source_range
#@ qemu -device nvme,id=nvme0,serial=first,mdts=7
#@ qemu -drive file=@first@,format=raw,if=none,id=first,cache=unsafe -device nvme-ns,drive=first,bus=nvme0,nsid=1,logical_block_size=512,physical_block_size=512
#@ qemu -drive file=@second@,format=raw,if=none,id=second,cache=unsafe -device nvme-ns,drive=second,bus=nvme0,nsid=2,logical_block_size=512,physical_block_size=512

. /vm/functions.sh
for module in virtio_pci 9pnet_virtio 9p overlay nvme fuse loop xfs; do
  modprobe $module || fail "no module $module"
done
wait_for nvme_name first 2

mkdir /lower /layer /new
mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=262144,cache=loose host /lower ||
  fail "the host's files"
mount -t tmpfs -o size=70% tmpfs /layer
mkdir /layer/upper /layer/work
mount -t overlay -o lowerdir=/lower,upperdir=/layer/upper,workdir=/layer/work overlay /new ||
  fail "overlay"
mount --rbind /dev /new/dev
mount -t tmpfs tmpfs /new/run
for each in proc sys; do mount --rbind /$each /new/$each; done
shared=/new/run/shared
mkdir $shared
mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 shared $shared || fail "the shared folder"
# ldconfig's cache and the rest of /etc are the host's.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
  chroot /new /bin/bash /run/shared/command >$shared/output 2>&1
echo $? >$shared/status
sync
