"""Settings of the published RULER sets. Their tasks are RULER's (`selflong.suites.ruler`)."""

from typing import ClassVar, Literal

from selflong.recipe.section import Download, Repository, Revision
from selflong.suites.ruler.section import RULER_TASKS, AnyRuler


class PublishedRulerSuite(AnyRuler):
    """Prompts of self-long/RULER-llama3-1M, and its stored predictions scored again."""

    title: ClassVar[str] = "RULER's published prompts"

    kind: Literal["published_ruler"]
    models: list[str]
    repository: Repository
    revision: Revision

    carries_predictions: ClassVar[bool] = True

    @property
    def download(self) -> Download:
        return Download(self.repository, self.revision, "*.parquet")

    @property
    def asked_tasks(self) -> tuple[str, ...]:
        return RULER_TASKS

    @property
    def which_prompts(self) -> str:
        return "published prompts"

    @property
    def asked_how(self) -> str:
        return "template and answer prefix as they were published"

    @property
    def comparable(self) -> bool:
        return True
