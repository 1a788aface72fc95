"""Mistakes that only recipe, site and this file system together show, each as one sentence.

They are said before the first job, all at once.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from selflong.job import UserError, disk_errors_as_sentences
from selflong.packages import find_encoder, find_gguf, package_folder
from selflong.placement.fit import trains_alone
from selflong.placement.layout import heads_divide
from selflong.recipe.loading import OVERRIDES
from selflong.recipe.recipe import Recipe
from selflong.recipe.site import JobKind, RemoteServing, Serving, Site
from selflong.recipe.weights import EndpointWeights, FolderWeights, GgufWeights, Price, Weights
from selflong.recipe.wording import nearest
from selflong.results import results_of
from selflong.run.contexts import beyond_contexts
from selflong.run.shapes import model_shape
from selflong.sources.conversations.section import ConversationSection
from selflong.sources.documents.section import DocumentSection

SUITABLE = {
    "llama_cpp": ("gguf",),
    "transformers": ("folder",),
    "vllm": ("folder", "hub"),
}
"""Kind of server -> kinds of weights that it serves; a remote endpoint serves what it has."""

Mistake = tuple[str, str]
"""The key that is wrong, and what is wrong with it."""
Look = Callable[[], object]
"""Raises UserError where something is wrong."""


def mistakes(
    recipe: Recipe, site: Site, given: Mapping[str, Any] | None = None, conda: bool = False
) -> Iterator[str]:
    """Sentences with the file that each is in.

    given: the part of the site that came with Snakemake's options. conda: jobs run in their rule's own
    environment, whose packages nobody sees from here.
    """
    for place, text in _of_site(recipe, site):
        blamed = OVERRIDES if _is_given(place, given or {}) else "config.yaml"
        yield f"{blamed}: {place}: {text}"
    for place, text in _of_recipe(recipe, site, conda):
        yield f"{site.recipes / recipe.name}.yaml: {place}: {text}"


def _is_given(place: str, given: Any) -> bool:
    for key in place.split("."):
        if not isinstance(given, Mapping) or key not in given:
            return False
        given = given[key]
    return True


# ------------------------------------------------------------------------------------------ the site


def _of_site(recipe: Recipe, site: Site) -> Iterator[Mistake]:
    yield from _places(recipe, site)
    yield from _generators(recipe, site)
    yield from _evaluation(recipe, site)
    yield from _endpoints(recipe, site)
    yield from _of_suites(recipe, site)
    yield from _ranks(recipe, site)
    yield from _heads(recipe, site)


def _places(recipe: Recipe, site: Site) -> Iterator[Mistake]:
    """Of folders that a run writes, and of what it takes from the site."""
    results = results_of(recipe, site)
    work, state = _real(site.work), site.work / recipe.name
    if work == _real(site.results):
        yield "work", f"{site.work} is the folder of the results too; give another one"
    for taken in (results.root, results.downloads):
        if work.is_relative_to(_real(taken)):
            yield "work", f"{site.work} lies among the results in {taken}; give another one"
    if _real(site.results).is_relative_to(_real(state)):
        yield (
            "results",
            f"{site.results} lies among what jobs resume from in {state}; give another one",
        )


def _real(path: Path) -> Path:
    """Where a path leads; of links in a circle, which whoever writes there says, the path itself."""
    return Path(os.path.realpath(path))


def _generators(recipe: Recipe, site: Site) -> Iterator[Mistake]:
    for name, generator in recipe.generators.items():
        place = f"generators.{name}"
        serving = site.generators.get(name)
        if serving is None:
            yield (
                place,
                _not_named(f"generator of recipe {recipe.name!r} is served", site.generators),
            )
        elif isinstance(serving, RemoteServing):
            yield from _budget(place, serving, generator.price, recipe, f"generators.{name}")
        elif generator.weights is None or generator.weights.kind not in SUITABLE[serving.kind]:
            kind = None if generator.weights is None else generator.weights.kind
            yield (
                f"{place}.kind",
                f"{serving.kind} serves weights of kind {' or '.join(SUITABLE[serving.kind])}, not {kind}, "
                f"as recipe {recipe.name!r} has",
            )


def _not_named(what: str, known: Mapping[str, Serving]) -> str:
    """That a section is missing, and which one may be it by another name."""
    others = f"; there are {', '.join(sorted(known))}" if known else ""
    return f"is missing; say how the {what}{others}"


def _budget(
    place: str, serving: RemoteServing, price: Price | None, recipe: Recipe, priced: str
) -> Iterator[Mistake]:
    if serving.budget_usd is not None and price is None:
        yield (
            f"{place}.budget_usd",
            f"has no price to count with: give {priced}.price in recipe {recipe.name!r}, or a budget_tokens "
            "instead",
        )


def _evaluation(recipe: Recipe, site: Site) -> Iterator[Mistake]:
    serving = site.evaluation
    if recipe.suites and "folder" not in SUITABLE.get(serving.kind, ("folder",)):
        yield "evaluation.kind", f"{serving.kind} serves no checkpoint; take vllm or transformers"
    for name, suite in recipe.suites.items():
        if isinstance(serving, RemoteServing) and suite.loads_checkpoints:
            yield (
                "evaluation.kind",
                f"suites.{name} of recipe {recipe.name!r} loads checkpoints itself, an endpoint gives none; "
                "take vllm or transformers",
            )


def _endpoints(recipe: Recipe, site: Site) -> Iterator[Mistake]:
    for name, model in recipe.models.items():
        weights = model.weights
        if not isinstance(weights, EndpointWeights):
            continue
        place = f"endpoints.{name}"
        serving = site.endpoints.get(name)
        if serving is None:
            yield place, _not_named(f"model of recipe {recipe.name!r} is reached", site.endpoints)
        else:
            yield from _budget(place, serving, weights.price, recipe, f"models.{name}.weights")


def _of_suites(recipe: Recipe, site: Site) -> Iterator[Mistake]:
    """Of the parts of a site that suites ask for; a plan needs none of them."""
    lost: dict[str, str] = {}
    for name, suite in recipe.suites.items():
        for place in suite.folders_of_site:
            folder = site.part(place)
            if folder is not None and not folder.is_dir():
                lost.setdefault(place, f"suites.{name} needs it, and {_lost(folder, 'folder')}")
    yield from lost.items()
    for name, suite in recipe.suites.items():
        for place, (model, price) in suite.asked_on_site.items():
            part, _, role = place.rpartition(".")
            serving = site.part(place)
            if serving is not None:
                yield from _budget(place, serving, price, recipe, f"suites.{name}.{role}")
            elif site.part(part) is not None:
                said = f"say where {model}, the {role} of suites.{name}, answers"
                yield place, f"is missing: {said}"


def _ranks(recipe: Recipe, site: Site) -> Iterator[Mistake]:
    training = site.training
    together = training.ring_degree * training.ulysses_degree
    trains = any(stage.tokens for model in recipe.models.values() for stage in model.stages)
    if trains and (training.ranks % together or together > training.ranks):
        place = "training.ring" if training.ring else "training.ulysses"
        yield (
            place,
            f"{training.ranks} ranks cannot be shared by ring {training.ring_degree} x ulysses "
            f"{training.ulysses_degree}; their product must divide nodes x ranks_per_node",
        )


def _heads(recipe: Recipe, site: Site) -> Iterator[Mistake]:
    """The first model whose heads the site's ranks cannot share, as far as shapes are known by now."""
    ulysses = site.training.ulysses_degree
    for name, model in recipe.models.items():
        try:
            trained = ulysses > 1 and any(stage.tokens for stage in model.stages)
            shape = model_shape(recipe, site, name) if trained else None
        except UserError:
            continue  # whoever loads it says what is wrong
        if shape is None or trains_alone(site.training, shape):
            continue
        if not heads_divide(ulysses, shape.heads, shape.key_value_heads):
            yield (
                "training.ulysses",
                f"{ulysses} ranks cannot share the {shape.heads} attention heads and "
                f"{shape.key_value_heads} key-value heads of {name}; give a divisor of both, or use "
                "training.ring",
            )
            return


