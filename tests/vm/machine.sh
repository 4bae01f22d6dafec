# The virtual machine of run_case.sh and power_cuts.sh, which read this file: fetches a
# kernel, builds an initramfs for a case, makes QEMU's command line. README.md tells how.
#
# Before: `here` (this directory), `bin` (the build's programs), `work`; prepare_run NAME.
#
# COFS_VM_CACHE: where the kernel package is kept, unpacked and, if somebody has put it
# there, as a .deb (default: the work directory). COFS_VM_TRACE=1: the console shows each
# command of the case before it is run.
# shellcheck shell=bash disable=SC2154  # the variables above

readonly kSkip=77
readonly kGuestSuccess=42  # what guest/init reports; QEMU makes it (n << 1) | 1

skip() { echo "SKIPPED: $*"; exit $kSkip; }
# The words after "#@ KEY" of the case.
directive() { sed -n "s/^#@ $1 //p" "$script"; }

need() {
  command -v "$1" >/dev/null || skip "$1 is missing: apt-get install $2"
}

# The path of what the build has made.
built() {
  if [ -e "$bin/$1" ]; then echo "$bin/$1"; else echo "$bin/../lib/$1"; fi
}

check_tools() {
  need qemu-system-x86_64 qemu-system-x86
  need cpio cpio
  need depmod kmod
  need xz xz-utils
  need busybox busybox-static
  need dpkg-deb dpkg
  [ "$(uname -m)" = x86_64 ] || skip "the guest is for x86_64"
  local program
  for program in $(directive programs); do
    command -v "$program" >/dev/null || skip "$program is missing"
  done
  for program in $(directive binaries); do
    [ -e "$(built "$program")" ] ||
      { echo "FAILED: $program has not been built"; exit 1; }
    ! ldd "$(built "$program")" 2>/dev/null | grep -qE 'lib(asan|tsan|ubsan)' ||
      skip "a build with sanitizers is too slow for an emulated machine"
  done
}

# The package with the distribution's kernel, into the current directory. Lists of
# packages that are missing or old are fetched again, where that is allowed.
download_kernel() {
  if compgen -G "$cache/${1}_*.deb" >/dev/null; then
    cp "$cache/${1}"_*.deb .
    return
  fi
  apt-get -q download "$1" && return
  [ "$(id -u)" -eq 0 ] && apt-get -q update && apt-get -q download "$1"
}
kernel_package() {
  apt-cache depends linux-image-amd64 2>/dev/null |
    awk '$1 == "Depends:" { print $2; exit }'
}

# The kernel's own image, which QEMU starts by itself: its decompressor takes an emulated
# processor some seconds at every boot. Where that can't be had, vmlinuz does, too.
extract_kernel() {  # ROOT
  local packed at
  packed=$(echo "$1"/boot/vmlinuz-*)
  grep -q '^CONFIG_PVH=y' "$1"/boot/config-* || return 0
  for at in $(LC_ALL=C grep -aboP '\xfd7zXZ\x00' "$packed" | cut -d : -f 1); do
    # What follows is not a part of it: an error at the end.
    tail -c "+$((at + 1))" "$packed" | xz -dc --single-stream >"$1/vmlinux" 2>/dev/null || true
    ! head -c 4 "$1/vmlinux" | LC_ALL=C grep -qaP '^\x7fELF' || return 0
  done
  rm -f "$1/vmlinux"
}

