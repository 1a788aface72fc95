"""What the licences of a run's sources say of publishing what was made from them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from selflong.formats import read_csv
from selflong.job import UserError
from selflong.recipe.recipe import Recipe
from selflong.recipe.section import Licensed
from selflong.recipe.weights import RandomWeights


@dataclass(frozen=True)
class Terms:
    """What a licence asks of those who publish what was made from it."""

    hub: str
    """The hub's name of the licence."""
    may: bool
    follows: str


KNOWN = {
    row["pattern"]: Terms(row["hub"], row["may"] == "yes", row["follows"])
    for row in read_csv(Path(__file__).with_suffix(".csv"))
}
"""The first pattern that a licence's name holds says what it asks."""


@dataclass(frozen=True)
class Source:
    """A source of what is published."""

    place: str
    """In the recipe."""
    name: str
    section: Licensed

    @property
    def terms(self) -> Terms | None:
        """None where the licence is not given or not known."""
        licence = (self.section.licence or "").lower()
        return next(
            (terms for pattern, terms in KNOWN.items() if re.search(pattern, licence)), None
        )

    @property
    def follows(self) -> str:
        """What the licence asks, for a card."""
        return self.terms.follows if self.terms else "looked at by whoever published this"


def sources_of_data(recipe: Recipe) -> Iterator[Source]:
    """Of the synthesised samples: documents, whose text they hold, and what wrote the rest."""
    if recipe.synthesis is None:
        return
    corpus = recipe.synthesis.corpus
    for index, source in enumerate(recipe.corpora[corpus].sources):
        yield Source(f"corpora.{corpus}.sources[{index}]", source.label, source)
    for name, generator in recipe.generators.items():
        if generator.weights is None:
            yield Source(f"generators.{name}", generator.model, generator)
        else:
            yield Source(f"generators.{name}.weights", generator.model, generator.weights)


def sources_of_model(recipe: Recipe, checkpoint: str) -> Iterator[Source]:
    """Of a checkpoint: the weights that it starts from, unless they were random."""
    root = recipe.root(checkpoint).partition("/")[0]
    model = recipe.models[root]
    if model.weights is not None and not isinstance(model.weights, RandomWeights):
        yield Source(f"models.{root}.weights", model.label, model.weights)


def refuse(sources: list[Source]) -> None:
    """Raise UserError where a source may not be published, or where nobody says whether it may."""
    for source in sources:
        licence, terms, may = source.section.licence, source.terms, source.section.republish
        if may is None and terms is None:
            said = f"the licence {licence!r} is not known here" if licence else "has no `licence`"
            raise UserError(
                f"{source.place} ({source.name}): {said}: look whether what is made from it may be "
                "published, and say so there by `republish: true` or `republish: false`"
            )
        if may is False or (may is None and terms is not None and not terms.may):
            raise UserError(
                f"{source.place} ({source.name}): what is made from it may not be published (licence: "
                f"{licence or 'not named'}): leave it out of the recipe, or publish other parts by --parts"
            )


def hub_licence(sources: list[Source]) -> str:
    """The hub's name of the one licence that covers all, else `other`."""
    names = {source.terms.hub if source.terms else "other" for source in sources}
    asking = names - {"cc0-1.0"}
    return next(iter(asking or names)) if len(asking) <= 1 and names else "other"
