"""What the sections of a recipe and of a site have in common."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from selflong.formats import digest

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.]*$")]
Positive = Annotated[int, Field(gt=0)]
NonNegative = Annotated[int, Field(ge=0)]
Precision = Literal["bfloat16", "float32"]
Share = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A part of the recipe or of the site: frozen, and no key that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    assumed: dict[str, str] = {}
    """Settings that the paper does not print, each with the reason for the value here."""

    @model_validator(mode="after")
    def _assumed_settings_exist(self) -> Self:
        for setting in self.assumed:
            if setting not in type(self).model_fields:
                raise ValueError(f"assumed names {setting!r}, which is no setting of this section")
        return self

    @property
    def digest(self) -> str:
        """Changes when a setting changes; the wording of an assumption does not count."""
        return digest(_without_assumptions(self.model_dump(mode="json")))


def _without_assumptions(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_assumptions(v) for k, v in value.items() if k != "assumed"}
    if isinstance(value, list):
        return [_without_assumptions(item) for item in value]
    return value
