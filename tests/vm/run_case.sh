#!/bin/bash
# Runs one case of tests/vm in a virtual machine; see README.md.
#
#   run_case.sh --case NAME --bin DIR --work DIR
#
# Exit: 0 passed, 77 skipped (what is missing is said), else failed.
set -euo pipefail

readonly kStarted=$SECONDS
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
. "$here/machine.sh"

# In functions to the end: what is being run may be edited meanwhile.
main() {
  prepare_run "$name"
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
