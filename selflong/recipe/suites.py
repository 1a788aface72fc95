"""Every kind of suite as one type: the registry's."""

from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from selflong.suites.kinds import KINDS
from selflong.suites.section import SuiteSection

if TYPE_CHECKING:
    # Nobody may ask more of a suite than any suite has: the rest is its kind's.
    Suite = SuiteSection
else:
    Suite = Annotated[
        Union[tuple(kind.section for kind in KINDS.values())],  # noqa: UP007 - made, not written
        Field(discriminator="kind"),
    ]
