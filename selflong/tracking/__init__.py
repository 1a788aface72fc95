"""Where a run can be followed while it runs: numbers of a job by step, to the program that the site names.

A kind is a module here with `open_tracker(tracking, name)`, and a name in recipe.site.Tracking. Jobs find the
site's choice in an environment variable, whatever starts them.
"""

import importlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from selflong.formats import digest
from selflong.job import UserError

VARIABLE = "SELFLONG_TRACKING"


class Tracker(Protocol):
    """Takes the numbers of one job."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers at a step, which rises."""

    def close(self) -> None:
        """Nothing more comes."""


@dataclass(frozen=True)
class Tracking:
    """The site's choice, as jobs find it."""

    kind: str
    project: str
    offline: bool
    run: str
    """Name of the recipe."""
    folder: Path
    """For what the program keeps."""

    def variable(self) -> str:
        """For a job's environment."""
        return json.dumps({**vars(self), "folder": str(self.folder)})


def open_tracker(name: str) -> Tracker | None:
    """The tracker of a job by its name; None where the site names no program.

    Raises UserError where the program is not installed.
    """
    if not (text := os.environ.get(VARIABLE)):
        return None
    content = json.loads(text)
    tracking = Tracking(**{**content, "folder": Path(content["folder"])})
    tracking.folder.mkdir(parents=True, exist_ok=True)
    try:
        kind = importlib.import_module(f"selflong.tracking.{tracking.kind}")
        tracker: Tracker = kind.open_tracker(tracking, name)
    except ImportError as error:
        raise UserError(
            f"tracking.kind: {tracking.kind}: {error.name} is not installed where this job runs: "
            f"pip install {tracking.kind}, or take the section out of config.yaml"
        ) from None
    return tracker


def this_job() -> str:
    """A name of this process's job, the same when it is started again."""
    return f"{Path(sys.argv[0]).stem}-{digest(sys.argv[1:])[:6]}"


def numbers(values: Mapping[str, object]) -> dict[str, float]:
    """Of what a job says of a step, what can be drawn."""
    return {
        name: float(value)
        for name, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