# Sets `kernel` to a directory with the unpacked package.
fetch_kernel() {
  local package lock
  command -v apt-get >/dev/null || skip "no apt-get to fetch a kernel with"
  cache=${COFS_VM_CACHE:-$work}
  mkdir -p "$cache"
  package=$(kernel_package)
  if [ -z "$package" ] && [ "$(id -u)" -eq 0 ]; then
    apt-get -q update >/dev/null 2>&1 || true
    package=$(kernel_package)
  fi
  [ -n "$package" ] || skip "no kernel package is known (apt-get update)"
  kernel=$cache/$package
  # Cases that run at the same time wait for one of them.
  exec {lock}>"$cache/fetch.lock"
  flock "$lock"
  unpack_kernel "$package"
  exec {lock}>&-
}
unpack_kernel() {  # PACKAGE
  local package=$1 unpacked
  [ -e "$kernel/complete-2" ] && return
  unpacked=$(mktemp -d "$cache/fetch.XXXXXX")
  if ! (cd "$unpacked" && download_kernel "$package") >"$unpacked/log" 2>&1; then
    tail -3 "$unpacked/log"
    rm -rf "$unpacked"
    skip "the package $package can't be fetched"
  fi
  dpkg-deb -x "$unpacked"/*.deb "$unpacked/root"
  depmod -b "$unpacked/root" "$(ls "$unpacked/root/lib/modules")"
  extract_kernel "$unpacked/root"
  touch "$unpacked/root/complete-2"
  rm -rf "$kernel"
  mv -T "$unpacked/root" "$kernel"
  rm -rf "$unpacked"
}

copy_with_libraries() {  # FILE TARGET
  cp -L "$1" "$2"
  local library
  for library in $(ldd "$1" 2>/dev/null | grep -o '/[^ )]*'); do
    [ -e "$root$library" ] || install -D "$library" "$root$library"
  done
}

add_modules() {
  local version module
  version=$(ls "$kernel/lib/modules")
  for module in $(directive modules); do
    modprobe -d "$kernel" -S "$version" --show-depends "$module" 2>/dev/null |
      sed -n 's/^insmod \([^ ]*\).*/\1/p' | sed "s|^$kernel||" ||
      { echo "the kernel has no module $module"; exit 1; }
  done | sort -u | while read -r module; do
    install -D "$kernel$module" "$root$module"
  done
  cp "$kernel/lib/modules/$version"/modules.{order,builtin,builtin.modinfo} \
     "$root/lib/modules/$version/" 2>/dev/null || true
  depmod -b "$root" "$version"
}

# $run/initramfs, with all that the case asks for.
build_initramfs() {
  local program
  root=$run/root
  mkdir -p "$root"/{bin,sbin,proc,sys,dev,tmp,run,mnt,etc,cofs,vm}
  chmod 0755 "$root"
  cp "$(command -v busybox)" "$root/bin/busybox"
  for program in $("$root/bin/busybox" --list | grep -vx busybox); do
    ln -s busybox "$root/bin/$program"
  done
  rm -f "$root"/bin/{modprobe,insmod,init}
  copy_with_libraries "$(command -v kmod)" "$root/bin/kmod"
  ln -s /bin/kmod "$root/sbin/modprobe"
  for program in $(directive programs); do
    rm -f "$root/bin/$program"
    copy_with_libraries "$(command -v "$program")" "$root/bin/$program"
  done
  for program in $(directive binaries); do
    copy_with_libraries "$(built "$program")" "$root/cofs/$program"
    strip -g "$root/cofs/$program" 2>/dev/null || true
  done
  cp "$bin/vm_exit" "$root/bin/vm_exit"
  add_modules

  cp "$here/guest/init" "$root/init"
  cp "$here"/guest/*.sh "$script" "$root/vm/"
  chmod 0755 "$root/init"
  basename "$script" .sh >"$root/vm/case"
  (cd "$root" && find . | cpio --quiet -o -H newc -R 0:0) >"$run/initramfs"
}

# Disks, and the arguments of QEMU in the array `qemu`.
#
# One processor: two emulated ones take longer for the same work than one, and the host
# runs two guests at a time. Without erms: "rep movsb" is emulated byte by byte. On a busy
# host ticks come late: no_timer_check, or the kernel takes its timer for broken.
prepare_qemu() {
  local line disk size edit='' image=$kernel/vmlinux
  [ -e "$image" ] || image=$(echo "$kernel"/boot/vmlinuz-*)
  while read -r disk size; do
    truncate -s "$size" "$run/$disk.disk"
    edit="$edit;s|@$disk@|$run/$disk.disk|g"
  done < <(directive disk)
  qemu=(qemu-system-x86_64 -M q35 -accel tcg,thread=single -cpu max,-erms,-fsrm -m 768 -smp 1
        -display none -no-reboot -nic none -monitor none -serial "file:$run/serial.log"
        -kernel "$image" -initrd "$run/initramfs"
        -append "console=ttyS0 quiet panic=-1 oops=panic loglevel=4 no_timer_check
                 ${COFS_VM_TRACE:+vm.trace} $(directive append)"
        -device isa-debug-exit,iobase=0x501,iosize=1 -D "$run/trace.log")
  while read -r line; do
    # shellcheck disable=SC2206
    qemu+=(${line})
  done < <(directive qemu | sed "$edit;s|@run@|$run|g")
}

# An empty directory `run`, and in it what the case needs.
prepare_run() {  # CASE
  script=$here/cases/$1.sh
  mkdir -p "$work"
  work=$(cd "$work" && pwd)
  check_tools
  fetch_kernel
  run=$work/$1
  rm -rf "$run"
  mkdir -p "$run"
  build_initramfs
  prepare_qemu
}
