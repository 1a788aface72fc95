"""Mistakes that only recipe and site together show, each as one sentence, before the first job."""

from collections.abc import Iterator

from selflong.job import UserError
from selflong.packages import find_gguf
from selflong.recipe.recipe import Recipe
from selflong.recipe.site import RemoteServing, Serving, Site
from selflong.recipe.weights import EndpointWeights, GgufWeights, Weights
from selflong.suites.helmet.section import Helmet

SUITABLE = {
    "llama_cpp": ("gguf",),
    "transformers": ("folder",),
    "vllm": ("folder", "hub"),
}
"""Kind of server -> kinds of weights that it serves; a remote endpoint serves what it has."""


def mistakes(recipe: Recipe, site: Site) -> Iterator[str]:
    """Sentences without the name of the file; the key says where they belong."""
    if site.results.resolve() == site.work.resolve():
        yield f"config.yaml: work: {site.work} is the folder of the results too; give another one"
    yield from _generators(recipe, site)
    yield from _evaluation(recipe, site)
    yield from _endpoints(recipe, site)
    yield from _helmet(recipe, site)
    yield from _ranks(recipe, site)
    yield from _packages(recipe)


def _generators(recipe: Recipe, site: Site) -> Iterator[str]:
    for name, generator in recipe.generators.items():
        place = f"config.yaml: generators.{name}"
        serving = site.generators.get(name)
        if serving is None:
            yield f"{place}: is missing; say how the generator of recipe {recipe.name!r} is served"
        elif isinstance(serving, RemoteServing):
            if serving.budget_usd is not None and generator.price is None:
                yield (
                    f"{place}.budget_usd has no price to count with: give generators.{name}.price in "
                    f"recipe {recipe.name!r}, or a budget_tokens instead"
                )
        elif not _serves(serving, generator.weights):
            kind = None if generator.weights is None else generator.weights.kind
            yield (
                f"{place}.kind: {serving.kind} serves weights of kind {_kinds(serving)}, not {kind}, "
                f"as recipe {recipe.name!r} has"
            )


def _serves(serving: Serving, weights: Weights | None) -> bool:
    return weights is not None and weights.kind in SUITABLE[serving.kind]


def _kinds(serving: Serving) -> str:
    return " or ".join(SUITABLE[serving.kind])


def _evaluation(recipe: Recipe, site: Site) -> Iterator[str]:
    serving = site.evaluation
    if recipe.suites and "folder" not in SUITABLE.get(serving.kind, ("folder",)):
        yield f"config.yaml: evaluation.kind: {serving.kind} serves no checkpoint; take vllm or transformers"


def _endpoints(recipe: Recipe, site: Site) -> Iterator[str]:
    for name, model in recipe.models.items():
        weights = model.weights
        if not isinstance(weights, EndpointWeights):
            continue
        place = f"config.yaml: endpoints.{name}"
        serving = site.endpoints.get(name)
        if serving is None:
            yield f"{place}: is missing; say where the model of recipe {recipe.name!r} answers"
        elif serving.budget_usd is not None and weights.price is None:
            yield (
                f"{place}.budget_usd has no price to count with: give models.{name}.weights.price in "
                f"recipe {recipe.name!r}, or a budget_tokens instead"
            )


def _helmet(recipe: Recipe, site: Site) -> Iterator[str]:
    """Of a site that has HELMET; a plan needs none."""
    helmet = site.helmet
    suites = {name: suite for name, suite in recipe.suites.items() if isinstance(suite, Helmet)}
    if helmet is None or not suites:
        return
    if not helmet.checkout.is_dir():
        yield f"config.yaml: helmet.checkout: {helmet.checkout} does not exist; name HELMET's folder"
    for name, suite in suites.items():
        if suite.judge is None:
            continue
        if helmet.judge is None:
            yield (
                f"config.yaml: helmet.judge is missing: say where {suite.judge.model}, the judge of "
                f"suites.{name}, answers"
            )
        elif helmet.judge.budget_usd is not None and suite.judge.price is None:
            yield (
                f"config.yaml: helmet.judge.budget_usd has no price to count with: give "
                f"suites.{name}.judge.price in recipe {recipe.name!r}, or a budget_tokens instead"
            )


def _ranks(recipe: Recipe, site: Site) -> Iterator[str]:
    training = site.training
    together = training.ring_degree * training.ulysses_degree
    trains = any(stage.tokens for model in recipe.models.values() for stage in model.stages)
    if trains and (training.ranks % together or together > training.ranks):
        yield (
            f"config.yaml: training.ring: {training.ranks} ranks cannot be shared by ring "
            f"{training.ring_degree} x ulysses {training.ulysses_degree}; their product must divide "
            "nodes x ranks_per_node"
        )


def _packages(recipe: Recipe) -> Iterator[str]:
    """Packages that carry weights, found without importing them."""
    weights = {f"models.{name}": model.weights for name, model in recipe.models.items()}
    weights |= {f"generators.{name}": item.weights for name, item in recipe.generators.items()}
    for place, section in weights.items():
        if isinstance(section, GgufWeights):
            try:
                find_gguf(section)
            except UserError as mistake:
                yield f"recipe {recipe.name}: {place}.weights: {mistake}"
