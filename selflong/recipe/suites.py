"""Every kind of suite."""

from typing import Annotated

from pydantic import Field

from selflong.suites.helmet.section import Helmet
from selflong.suites.needle_grid.section import NeedleGrid
from selflong.suites.output_length.section import OutputLength
from selflong.suites.published_ruler.section import PublishedRulerSuite
from selflong.suites.recall.section import RecallSuite
from selflong.suites.ruler.section import RulerSuite
from selflong.suites.short_tasks.section import ShortTasks

Suite = Annotated[
    RulerSuite
    | PublishedRulerSuite
    | NeedleGrid
    | OutputLength
    | ShortTasks
    | Helmet
    | RecallSuite,
    Field(discriminator="kind"),
]
