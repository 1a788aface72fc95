"""Where a run stands, by its files."""

import os
import time
from pathlib import Path

import pytest

from selflong.formats import write_text
from selflong.recipe.loading import load_site
from selflong.recipe.recipe import Recipe
from selflong.results import Results
from selflong.status import QUIET_SECONDS, status
from tests.report.conftest import results  # noqa: F401 - a fixture

ROOT = Path(__file__).parents[1]


def test_it_says_what_runs_what_it_cost_and_the_last_scores(
    laptop: Recipe,
    results: Results,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    step = "12:00:00 full/1k: 2 of 3 steps, 0.5 steps/s, loss 2.5000, 0:00:02 left"
    write_text(f"before\n{step}\n", results.logs / "training/full/1k.log")
    old = results.logs / "training/full/512.log"
    write_text("ended\n", old)
    os.utime(old, (time.time() - 2 * QUIET_SECONDS,) * 2)
    write_text("12:00:00 began\nError: no room\n", results.logs / "mixture/full/1k.log")
    write_text("116 files are as they were made\n", results.logs / "verify.log")
    lines = list(status(laptop, load_site(ROOT / "config.yaml"), results))
    assert lines[0].startswith("laptop: 0 jobs done; ") and "by the plan" in lines[0]
    assert lines[1] == "failed mixture/full/1k: Error: no room"
    assert lines[2] == f"running training/full/1k: {step}"
    assert (
        lines[3] == "smollm2: 21 requests of finished jobs, 21,000 + 2,100 tokens, no price named"
    )
    assert any(line.startswith("ruler of full/2k at 2k: ") for line in lines[4:])
