#!/usr/bin/env bash
# Solve every environment and install none: what it prints is how many packages each one comes to.
# Wants uv, and for flash-attn, whose metadata are built, the project's environment (torch, setuptools, wheel, psutil).
#   envs/solve.sh [PYTHON OF THE PROJECT]
set -euo pipefail
python=$(realpath --no-symlinks "${1:-$(dirname "$0")/../.venv/bin/python}")
cd "$(dirname "$0")"

solve() {
  local name=$1 version=$2
  shift 2
  # Without it flash-attn looks for nvcc even to tell its name.
  local packages
  packages=$(FLASH_ATTENTION_SKIP_CUDA_BUILD=TRUE nice -n 19 uv pip compile --quiet --python "$python" \
    --python-version "$version" --python-platform x86_64-unknown-linux-gnu "$@")
  echo "$name on Python $version: $(grep -c '^[A-Za-z].*==' <<<"$packages") packages," \
    "$(grep -E '^(torch|transformers|vllm|flash-attn|deepspeed)==' <<<"$packages" | tr '\n' ' ')"
}

for version in 3.11 3.12; do
  for name in pipeline laptop serving evaluation; do
    solve "$name" "$version" "$name.txt"
  done
  solve "laptop and development" "$version" laptop.txt development.txt
  solve "laptop and benchmarks" "$version" laptop.txt benchmarks.txt
  solve training "$version" --no-build-isolation-package flash-attn training.txt
done
