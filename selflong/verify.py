"""Everything that a run made and downloaded, compared with what was recorded when it was made."""

from collections.abc import Iterator
from pathlib import Path

from selflong.hub import damaged_files
from selflong.integrity import damaged, recorded
from selflong.job import UserError
from selflong.recipe.recipe import Recipe
from selflong.recipe.site import Site
from selflong.results import results_of
from selflong.run.inputs import Inputs


def verify(*, recipe: Recipe, site: Site) -> str:
    """How many files are whole; UserError with a sentence for each that is not, all of them."""
    digests = recorded(results_of(recipe, site).root)
    found = [*damaged(digests), *_downloads(recipe, site)]
    if found:
        raise UserError("\n".join(found))
    size = sum(path.stat().st_size for path in digests)
    return f"{len(digests)} files of {size / 1e6:,.1f} MB are as they were made"


def _downloads(recipe: Recipe, site: Site) -> Iterator[str]:
    inputs = Inputs(recipe, site)
    for name in inputs.downloads:
        folder: Path = inputs.results.downloads / name
        if folder.is_dir():
            yield from damaged_files(folder)
