"""Bring one source of a corpus into a folder: from a package, the hub, or a local folder."""

from pathlib import Path

from selflong.launcher import launch, named
from selflong.corpus.stretches import collect
from selflong.formats import publish_folder
from selflong.recipe.recipe import Recipe
from selflong.recipe.site import Site


def collect_source(
    *, recipe: Recipe, site: Site, corpus: str, source: int, work: Path, output: Path
) -> None:
    """Collect by the source's position in its corpus; `work` keeps what is whole already."""
    sources = {str(place): section for place, section in enumerate(recipe.corpora[corpus].sources)}
    collect(sources[named("source", str(source), sources)], work, site.hub_token_variable)
    publish_folder(work, output)


if __name__ == "__main__":
    launch(collect_source)
