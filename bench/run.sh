#!/usr/bin/env bash
# Compares cofs with what could be used instead of it, and with the limit of FUSE.
#
#   bench/run.sh [--build DIR] [--peers LIST] [--workloads LIST] [--rounds N] [--quick]
#                [--scaling] [--out DIR] [--list]
#
# Every group of workloads gets a fresh volume on a loop device over an image in memory
# (/dev/shm). Rounds and file systems are interleaved, and what is shown are medians.
# Needs root, fio, python3 and 8 GiB of free memory. Drops the kernel's caches often.
#
#   --build DIR       the build to measure (default: build/release, else the newest)
#   --peers LIST      of xfs,btrfs,ext4,fuse2fs,mergerfs,null,cofs (default: all that are
#                     installed); null keeps nothing and answers from memory
#   --workloads LIST  metrics or groups, by name (default: all but scaling)
#   --rounds N        default 5; with --quick 1
#   --quick           small sizes: shows that everything works, measures little
#   --scaling         how times grow with files, sizes, extents and copies at once,
#                     instead of the rest; takes long
#   --out DIR         table.md, results.json, picture.svg and log.txt (default: build/bench)
#   --list            prints the names of groups and metrics, and ends
#
# A workload that fails on one file system is "failed" in the table, with its reason in
# results.json and log.txt. Exit: 0; 1 something failed; 2 usage; 130 interrupted.
set -euo pipefail
export LC_ALL=C
here=$(dirname "$(realpath "$0")")
cd "$here/.."
# shellcheck source=bench/file_systems.sh
. bench/file_systems.sh
# shellcheck source=bench/workloads.sh
. bench/workloads.sh

step_seconds_max=900 quick_step_seconds_max=180 scaling_step_seconds_max=7200
# Where directories are searched from end to end, 100,000 names are made in half an hour.
readdir_seconds_max=300
# What took longer is not repeated: it would be most of the run, for one number.
repeated_step_seconds_max=240

die() { echo "run.sh: $*" >&2; exit 1; }
usage() { sed -n '2,26{/^set/d;s/^# \{0,1\}//p}' "$0" >&2; exit 2; }

# Columns of metrics.txt: list_metrics all|plain|scaling -> "metric group".
list_metrics() {
  awk -v which="$1" '
    /^\[/ { scaling = /^\[Scaling/ }
    /^[a-z]/ && (which == "all" || (which == "scaling") == scaling) { print $1, $2 }
  ' bench/metrics.txt
}

build="" peers="" workloads="" rounds="" size=full which=plain out=""
while [ $# -gt 0 ]; do
  case "$1" in
    --build | --peers | --workloads | --rounds | --out)
      [ $# -ge 2 ] || usage
      declare "${1#--}=$2"
      shift 2
      ;;
    --quick) size=quick; shift ;;
    --scaling) which=scaling; shift ;;
    --list) list_metrics all | awk '{ print $2 "\t" $1 }'; exit ;;
    *) usage ;;
  esac
done
[ -n "$rounds" ] || { [ "$size" = quick ] && rounds=1 || rounds=5; }
[[ $rounds =~ ^[1-9][0-9]*$ ]] || usage

[ "$(id -u)" -eq 0 ] || die "mounting needs root"
for tool in fio python3 losetup; do
  command -v "$tool" >/dev/null || die "$tool is missing: apt-get install fio python3 util-linux"
