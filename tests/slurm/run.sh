#!/usr/bin/env bash
# Install SLURM from Debian's packages where it is missing, and try the project's profile on two emulated nodes.
set -euo pipefail
cd "$(dirname "$0")"
if ! command -v slurmctld >/dev/null || ! command -v munged >/dev/null; then
  if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
    echo "Error: SLURM is not installed, and only root on Debian or Ubuntu can install it here" >&2
    exit 2
  fi
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends slurm-wlm munge
fi
exec python -m pytest --rootdir=. --import-mode=prepend cases.py "$@"
