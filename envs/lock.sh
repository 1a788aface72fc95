#!/usr/bin/env bash
# Write the locks of the environments: each pin, and what it brings, with the SHA-256 of all its files.
# Wants uv, and for flash-attn, whose metadata are built, the project's environment (torch, setuptools, wheel, psutil).
# `make setup HASHES=1` and the container install from them.
#   envs/lock.sh [PYTHON OF THE PROJECT]
set -euo pipefail
python=$(realpath --no-symlinks "${1:-$(dirname "$0")/../.venv/bin/python}")
cd "$(dirname "$0")"

lock() {
  local name=$1
  shift
  nice -n 19 uv pip compile --quiet --generate-hashes --no-annotate --no-header --python-version 3.11.5 \
    --universal "$@" --output-file "$name.lock"
}

# Without torch: its build for CPUs, which PyPI does not have, has another hash, and needs none of CUDA's packages.
pinned() {
  awk 'function name(pin) { pin = tolower(pin); sub(/==.*/, "", pin); gsub(/[-_.]+/, "-", pin); return pin }
       FNR == NR { known[name($1)]; next }
       /^[A-Za-z0-9]/ { keep = name($1) in known }
       keep' constraints.txt "$1" > "$1.kept"
  mv "$1.kept" "$1"
}

lock build --constraint constraints.txt build.txt
lock laptop-data --no-deps laptop-data.txt
lock laptop --no-emit-package torch laptop.txt development.txt
pinned laptop.lock
for name in pipeline serving evaluation; do
  lock "$name" "$name.txt"
done
# Without it flash-attn looks for nvcc even to tell its name.
export FLASH_ATTENTION_SKIP_CUDA_BUILD=TRUE
lock training --python "$python" --no-build-isolation-package flash-attn training.txt
