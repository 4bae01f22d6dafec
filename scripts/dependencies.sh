#!/usr/bin/env bash
# Installs the Debian packages that cofs needs, or prints the one line that does.
#
#   scripts/dependencies.sh build    what it takes to build and run
#   scripts/dependencies.sh test     and to run the tests
#   scripts/dependencies.sh vm       and those in a virtual machine
#   scripts/dependencies.sh fuzz     build, test, and clang with libFuzzer
#
# Exit: 0 everything is there; 1 something is missing and could not be installed.
set -euo pipefail

build_packages=(
  g++ cmake ninja-build pkg-config
  libfuse3-dev fuse3 liburing-dev libnvme-dev librocksdb-dev libblkid-dev
  libisal-dev libcli11-dev nlohmann-json3-dev libdevmapper-dev libbenchmark-dev libseccomp-dev
)
test_packages=(
  libgtest-dev libgmock-dev attr util-linux e2fsprogs xfsprogs btrfs-progs
  rsync file python3 qemu-utils duperemove
)

fuzz_packages=(clang libclang-rt-14-dev)
vm_packages=(
  qemu-system-x86 busybox-static cpio kmod dmsetup xz-utils nbdkit nbdkit-plugin-dev
)

case "${1:-}" in
  build) wanted=("${build_packages[@]}") ;;
  test) wanted=("${build_packages[@]}" "${test_packages[@]}") ;;
  vm) wanted=("${build_packages[@]}" "${test_packages[@]}" "${vm_packages[@]}") ;;
  fuzz) wanted=("${build_packages[@]}" "${test_packages[@]}" "${fuzz_packages[@]}") ;;
  *)
    echo "usage: $0 build|test|vm|fuzz" >&2
    exit 2
    ;;
esac

missing=()
for package in "${wanted[@]}"; do
  state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$state" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

sudo=()
if [ "$(id -u)" -ne 0 ]; then
  if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    sudo=(sudo -n)
  else
    echo "Missing packages. Run as root, then try again:" >&2
    echo "  apt-get install -y --no-install-recommends ${missing[*]}" >&2
    exit 1
  fi
fi

echo "Installing: ${missing[*]}"
install() {
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get -o DPkg::Lock::Timeout=300 install -y -q --no-install-recommends "${missing[@]}"
}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# The package lists of a fresh machine may be missing or old.
if ! install >"$log" 2>&1; then
  "${sudo[@]}" apt-get -o DPkg::Lock::Timeout=300 update -q >"$log" 2>&1 || {
    tail -n 20 "$log" >&2
    exit 1
  }
  install >"$log" 2>&1 || {
    tail -n 20 "$log" >&2
    exit 1
  }
fi
