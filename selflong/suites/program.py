"""Harnesses that are programs of their own: how they are run, and where they keep what they did."""

import logging
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from selflong.formats import digest
from selflong.job import UserError
from selflong.llm.serve import folder_digest, vllm_cpu_environment
from selflong.recipe.site import Serving, TransformersServing, VllmServing

logger = logging.getLogger(__name__)


def state_folder(work: Path, checkpoint: Path, *settings: Any) -> Path:
    """A folder in `work`, made, for answers of these weights with these settings and of no others."""
    folder = work / digest([folder_digest(checkpoint), *settings])[:16]
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def run_program(
    name: str,
    line: Sequence[str],
    log: Path,
    serving: Serving,
    *,
    folder: Path | None = None,
) -> None:
    """Run a command line in `folder`, with the threads that `serving` has.

    name: what runs, as a sentence begins. Raises UserError with the last line of its log where it fails.
    """
    environment = vllm_cpu_environment(serving.cpu) if isinstance(serving, VllmServing) else {}
    if isinstance(serving, TransformersServing):
        environment = {"OMP_NUM_THREADS": str(serving.threads)}
    logger.info("%s runs, its log is %s", name, log)
    with log.open("w", encoding="utf-8") as stream:
        ended = subprocess.run(
            line,
            cwd=folder,
            env={**os.environ, **environment},
            stdout=stream,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if ended.returncode != 0:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        last = next((text for text in reversed(lines) if text.strip()), "")
        raise UserError(f"{name} ended with status {ended.returncode} ({last}); its log is {log}")
