#!/usr/bin/env bash
# Runs a command in a virtual machine that sees the host's files, writes to a layer in
# memory above them, and has a drive with Copy: /dev/nvme0n1 and /dev/nvme0n2.
#
#   xfstests-config/guest.sh --build DIR --work DIR [--limit SECONDS] -- COMMAND...
#
# Its output comes in WORK/shared/output, which the guest has as /run/shared, the only
# folder of the host that it can write to. WORK/shared/copy_commands has the number of Copy
# commands that the drive has carried out. Without KVM: what takes a second takes ten.
#
# Exit: the command's, or 1 where the guest did not come to its end; 77 without QEMU.
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
here=$top/tests/vm build="" work="" limit=7200
while [ $# -gt 0 ]; do
  case $1 in
    --build) build=${2:?}; shift ;;
    --work) work=${2:?}; shift ;;
    --limit) limit=${2:?}; shift ;;
    --) shift; break ;;
    *) echo "unknown argument: $1" >&2; exit 2 ;;
  esac
  shift
done
[ -n "$build" ] && [ -n "$work" ] && [ $# -gt 0 ] || { sed -n '2,14s/^# \{0,1\}//p' "$0"; exit 2; }
mkdir -p "$work/bin" "$work/shared"
work=$(cd "$work" && pwd)
cc -O1 -o "$work/bin/vm_exit" "$here/guest/vm_exit.c"
bin=$work/bin
. "$here/machine.sh"

printf '%q ' "$@" >"$work/shared/command"
rm -rf "$work"/shared/{status,output,copy_commands,results}
prepare_run host_root
qemu+=(-m 4096
       -virtfs "local,path=/,mount_tag=host,security_model=passthrough,readonly=on,multidevs=remap"
       -virtfs "local,path=$work/shared,mount_tag=shared,security_model=passthrough")
timeout --kill-after=5 "$limit" "${qemu[@]}" </dev/null || true
grep -c 'pci_nvme_copy ' "$run/trace.log" >"$work/shared/copy_commands" || true
if [ ! -s "$work/shared/status" ]; then
  tail -n 20 "$run/serial.log" >&2
  echo "guest.sh: the guest did not come to its end" >&2
  exit 1
fi
rm -rf "$run"
exit "$(cat "$work/shared/status")"
