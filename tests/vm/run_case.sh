#!/bin/bash
# Runs one case of tests/vm in a virtual machine; see README.md.
#
#   run_case.sh --case NAME --bin DIR --work DIR
#
# COFS_VM_CACHE: where the kernel package is kept, unpacked and, if somebody has put it
# there, as a .deb (default: the work directory).
set -euo pipefail

readonly kSkip=77
readonly kStarted=$SECONDS
readonly kGuestSuccess=42  # what guest/init reports; QEMU makes it (n << 1) | 1

here=$(cd "$(dirname "$0")" && pwd)
name='' bin='' work=''
while [ $# -gt 0 ]; do
  case $1 in
    --case) name=$2 ;;
    --bin) bin=$2 ;;
    --work) work=$2 ;;
    *) echo "unknown argument: $1" >&2; exit 2 ;;
  esac
  shift 2
done
[ -n "$name" ] && [ -n "$bin" ] && [ -n "$work" ] || { echo "usage: see $0" >&2; exit 2; }
script=$here/cases/$name.sh
mkdir -p "$work"
work=$(cd "$work" && pwd)
cache=${COFS_VM_CACHE:-$work}
mkdir -p "$cache"

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

# Sets `kernel` to a directory with the unpacked package.
fetch_kernel() {
  local package unpacked
  command -v apt-get >/dev/null || skip "no apt-get to fetch a kernel with"
  package=$(kernel_package)
  if [ -z "$package" ] && [ "$(id -u)" -eq 0 ]; then
    apt-get -q update >/dev/null 2>&1 || true
    package=$(kernel_package)
  fi
  [ -n "$package" ] || skip "no kernel package is known (apt-get update)"
  kernel=$cache/$package
  [ -e "$kernel/complete" ] && return
  unpacked=$(mktemp -d "$cache/fetch.XXXXXX")
  if ! (cd "$unpacked" && download_kernel "$package") >"$unpacked/log" 2>&1; then
    tail -3 "$unpacked/log"
    rm -rf "$unpacked"
    skip "the package $package can't be fetched"
  fi
  dpkg-deb -x "$unpacked"/*.deb "$unpacked/root"
  depmod -b "$unpacked/root" "$(ls "$unpacked/root/lib/modules")"
  touch "$unpacked/root/complete"
  # Another run may have been faster.
  mv -T "$unpacked/root" "$kernel" 2>/dev/null || true
  rm -rf "$unpacked"
}

copy_with_libraries() {  # FILE TARGET
  cp -L "$1" "$2"
  local library
  for library in $(ldd "$1" 2>/dev/null | grep -o '/[^ )]*'); do
    [ -e "$root$library" ] || install -D "$library" "$root$library"
  done
}

build_initramfs() {
  local version program module
  version=$(ls "$kernel/lib/modules")
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

  cp "$here/guest/init" "$root/init"
  cp "$here"/guest/*.sh "$script" "$root/vm/"
  chmod 0755 "$root/init"
  echo "$name" >"$root/vm/case"
  (cd "$root" && find . | cpio --quiet -o -H newc -R 0:0) >"$run/initramfs"
}

# Disks, and the arguments of QEMU in the array `qemu`.
prepare_qemu() {
  local line disk size edit=''
  while read -r disk size; do
    truncate -s "$size" "$run/$disk.disk"
    edit="$edit;s|@$disk@|$run/$disk.disk|g"
  done < <(directive disk)
  qemu=(qemu-system-x86_64 -M q35 -accel tcg -cpu max -m 768 -smp 2 -display none
        -no-reboot -nic none -monitor none -serial "file:$run/serial.log"
        -kernel "$(echo "$kernel"/boot/vmlinuz-*)" -initrd "$run/initramfs"
        -append "console=ttyS0 quiet panic=-1 oops=panic loglevel=4 $(directive append)"
        -device isa-debug-exit,iobase=0x501,iosize=1 -D "$run/trace.log")
  while read -r line; do
    # shellcheck disable=SC2206
    qemu+=(${line})
  done < <(directive qemu | sed "$edit")
}

# In functions to the end: what is being run may be edited meanwhile.
main() {
  check_tools
  fetch_kernel
  run=$work/$name
  rm -rf "$run"
  mkdir -p "$run"
  build_initramfs
  prepare_qemu

  limit=$(directive timeout)
  status=0
  timeout --kill-after=5 "${limit:-300}" "${qemu[@]}" </dev/null || status=$?
  sed 's/\r$//' "$run/serial.log" >"$run/serial.txt"
  cat "$run/serial.txt"
  if [ $status -ne $((kGuestSuccess * 2 + 1)) ]; then
    case $status in
      124|137) echo "FAILED: the guest took longer than ${limit:-300} s" ;;
      0) echo "FAILED: the guest went down without a verdict" ;;
      *) echo "FAILED: the guest's verdict (QEMU: $status)" ;;
    esac
    exit 1
  fi
  if [ -e "$here/cases/$name.check" ]; then
    SERIAL_LOG=$run/serial.txt TRACE_LOG=$run/trace.log bash "$here/cases/$name.check" ||
      { echo "FAILED: the evidence on the host"; exit 1; }
  fi
  rm -rf "$run/root" "$run/initramfs" "$run"/*.disk
  echo "PASSED in $((SECONDS - kStarted)) s"
}
main; exit
