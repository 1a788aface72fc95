"""Settings of the short tasks."""

from typing import Literal

from pydantic import Field

from selflong.recipe.section import Positive
from selflong.suites.section import SuiteSection


class ShortTasks(SuiteSection):
    """lm-evaluation-harness on short tasks."""

    kind: Literal["short_tasks"]
    tasks: dict[str, str] = Field(min_length=1)
    """Name in the table -> task of lm-evaluation-harness."""
    limit: Positive | None = None
