#!/usr/bin/env bash
# flash-attn is built against the torch that is installed by now.
set -euo pipefail
python -m pip install --no-build-isolation flash-attn==2.8.3.post2
