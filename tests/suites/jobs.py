"""A job of a small checkpoint, for the tests of what asks it."""

from pathlib import Path
from typing import Any

from selflong.recipe.site import TransformersServing
from selflong.suites.job import Job
from selflong.suites.section import SuiteSection


def job_of(name: str, suite: SuiteSection, checkpoint: Path, work: Path, **others: Any) -> Job:
    return Job(
        suite_name=name,
        suite=suite,
        checkpoint="m/initial",
        model=checkpoint,
        tokenizer=checkpoint,
        serving=TransformersServing(kind="transformers", threads=1, precision="float32"),
        work=work,
        chat_date="26 Jul 2024",
        **others,
    )
