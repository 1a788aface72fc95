"""Small suites, and a job of a small checkpoint, for the tests of what asks it."""

from pathlib import Path
from typing import Any

from selflong.recipe.site import TransformersServing
from selflong.suites.evaluation_job import Job
from selflong.suites.needle_grid.section import NeedleGrid
from selflong.suites.ruler.section import RulerSuite
from selflong.suites.section import SuiteSection

RULER = RulerSuite(
    kind="ruler",
    models=["m"],
    convention="ruler_exact",
    tasks=["niah_single_1", "qa_1"],
    lengths=[512, 700],
    samples={512: 2, 700: 1},
    seed=42,
)
GRID = NeedleGrid(kind="needle_grid", models=["m"], lengths=[300], depths=3, seed=7)


SERVING = TransformersServing(kind="transformers", threads=1, precision="float32")


def job_of(name: str, suite: SuiteSection, checkpoint: Path, work: Path, **others: Any) -> Job:
    return Job(
        suite_name=name,
        suite=suite,
        checkpoint="m/initial",
        model=checkpoint,
        tokenizer=checkpoint,
        work=work,
        chat_date="26 Jul 2024",
        **{"serving": SERVING, **others},
    )
