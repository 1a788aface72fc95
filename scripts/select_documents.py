"""Drop duplicates over all shards of a corpus and draw its sample."""

from pathlib import Path

from selflong.launcher import launch
from selflong.corpus.select import select
from selflong.formats import publish
from selflong.recipe.recipe import Recipe


def select_documents(
    *, recipe: Recipe, corpus: str, notes: list[Path], selection: Path, drops: Path
) -> None:
    """Publish the folder `selection` with a file for each shard's notes, and what was dropped."""
    section = recipe.corpora[corpus]
    with publish(selection) as partial:
        partial.mkdir()
        select(
            notes=notes,
            filters=section.filters,
            sample=section.sample,
            outputs=[partial / path.name for path in notes],
            drops=drops,
        )


if __name__ == "__main__":
    launch(select_documents)
