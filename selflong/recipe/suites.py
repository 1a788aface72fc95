"""Every kind of suite as one type: the registry's."""

from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from selflong.suites.registry import NAMES, section_of
from selflong.suites.section import SuiteSection

if TYPE_CHECKING:
    # Nobody may ask more of a suite than any suite has: the rest is its kind's.
    Suite = SuiteSection
else:
    Suite = Annotated[
        Union[tuple(section_of(name) for name in NAMES)],  # noqa: UP007 - made, not written
        Field(discriminator="kind"),
    ]
