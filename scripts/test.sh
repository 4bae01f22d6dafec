#!/usr/bin/env bash
# Installs what is missing, builds cofs and runs its tests.
#
#   scripts/test.sh                 dev, asan and tsan, without the long tests
#   scripts/test.sh --full          the long tests too
#   scripts/test.sh --no-vm         without the virtual machines
#   scripts/test.sh dev asan        these presets: dev asan tsan clang
#   scripts/test.sh dev -R store    further arguments go to ctest
#
# asan is AddressSanitizer with UndefinedBehaviorSanitizer, tsan ThreadSanitizer. Long
# tests carry the ctest label "long". Those in a virtual machine, label "vm", run with
# the dev preset only: under emulation a sanitized build takes too long.
#
# Exit: 0 everything passed.
set -euo pipefail
cd "$(dirname "$0")/.."

presets=()
left_out=long
vm=1
while [ $# -gt 0 ]; do
  case "$1" in
    dev | asan | tsan | clang) presets+=("$1") ;;
    --full) left_out="" ;;
    --no-vm) vm=0 ;;
    -h | --help)
      sed -n '2,15s/^# \{0,1\}//p' "$0"
      exit 0
      ;;
    *) break ;;
  esac
  shift
done
[ ${#presets[@]} -gt 0 ] || presets=(dev asan tsan)

[[ " ${presets[*]} " == *" dev "* ]] || vm=0
if [ "$vm" -eq 1 ]; then scripts/dependencies.sh vm; else scripts/dependencies.sh test; fi

jobs=$(nproc)
failed=0
# RocksDB's library is not instrumented: what is known of it stands, each with its
# reason, in the suppression files.
suppressions=$PWD/tests/sanitizers
export ASAN_OPTIONS=detect_stack_use_after_return=0:strict_init_order=1:abort_on_error=0
export UBSAN_OPTIONS=print_stacktrace=1
export LSAN_OPTIONS=suppressions=$suppressions/lsan.supp:print_suppressions=0
export TSAN_OPTIONS=suppressions=$suppressions/tsan.supp:second_deadlock_stack=1

for preset in "${presets[@]}"; do
  started=$SECONDS
  mkdir -p build
  cmake --preset "$preset" >"build/$preset-configure.log" 2>&1 || {
    cat "build/$preset-configure.log" >&2
    exit 1
  }
  cmake --build --preset "$preset" -j "$jobs" -- --quiet
  built=$SECONDS
  echo "== $preset: built in $((built - started)) s"
  labels=$left_out
  if [ "$preset" != dev ] || [ "$vm" -eq 0 ]; then labels=${labels:+$labels|}vm; fi
  ctest --test-dir "build/$preset" --output-on-failure -j "$jobs" ${labels:+-LE "$labels"} "$@" ||
    failed=1
  echo "== $preset: tested in $((SECONDS - built)) s"
done

[ "$failed" -eq 0 ] || echo "== some tests failed, see above" >&2
exit "$failed"
