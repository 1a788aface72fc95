"""What the sections of a recipe and of a site have in common."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from inspect import isclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from selflong.formats import digest

DATE = "%d %b %Y"
"""As a chat template prints a date (Llama-3.1's)."""

PATTERNS: dict[str, str] = {}
"""What each pattern asks for, in words."""


def matching(pattern: str, words: str, longest: int = 200, description: str | None = None) -> Any:
    """A text that matches a pattern, of which `words` say what it asks for."""
    PATTERNS[pattern] = words
    return Field(pattern=pattern, max_length=longest, description=description)


MOST = 10**15
"""Of anything: no file holds more, no job ends, and float32 multiplies it with itself."""


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(f"must be a number, not {str(value).lower()}")
    if isinstance(value, int | float) and MOST < value < math.inf:
        raise ValueError(f"must be at most {MOST:g}")
    return value


_Number = BeforeValidator(_number)

# What becomes a path: none of them can be '.', '..' or hold a '/' beside the repository's own.
NAME = r"^[a-z0-9][a-z0-9_.]*$"
LONGEST_NAME = 100
DOT = "-"
"""In place of a name's dot where it is part of an option, in which a dot begins another level."""
OWNER = r"[A-Za-z0-9](?:[.-]?[A-Za-z0-9_])*"
"""Of a repository; its name has the same form."""
REPOSITORY = rf"^{OWNER}/{OWNER}$"
_IMPORTED = r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*"
_STEP = (
    r"(?:Flat|L2norm|ITQ\d*|LSH\w*|PCAW?R?\d+|OPQ\d+(?:_\d+)?|RR\d+|IVF\d+(?:_HNSW\d+)?|IMI2x\d+|HNSW\d*|"
    r"NSG\d*|SQ(?:4|6|8|fp16|bf16)|PQ\d+(?:x\d+)?(?:fs|fsr|np)?|RaBitQ\w*|Refine\(\w+\)|RFlat)"
)
Name = Annotated[
    str,
    matching(
        NAME,
        "a name begins with a lower-case letter or a digit and holds only those, '_' and '.'",
        LONGEST_NAME,
    ),
]
Repository = Annotated[
    str,
    matching(
        REPOSITORY,
        "a repository of the hub is written owner/name",
        description="Owner and name at the hub.",
    ),
]
Revision = Annotated[
    str,
    matching(
        r"^[A-Za-z0-9][A-Za-z0-9_./+-]*$",
        "a revision is a branch, a tag or a commit",
        description="Branch, tag or commit of the repository; only a commit stays as it is.",
    ),
]
Package = Annotated[str, matching(rf"^{_IMPORTED}$", "a package is written as it is imported")]
InPackage = Annotated[
    str,
    matching(
        rf"^package:{_IMPORTED}$",
        "a model in a package is written package:name, as the package is imported",
    ),
]
FaissIndex = Annotated[
    str,
    matching(
        rf"^{_STEP}(?:,{_STEP})*$",
        "an index is written as FAISS writes it, such as Flat, SQ8 or IVF1024,SQ8",
    ),
]
Label = Annotated[
    str, matching(r"[\p{L}\p{N}\p{P}\p{S}]", "a label holds a letter or another sign")
]

Precision = Literal["bfloat16", "float32"]
Positive = Annotated[int, Field(gt=0), _Number]
NonNegative = Annotated[int, Field(ge=0), _Number]
Share = Annotated[float, Field(ge=0, le=1), _Number]
Rate = Annotated[float, Field(gt=0), _Number]
"""Of a rate, a spread, a weight, a base of rotary positions."""
Seed = Annotated[
    int, Field(ge=0, lt=2**32, description="Of what is drawn by chance there."), _Number
]
Shards = Annotated[
    int, Field(gt=0, le=10_000, description="Jobs that the work is cut into."), _Number
]
"""Each shard is a job or several, all of which Snakemake plans before anything runs."""
Drawn = Annotated[int, Field(gt=0, le=1_000_000), _Number]
"""Of what is drawn one by one, by the plan too, a minute for as many as that."""


def is_name(text: str) -> bool:
    """Whether a text that comes from elsewhere than a recipe could be a `Name` in one."""
    return re.fullmatch(NAME, text) is not None and len(text) <= LONGEST_NAME


def distinct(values: list[Any]) -> list[Any]:
    """The list; ValueError where an item stands in it twice."""
    seen = set()
    for value in values:
        if value in seen:
            raise ValueError(f"{value!r} stands twice")
        seen.add(value)
    return values


Distinct = AfterValidator(distinct)


class Section(BaseModel):
    """A part of the recipe or of the site: frozen, and no key that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

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


@dataclass(frozen=True)
class Download:
    """What is read from the hub: a model, or the files of a dataset that a glob names."""

    repository: str
    revision: str
    files: str | None = None
    """Glob of a dataset's files; null for a model."""
    weights: bool = True
    """Of a model: whether its weights come, or its configuration and tokenizer alone."""

    @property
    def name(self) -> str:
        """Of its folder: another revision, or other files of the repository, are another download."""
        parts = [self.repository, self.revision, self.files]
        told_apart = digest(parts if self.weights else [*parts, "without weights"])[:12]
        return f"{self.repository.replace('/', '--')}--{told_apart}"


def is_none(value: object) -> bool:
    """Where it holds the setting is left out, so that it changes no digest."""
    return value is None


def sections_of(annotation: Any) -> Iterator[type[BaseModel]]:
    """The sections that a type names, itself or inside of unions, lists and tables."""
    if isclass(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from sections_of(argument)


class Licensed(Section):
    """A section that names the work of others."""

    licence: str | None = Field(default=None, exclude_if=is_none)
    """Its name, such as Apache-2.0 or CC BY-SA 4.0: what may be published follows from it."""
    republish: bool | None = Field(default=None, exclude_if=is_none)
    """Whether what is made from it may be published; null where its licence says it."""


class External(Licensed):
    """A section that names what lies outside of the recipe."""

    @property
    def download(self) -> Download | None:
        """What must be downloaded before it is read."""
        return None

    @property
    def folder(self) -> Path | None:
        """The user's folder that it reads."""
        return None