# ---------------------------------------------------------------------------------------- the recipe


def _of_recipe(recipe: Recipe, site: Site, conda: bool) -> Iterator[Mistake]:
    """What a recipe names and is not on this file system or in this Python, or is too long for its models."""
    here = (
        (place, look)
        for place, kind, look in _packages(recipe)
        if not conda and kind not in site.python
    )
    for place, look in chain(_folders(recipe), _files(recipe), here):
        try:
            with disk_errors_as_sentences():
                look()
        except UserError as mistake:
            yield place, str(mistake)
    yield from beyond_contexts(recipe, site)


def _weights(recipe: Recipe) -> Iterator[tuple[str, Weights | str | None]]:
    for name, model in recipe.models.items():
        yield f"models.{name}.weights", model.weights
    for name, generator in recipe.generators.items():
        yield f"generators.{name}.weights", generator.weights
    for name, encoder in recipe.encoders.items():
        yield f"encoders.{name}.weights", encoder.weights


def _entries(recipe: Recipe) -> Iterator[tuple[str, ConversationSection]]:
    for name, mixture in recipe.mixtures.items():
        for entry, section in mixture.entries.items():
            yield f"mixtures.{name}.entries.{entry}.source", section.source


def _documents(recipe: Recipe) -> Iterator[tuple[str, DocumentSection]]:
    for name, corpus in recipe.corpora.items():
        for number, source in enumerate(corpus.sources):
            yield f"corpora.{name}.sources[{number}]", source


