"""HELMET's settings."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from selflong.recipe.section import Positive, Section, is_none, matching
from selflong.recipe.weights import Price
from selflong.suites.section import SuiteSection

JUDGED = ("gpt-4-score", "gpt-4-f1")
"""Metrics of long answers and of summaries that a model gives (its scripts eval_gpt4_*.py)."""

DatasetAndMetric = Annotated[
    str, matching(r"^\S+ \S+$", "a task is a dataset and a metric, with a space between")
]


class Judge(Section):
    """A model that scores answers; the site says where it answers (`helmet.judge`)."""

    model: str
    """Name that the endpoint knows it by."""
    context_tokens: Positive
    """Of prompt and answer together."""
    price: Price | None = None


class Helmet(SuiteSection):
    """HELMET (arXiv 2410.02694), run in a checkout of its repository that the site names.

    Its lengths are those of the configs' `input_max_length`. What the configs say else holds, but for what
    stands here.
    """

    kind: Literal["helmet"]
    configs: list[str] = Field(min_length=1)
    """Files in the checkout, such as configs/recall.yaml; of them the suite's datasets are run."""
    tasks: dict[str, DatasetAndMetric] = Field(min_length=1)
    """Name in the table -> dataset and metric, as in `json_kv substring_exact_match`. A part of the dataset's
    name stands for it: nq for kilt_nq, icl_nlu for icl_nlu_510shot_balance and those of other lengths."""
    samples: Positive | None = Field(default=None, exclude_if=is_none)
    """The most of each dataset."""
    chat_template: bool | None = Field(default=None, exclude_if=is_none)
    """Whether prompts are put into the model's chat template; HELMET's own choice where it is null."""
    thinking: bool = False
    """Whether models reason: they get 32k tokens more, and nothing up to </think> is scored."""
    judge: Judge | None = Field(default=None, exclude_if=is_none)
    """Gives the metrics gpt-4-score and gpt-4-f1; HELMET's authors asked gpt-4o-2024-05-13."""

    loads_checkpoints: ClassVar[bool] = True

    @property
    def needs_of_site(self) -> tuple[str, ...]:
        cited = ("helmet.citations",) if self.scores_citations else ()
        return ("helmet", *self.asked_on_site, *cited)

    @property
    def folders_of_site(self) -> tuple[str, ...]:
        return ("helmet.checkout", *(("helmet.citations",) if self.scores_citations else ()))

    @property
    def asked_on_site(self) -> dict[str, tuple[str, Price | None]]:
        judge = self.judge
        return {} if judge is None else {"helmet.judge": (judge.model, judge.price)}

    @property
    def scores_citations(self) -> bool:
        """Whether it asks for a metric that a model gives who reads what ALCE's answers cite."""
        return any(task.partition(" ")[2].startswith("citation_") for task in self.tasks.values())

    @model_validator(mode="after")
    def _judged_by_somebody(self) -> Self:
        if self.judge is None:
            for title, task in self.tasks.items():
                if task.partition(" ")[2] in JUDGED:
                    raise ValueError(f"tasks.{title}: {task} needs a judge")
        return self
