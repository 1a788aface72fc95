#!/usr/bin/env bash
# Install SLURM from Debian's packages where it is missing, and try the project's profile on two emulated nodes.
# Without arguments: the profile's cases, then the small recipe. Ends with 77 where SLURM cannot be tried.
set -euo pipefail
cd "$(dirname "$0")"

skip() {
  echo "SLURM is not tested: $1"
  exit 77
}

[ "$(id -u)" = 0 ] || skip "only root can start an emulated cluster"
device=$(mktemp -u)
mknod "$device" c 1 3 2>/dev/null || skip "this machine allows no device files, which stand for GPUs"
rm "$device"
if ! command -v slurmctld >/dev/null || ! command -v munged >/dev/null; then
  command -v apt-get >/dev/null || skip "it is not installed, and there is no apt-get to install it"
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends slurm-wlm munge; } ||
    skip "Debian's packages of it cannot be installed"
fi
[ $# -gt 0 ] || set -- cases.py recipe.py
PYTHONPATH=$(realpath ../..) exec python -m pytest --rootdir=. --import-mode=prepend "$@"