def _folders(recipe: Recipe) -> Iterator[tuple[str, Look]]:
    """Folders of the user's."""
    for place, weights in _weights(recipe):
        if isinstance(weights, FolderWeights):
            wanted = "modules.json" if place.startswith("encoders.") else "config.json"
            yield f"{place}.path", partial(_model, weights.path, wanted)
        elif isinstance(weights, EndpointWeights) and weights.folder is not None:
            yield f"{place}.tokenizer.path", partial(_folder, weights.folder)
    for name, suite in recipe.suites.items():
        if suite.folder is not None:
            yield f"suites.{name}.task_files", partial(_folder, suite.folder)


def _files(recipe: Recipe) -> Iterator[tuple[str, Look]]:
    """Files of the user's."""
    for place, documents in _documents(recipe):
        yield place, partial(getattr, documents, "inputs")
    for place, source in _entries(recipe):
        if source.folder is not None:
            yield place, partial(source.input_files, [source.folder])
    for name, suite in recipe.suites.items():
        for setting, path in suite.named_files.items():
            yield f"suites.{name}.files.{setting}", partial(_file, path)


def _packages(recipe: Recipe) -> Iterator[tuple[str, JobKind, Look]]:
    """Packages that carry weights or texts, with the kind of job that reads them."""
    for place, weights in _weights(recipe):
        if isinstance(weights, GgufWeights):
            kind: JobKind = "synthesis" if place.startswith("generators.") else "training"
            yield place, kind, partial(find_gguf, weights)
        elif isinstance(weights, str):
            yield place, "encoding", partial(find_encoder, weights.removeprefix("package:"))
    readers: Iterator[tuple[str, DocumentSection | ConversationSection]]
    readers = chain(_documents(recipe), _entries(recipe))
    for place, source in readers:
        for package in source.packages:
            yield f"{place}.reader", "pipeline", partial(package_folder, package)


def _folder(path: Path) -> Path:
    """The folder; UserError where there is none."""
    if not path.is_dir():
        raise UserError(_lost(path, "folder"))
    return path


def _file(path: Path) -> None:
    if not path.is_file():
        raise UserError(_lost(path, "file"))


def _model(folder: Path, wanted: str) -> None:
    if not (_folder(folder) / wanted).is_file():
        raise UserError(f"{folder} holds no {wanted}; name the folder of a model")


def _lost(path: Path, what: str) -> str:
    """That a path leads to no file or folder, and which one beside it may be meant."""
    within = "" if path.is_absolute() else f" in {Path.cwd()}"
    beside = path.parent.iterdir() if path.parent.is_dir() else []
    near = nearest(path.name, (found.name for found in beside))
    if path.exists() or near is None:
        return f"{path} is no {what}{within}; name an existing one"
    return f"{path} is no {what}{within}; did you mean {path.parent / near}?"
