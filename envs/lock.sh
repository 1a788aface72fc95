#!/usr/bin/env bash
# Write the locks of the laptop's environment: each pin, and what it brings, with the SHA-256 of all its files.
# Wants uv. `make setup HASHES=1` installs from them.
set -euo pipefail
cd "$(dirname "$0")"

lock() {
  local name=$1
  shift
  nice -n 19 uv pip compile --quiet --generate-hashes --no-annotate --no-header --python-version 3.11 \
    --universal --no-emit-package torch "$@" --output-file "$name.lock"
}

# Without torch: its build for CPUs, which PyPI does not have, has another hash, and needs none of CUDA's packages.
pinned() {
  awk 'FNR == NR { sub(/==.*/, ""); known[tolower($0)]; next }
       /^[A-Za-z0-9]/ { name = tolower($1); sub(/==.*/, "", name); keep = name in known }
       keep' constraints.txt "$1" > "$1.kept"
  mv "$1.kept" "$1"
}

lock build build.txt
lock laptop-data --no-deps laptop-data.txt
lock laptop laptop.txt development.txt
pinned laptop.lock
