"""One recipe on one site, as the rules see it."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from selflong.recipe.loading import load_run, refuse
from selflong.recipe.recipe import Recipe
from selflong.recipe.site import Site
from selflong.results import Results, results_of
from selflong.run.compatibility import mistakes
from selflong.run.digests import Digests
from selflong.run.environment import Environment
from selflong.run.inputs import Inputs


@dataclass(frozen=True)
class Run:
    """A recipe and a site, and what follows from both."""

    recipe: Recipe
    site: Site

    @classmethod
    def from_config(cls, overrides: dict[str, Any], conda: bool = False) -> "Run":
        """Read config.yaml, with what `--config` or `--configfile` gave on top of it."""
        return checked_run(*load_run(Path("config.yaml"), overrides), overrides, conda)

    @property
    def results(self) -> Results:
        """Where everything that the recipe makes lies."""
        return results_of(self.recipe, self.site)

    @cached_property
    def inputs(self) -> Inputs:
        """What the rules read."""
        return Inputs(self.recipe, self.site)

    @cached_property
    def digests(self) -> Digests:
        """Of the parts of the recipe that the rules depend on."""
        return Digests(self.recipe, self.site)

    @cached_property
    def environment(self) -> Environment:
        """How the jobs run."""
        return Environment(self.recipe, self.site)


def checked_run(
    recipe: Recipe, site: Site, given: Mapping[str, Any] | None = None, conda: bool = False
) -> Run:
    """Both together; UserError with what they show only together (`compatibility.mistakes`)."""
    refuse(mistakes(recipe, site, given, conda))
    return Run(recipe, site)


def alternatives(names: Iterable[str]) -> str:
    """A regular expression that matches just these names."""
    return "|".join(map(re.escape, names)) or "(?!)"
