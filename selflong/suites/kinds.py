"""What each kind of suite brings, imported when it is used.

A kind is a folder `selflong/suites/<name>/` with these modules; each holds the one function (or class) that
is asked for here, whose first argument is the kind's own section, and whatever that needs:

- `section.py`: the settings, a subclass of `SuiteSection` with the name as its `kind`. No heavy imports.
- `prompts.py` with `prompts`, where a checkpoint is asked through a server, or `harness.py` with `run`,
  where a program of its own makes the predictions.
- `metric.py` with `metric`: what scores a prediction of a task.
- `texts.py` with `texts`: what no training data may hold; a kind without any says why.
- `load.py` with `loads`: requests and tokens for the estimate. No heavy imports.
- `report.py` with `tables` and `figures`.
- `stored.py` with `stored_predictions`, where the section says that it carries predictions.

All but the section is imported when it is used.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from selflong.suites.registry import NAMES
from selflong.suites.section import SuiteSection

if TYPE_CHECKING:
    import polars as pl

    from selflong.drawing import ReportFigure
    from selflong.suites.evaluation_job import Job
    from selflong.suites.load import Load
    from selflong.suites.measured import Measured
    from selflong.suites.prompt import Metric, Prompt, Respondent
    from selflong.tables import Table

T = TypeVar("T")


class Prompts(Protocol):
    """What a checkpoint is asked."""

    def __call__(self, suite: Any, respondent: Respondent) -> Iterator[Prompt]: ...


class Harness(Protocol):
    """formats.PREDICTIONS of a program that works in the folder `work`."""

    def __call__(self, suite: Any, job: Job, work: Path) -> pl.DataFrame: ...


class MetricOfTask(Protocol):
    """The metric of a task; None where it is the harness's, which needs more than the prediction."""

    def __call__(self, task: str) -> Metric | None: ...


class Texts(Protocol):
    """Name and text of what the suite asks about; `download` where the section says `texts_in_download`."""

    def __call__(self, suite: Any, download: Path | None) -> Iterable[tuple[str, str]]: ...


class Loads(Protocol):
    """Requests and tokens, for one model that supports a length (None: any)."""

    def __call__(self, suite: Any, supports: int | None) -> Iterable[Load]: ...


class Tables(Protocol):
    """Tables of a suite's scores."""

    def __call__(self, suite: Any, name: str, measured: Measured) -> Iterable[Table]: ...


class Figures(Protocol):
    """Figures of a suite's scores."""

    def __call__(self, suite: Any, name: str, measured: Measured) -> Iterable[ReportFigure]: ...


class StoredPredictions(Protocol):
    """formats.PREDICTIONS, a part at a time, that a suite's download carries."""

    def __call__(self, suite: Any, name: str, download: Path) -> Iterator[pl.DataFrame]: ...


PARTS: Mapping[str, tuple[str, type]] = {
    "metric": ("metric", MetricOfTask),
    "texts": ("texts", Texts),
    "loads": ("load", Loads),
    "tables": ("report", Tables),
    "figures": ("report", Figures),
    "prompts": ("prompts", Prompts),
    "run": ("harness", Harness),
    "stored_predictions": ("stored", StoredPredictions),
}
"""Function of a kind -> the module that holds it, and its signature."""


class _Part(Generic[T]):
    """One of PARTS of a kind."""

    def __init__(self, function: str) -> None:
        self.function = function

    def __get__(self, kind: Kind, _: type) -> T:
        return kind.part(self.function)


@dataclass(frozen=True)
class Kind:
    """One kind of suite, whose modules are imported when they are asked for."""

    name: str

    @property
    def package(self) -> str:
        """Of its modules."""
        return f"{__package__}.{self.name}"

    def has(self, function: str) -> bool:
        """Whether it has the module of one of PARTS."""
        return find_spec(f"{self.package}.{PARTS[function][0]}") is not None

    def part(self, function: str) -> Any:
        """One of PARTS; ImportError or AttributeError where the kind lacks it."""
        module = importlib.import_module(f"{self.package}.{PARTS[function][0]}")
        return getattr(module, function)

    @property
    def prompts(self) -> Prompts | None:
        """None where a harness makes its predictions."""
        return self.part("prompts") if self.has("prompts") else None

    harness = _Part[Harness]("run")
    """Of a kind without prompts."""
    metric = _Part[MetricOfTask]("metric")
    texts = _Part[Texts]("texts")
    loads = _Part[Loads]("loads")
    tables = _Part[Tables]("tables")
    figures = _Part[Figures]("figures")
    stored_predictions = _Part[StoredPredictions]("stored_predictions")
    """Of a kind whose section `carries_predictions`."""


KINDS = {name: Kind(name) for name in NAMES}


def kind_of(suite: SuiteSection) -> Kind:
    """The kind of a suite."""
    return KINDS[suite.kind]
