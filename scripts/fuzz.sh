#!/usr/bin/env bash
# Builds the fuzz targets with clang and libFuzzer and runs each for a while.
#
#   scripts/fuzz.sh                 a minute each
#   scripts/fuzz.sh 600             ten minutes each
#   scripts/fuzz.sh 600 journal     this one
#   scripts/fuzz.sh images 20000    so many damaged images (tests/image) instead, a seed of
#                                   the day or COFS_SEED
#
# What is found stays in build/fuzz/found; a file of it put into fuzz/corpus/TARGET is a
# regression test from then on.
#
# Exit: 0 nothing was found.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/dependencies.sh fuzz

if [ "${1:-}" = images ]; then
  cmake --preset fuzz >/dev/null
  cmake --build --preset fuzz -j "$(nproc)" --target image_fuzz -- --quiet
  mkdir -p build/fuzz/images
  exec build/fuzz/bin/image_fuzz --seed "${COFS_SEED:-$(date +%Y%m%d)}" \
    --images "${2:-5000}" --keep "$(mktemp -d build/fuzz/images/run-XXXXXX)"
fi

seconds=${1:-60}
targets=(superblock heartbeat records journal envelope allocator_image mount_options ioctls)
[ $# -lt 2 ] || targets=("${@:2}")

cmake --preset fuzz >/dev/null
programs=()
for target in "${targets[@]}"; do programs+=("fuzz_$target"); done
cmake --build --preset fuzz -j "$(nproc)" --target fuzz_replay_test "${programs[@]}" -- --quiet

found=$PWD/build/fuzz/found
mkdir -p "$found"
COFS_FUZZ_WRITE_SEEDS=$PWD/build/fuzz/corpus build/fuzz/bin/fuzz_replay_test >/dev/null
failed=0
for target in "${targets[@]}"; do
  echo "== $target"
  mkdir -p "build/fuzz/corpus/$target" "fuzz/corpus/$target"
  "build/fuzz/bin/fuzz_$target" -max_total_time="$seconds" -max_len=16384 -timeout=20 \
    -print_final_stats=1 -artifact_prefix="$found/$target-" \
    "build/fuzz/corpus/$target" "fuzz/corpus/$target" 2>&1 | tail -n 8 || failed=1
done
exit "$failed"
