"""Installed Python packages and the data inside of them, found without importing them."""

from collections.abc import Iterable, Mapping
from functools import cache
from importlib import metadata
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

from selflong.globs import matching_files
from selflong.job import UserError
from selflong.recipe.weights import GgufWeights

IMPORTED = {
    "pipeline": ("snakemake", "polars", "pydantic", "faiss", "rensa", "seaborn"),
    "encoding": ("torch", "sentence_transformers", "faiss", "polars"),
    "synthesis": ("aiohttp", "polars", "transformers"),
    "training": ("torch", "deepspeed", "transformers", "safetensors", "ninja"),
    "evaluation": ("transformers", "polars", "nltk", "wonderwords"),
}
"""What each kind of job imports, wherever it runs."""

IMPORTED_ON_GPUS = {
    "training": ("flash_attn",),
    "synthesis": ("vllm",),
    "evaluation": ("vllm",),
}
"""And what it imports on GPUs."""


def _spec(package: str) -> ModuleSpec | None:
    try:
        return find_spec(package)
    except ValueError:  # of a module that was started, not imported
        return None


def absent(packages: Iterable[str]) -> list[str]:
    """Those of the packages that are not installed."""
    return [package for package in packages if _spec(package) is None]


def package_folder(package: str, distribution: str | None = None) -> Path:
    """The folder of an installed package; UserError where its distribution is not installed."""
    # Looking for a.b at once would import a.
    outer, *inner = package.split(".")
    found = _spec(outer)
    if found is not None and found.submodule_search_locations:
        folder = Path(next(iter(found.submodule_search_locations)), *inner)
        if folder.is_dir():
            return folder
    raise UserError(
        f"the package {distribution or package} is not installed: run `make setup`, "
        "or install it as envs/laptop-data.txt says"
    )


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
        such = f", such as {files[0].name}" if files else ""
        raise UserError(
            f"{weights.file!r} matches {len(files)} files in the package {weights.package}: "
            f"name one in the recipe's `file`{such}"
        )
    return files[0]


def find_encoder(package: str) -> Path:
    """The folder of the one sentence-transformers model (https://sbert.net) in an installed package."""
    found = matching_files(package_folder(package), "**/modules.json")
    if len(found) != 1:
        raise UserError(
            f"the package {package} holds {len(found)} sentence-transformers models (modules.json), not "
            "one: name another package, or the model's folder as weights of kind folder"
        )
    return found[0].parent