done
if [ -z "$build" ]; then
  build=build/release
  if [ ! -x "$build/bin/mount.cofs" ]; then
    # shellcheck disable=SC2012  # by time
    build=$(dirname "$(dirname "$(ls -t build/*/bin/mount.cofs 2>/dev/null | head -n 1)")")
  fi
fi
bin=$(realpath -m "$build/bin")
for program in mount.cofs mkfs.cofs cofs null_fuse names_bench; do
  [ -x "$bin/$program" ] || die "no $program in $build/bin: build cofs, or give --build DIR"
done
out=$(realpath -m "${out:-build/bench}")
mkdir -p "$out"
: >"$out/log.txt"
say() { echo "$*" | tee -a "$out/log.txt" >&2; }

# --- What is to be done -------------------------------------------------------------------

kinds=()
for kind in $(tr , ' ' <<<"${peers:-${all_kinds[*]}}"); do
  [[ " ${all_kinds[*]} " == *" $kind "* ]] || die "no such file system: $kind"
  reason=$(missing_for "$kind")
  if [ -n "$reason" ]; then say "$kind is left out: $reason"; else kinds+=("$kind"); fi
done
[ ${#kinds[@]} -gt 0 ] || die "no file system is left"

metrics="" groups=()
take() {
  metrics+=" $1"
  [[ " ${groups[*]} " == *" $2 "* ]] || groups+=("$2")
}
if [ -z "$workloads" ]; then
  while read -r metric group; do take "$metric" "$group"; done < <(list_metrics "$which")
else
  for name in ${workloads//,/ }; do
    before=$metrics
    while read -r metric group; do
      if [ "$name" = "$metric" ] || [ "$name" = "$group" ]; then take "$metric" "$group"; fi
    done < <(list_metrics all)
    [ "$metrics" != "$before" ] || die "no such workload: $name (--list prints all)"
  done
fi
metrics+=" "

use_sizes "$size"
need_mib=$([ "$size" = quick ] && echo 3072 || echo 8192)
available_mib=$(awk '/^MemAvailable/ { print int($2 / 1024) }' /proc/meminfo)
[ "$available_mib" -ge "$need_mib" ] ||
  die "$need_mib MiB of free memory are needed, $available_mib are there"

# --- Work, and its end ----------------------------------------------------------------------

work=$(mktemp -d /dev/shm/cofs-bench-XXXXXX)
# shellcheck disable=SC2034  # mnt and below are used by file_systems.sh
mnt=$work/mnt below=$work/below results=$work/results step=""
mkdir "$work/mnt" "$work/below" "$work/sources"
: >"$results"

# shellcheck disable=SC2317  # called by the trap
finish() {
  trap '' INT TERM
  if [ -n "$step" ]; then
    kill -TERM "$step" 2>/dev/null || true
    wait "$step" 2>/dev/null || true
  fi
  tear_down || true
  rm -rf --one-file-system "$work"
}
trap finish EXIT
trap 'say "interrupted"; exit 130' INT TERM

# Seconds that steps took, by "group kind"; and of all first ones, with what was guessed.
declare -A took=()
seconds_taken=0 seconds_guessed=0
is_too_slow() {
  [[ $1 != scale-* && ${took[$1 $2]:-0} -gt $repeated_step_seconds_max ]]
}
# guess GROUP KIND: sets guessed to what it took, or to what is likely.
guess() {
  local group=$1 kind=$2 tenths=10
  guessed=${took[$group $kind]:-}
  if [ -n "$guessed" ]; then
    ! is_too_slow "$group" "$kind" || guessed=0
    return
  fi
  case "$kind" in cofs | null) tenths=15 ;; mergerfs) tenths=20 ;; fuse2fs) tenths=60 ;; esac
  # What takes a fixed time, or the processor's, is as slow everywhere.
  case "$group" in random | fsync | sqlite | compile) tenths=11 ;; esac
  guessed=${expected[$group]}
  [ "$size" != quick ] || guessed=$(((guessed + 7) / 8))
  guessed=$((guessed * tenths / 10 + 1))
}
# note_time GROUP KIND SECONDS: the guesses for what follows learn from it.
note_time() {
  local guessed
  if [ -z "${took[$1 $2]:-}" ]; then
    guess "$1" "$2"
    seconds_taken=$((seconds_taken + $3))
    seconds_guessed=$((seconds_guessed + guessed))
  fi
  took[$1 $2]=$3
}
# time_left ROUND INDEX: what follows after so many rounds and steps, as minutes:seconds.
time_left() {
  local sum=0 i group kind guessed
  for ((i = 0; i < ${#plan[@]}; ++i)); do
    read -r group kind <<<"${plan[i]}"
    guess "$group" "$kind"
    if [ -z "${took[$group $kind]:-}" ] && [ "$seconds_guessed" -gt 0 ]; then
      guessed=$((guessed * seconds_taken / seconds_guessed))
    fi
    sum=$((sum + guessed * (rounds - $1 + (i >= $2))))
  done
  printf '%d:%02d' $((sum / 60)) $((sum % 60))
}

# The metrics of a group that are wanted.
metrics_of() {
  local metric group
  while read -r metric group; do
    if [ "$group" = "$1" ] && wanted "$metric"; then printf '%s ' "$metric"; fi
  done < <(list_metrics all)
}

# run_step GROUP KIND ROUND: in the background, because only so a signal is heard at once.
run_step() {
  local group=$1 kind=$2 round=$3 limit=$step_seconds_max status=0 metric reason wanted_metrics
  [ "$size" != quick ] || limit=$quick_step_seconds_max
  [[ $group != scale-* ]] || limit=$scaling_step_seconds_max
  [ "$group" != readdir ] || limit=$readdir_seconds_max
  wanted_metrics=$(metrics_of "$group")
  work=$work results=$results bin=$bin metrics=$metrics group_metrics=$wanted_metrics size=$size \
    timeout -k 300 "$limit" bench/step.sh "$@" </dev/null >"$work/step.log" 2>&1 &
  step=$!
  wait "$step" || status=$?
  step=""
  tear_down >>"$work/step.log" 2>&1 || true
  cat "$work/step.log" >>"$out/log.txt"
  case "$status" in
    124 | 137) reason="took longer than $limit s" ;;
    *) reason=$(last_words "$work/step.log") ;;
  esac
  for metric in $wanted_metrics; do
    if ! grep -q "^$round	$kind	${metric}[:	]" "$results"; then
      printf '%s\t%s\t%s\tfailed\t%s\n' "$round" "$kind" "$metric" \
        "${reason:-the step ended with $status and no word}" >>"$results"
    fi
  done
}

plan=()
declare -A expected=()
for group in "${groups[@]}"; do
  expected[$group]=$(expected_seconds "$group")
  for kind in "${kinds[@]}"; do plan+=("$group $kind"); done
done

measure_all() {
  local round index group kind begin lines failures words
  say "$(time_left 1 0) min expected: ${#groups[@]} groups of workloads on ${kinds[*]}, $rounds times"
  prepare_sources "${groups[@]}" || die "what is to be copied could not be made"
  for ((round = 1; round <= rounds; ++round)); do
    for ((index = 0; index < ${#plan[@]}; ++index)); do
      read -r group kind <<<"${plan[index]}"
      if is_too_slow "$group" "$kind"; then
        say "round $round of $rounds: $group on $kind is not repeated, it took ${took[$group $kind]} s"
        continue
      fi
      begin=$SECONDS
      lines=$(wc -l <"$results")
      run_step "$group" "$kind" "$round"
      note_time "$group" "$kind" $((SECONDS - begin))
      failures=$(tail -n +$((lines + 1)) "$results" | grep -c '	failed	' || true)
      words="$group on $kind, ${took[$group $kind]} s"
      [ "$failures" -eq 0 ] || words+=", $failures failed"
      say "round $round of $rounds, $((index + 1)) of ${#plan[@]}: $words;" \
        "$(time_left "$round" $((index + 1))) min left"
    done
  done
}

# --- The report ---------------------------------------------------------------------------

report() {
  local kind commit
  {
    for kind in "${kinds[@]}"; do printf '%s\t%s\n' "$kind" "$(version_of "$kind")"; done
    printf 'fio\t%s\n' "$(fio --version)"
  } >"$work/versions"
  commit=$(git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
  if [ "$(stat -L -c %Y "$bin/mount.cofs")" -lt "$(git log -1 --format=%ct 2>/dev/null || echo 0)" ]; then
    commit+=" or before (the build is older)"
  elif [ -n "$(git status --porcelain -uno 2>/dev/null)" ]; then
    commit+=" with changes"
  fi
  python3 bench/report.py --metrics bench/metrics.txt --results "$results" \
    --versions "$work/versions" --kinds "${kinds[*]}" --commit "$commit" --rounds "$rounds" \
    --size "$size" --out "$out"
}

# In one line, which is read at once: a change of this file during the run does not matter.
measure_all; report; if grep -q '	failed	' "$results"; then exit 1; else exit 0; fi
