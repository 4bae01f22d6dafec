#!/usr/bin/env bash
# One group of workloads on one file system in one round, for bench/run.sh, which gives a
# step its limit of time and takes down what it may leave.
#
#   step.sh GROUP KIND ROUND     with work, results, bin, metrics, group_metrics, size set
set -uo pipefail
export LC_ALL=C
here=$(dirname "$(realpath "$0")")
# shellcheck disable=SC2034,SC2154  # used by workloads.sh; given by run.sh
group=$1 kind=$2 round=$3 source_root=$(dirname "$here") mnt=$work/mnt below=$work/below
# shellcheck source=bench/file_systems.sh
. "$here/file_systems.sh"
# shellcheck source=bench/workloads.sh
. "$here/workloads.sh"

# shellcheck disable=SC2154
use_sizes "$size"
trap tear_down EXIT
trap 'exit 143' INT TERM
"run_${group//-/_}"
