"""Data inside installed Python packages, found without importing them."""

from collections.abc import Mapping
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from selflong.globs import matching_files
from selflong.job import UserError
from selflong.recipe.weights import GgufWeights


def package_folder(package: str, distribution: str | None = None) -> Path:
    """The folder of an installed package; UserError where its distribution is not installed."""
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise UserError(
            f"the package {distribution or package} is not installed: run `make setup`, "
            "or install it as envs/laptop-data.txt says"
        )
    return Path(next(iter(found.submodule_search_locations)))


@cache
def _distributions() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()


def package_version(package: str) -> str:
    """`<distribution>==<version>` of an installed package.

    A build's own suffix (torch's +cpu, +cu130) says nothing about what the package carries.
    """
    distribution = _distributions()[package][0]
    return f"{distribution}=={metadata.version(distribution).partition('+')[0]}"


def find_gguf(weights: GgufWeights) -> Path:
    """The one file in the package's folder that the recipe's glob names."""
    files = matching_files(package_folder(weights.package), weights.file)
    if len(files) != 1:
        raise UserError(
            f"{weights.file!r} matches {len(files)} files in the package {weights.package}: "
            "name one in the recipe's `file`"
        )
    return files[0]
