"""What this machine lacks for jobs that are about to start: keys, packages, parts of the user's own models.

Each is one sentence. A dry run and a plan go without them; a run is refused before its first job.
"""

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selflong.job import UserError
from selflong.llm.keys import api_key
from selflong.packages import IMPORTED, absent
from selflong.recipe.recipe import Recipe
from selflong.recipe.section import Section
from selflong.recipe.site import JobKind, RemoteServing, Serving, Site
from selflong.recipe.weights import EndpointWeights, FolderWeights

KINDS: dict[str, JobKind] = {
    "embed_documents": "encoding",
    "retrieve": "encoding",
    "write_instructions": "synthesis",
    "answer_instructions": "synthesis",
    "backtranslate": "synthesis",
    "write_document_tasks": "synthesis",
    "write_multi_hop": "synthesis",
    "train_stage": "training",
    "evaluate": "evaluation",
}
"""Rule whose jobs need more than the project's own requirements -> the kind of its jobs."""

SERVERS = {
    "llama_cpp": ("xllamacpp",),
    "transformers": ("torch", "transformers"),
    "vllm": ("vllm",),
    "remote": (),
}
"""Kind of serving -> packages that its server imports."""

PARTS = {
    "weights": ("*.safetensors", "pytorch_model*.bin"),
    "tokenizer": ("tokenizer.json", "*.model", "vocab*", "tekken.json"),
}
"""What a model's folder holds beside its configuration -> names of the files."""


@dataclass(frozen=True)
class Uses:
    """What jobs need of a machine."""

    kinds: frozenset[JobKind]
    generators: frozenset[str]
    asked: frozenset[tuple[str, str]]
    """Suite and model."""
    loaded: frozenset[str] = frozenset()
    """Models whose weights are loaded."""


def uses_of_recipe(recipe: Recipe) -> Uses:
    """Of all jobs of a recipe."""
    parts: dict[JobKind, object] = {
        "encoding": recipe.synthesis,
        "synthesis": recipe.generators,
        "training": any(stage.tokens for model in recipe.models.values() for stage in model.stages),
        "evaluation": recipe.suites,
    }
    asked = (
        (name, reference.partition("/")[0])
        for name, suite in recipe.suites.items()
        for reference in suite.models
    )
    kinds = frozenset(kind for kind, part in parts.items() if part)
    return Uses(kinds, frozenset(recipe.generators), frozenset(asked), frozenset(recipe.models))


def uses_of_jobs(jobs: Iterable[Any]) -> Uses:
    """Of Snakemake's jobs, by their rules and wildcards."""
    kinds: set[JobKind] = set()
    generators: set[str] = set()
    asked: set[tuple[str, str]] = set()
    loaded: set[str] = set()
    for job in jobs:
        if job.rule.name == "load_model":
            loaded.add(job.wildcards.model)
        kind = KINDS.get(job.rule.name)
        if kind is None:
            continue
        kinds.add(kind)
        if kind == "synthesis":
            generators.add(job.wildcards.generator)
        elif kind == "evaluation":
            asked.add((job.wildcards.suite, job.wildcards.model))
    return Uses(frozenset(kinds), frozenset(generators), frozenset(asked), frozenset(loaded))


def lacking(recipe: Recipe, site: Site, uses: Uses, conda: bool = False) -> Iterator[str]:
    """Sentences for what this machine lacks.

    conda: jobs run in their rule's own environment, whose packages nobody sees from here.
    """
    named: dict[str, Section] = {
        place: serving for place, (_, serving) in _servings(recipe, site, uses).items()
    }
    for name in sorted({suite for suite, _ in uses.asked}):
        for place in recipe.suites[name].needs_of_site:
            found = site.part(place)
            if found is None:
                yield f"config.yaml: {place}: is missing; suites.{name} of recipe {recipe.name!r} needs it"
            else:
                named[place] = found
    for place, section in named.items():
        if isinstance(section, RemoteServing):
            try:
                api_key(section)
            except UserError as mistake:
                yield f"config.yaml: {place}.api_key_variable: {mistake}"
    if "training" in uses.kinds and site.training.nodes > 1 and shutil.which("srun") is None:
        yield (
            f"config.yaml: training.nodes: {site.training.nodes} nodes need SLURM, whose srun is not on PATH"
        )
    for place, text in _model_folders(recipe, uses):
        yield f"{site.recipes / recipe.name}.yaml: {place}: {text}"
    if not conda:
        yield from _packages(recipe, site, uses)


def _model_folders(recipe: Recipe, uses: Uses) -> Iterator[tuple[str, str]]:
    """Of the user's own; a plan needs no more of them than their configuration."""
    weights = {f"models.{name}": recipe.models[name].weights for name in sorted(uses.loaded)}
    for name in sorted(uses.generators):
        weights[f"generators.{name}"] = recipe.generators[name].weights
    for place, found in weights.items():
        if isinstance(found, FolderWeights):
            for part in PARTS:
                yield from _without(part, found.path, f"{place}.weights.path")
        elif isinstance(found, EndpointWeights) and found.folder is not None:
            yield from _without("tokenizer", found.folder, f"{place}.weights.tokenizer.path")


def _without(part: str, folder: Path, place: str) -> Iterator[tuple[str, str]]:
    if not any(any(folder.glob(name)) for name in PARTS[part]):
        listed = ", ".join(PARTS[part])
        yield place, f"{folder} holds no {part} ({listed}); name the whole folder of a model"


def _servings(recipe: Recipe, site: Site, uses: Uses) -> dict[str, tuple[JobKind, Serving]]:
    """Place in the site -> the kind of the jobs that ask, and how what they ask is served."""
    found: dict[str, tuple[JobKind, Serving]] = {}
    for name in sorted(uses.generators):
        found[f"generators.{name}"] = ("synthesis", site.generators[name])
    for suite, model in sorted(uses.asked):
        if isinstance(recipe.models[model].weights, EndpointWeights):
            found[f"endpoints.{model}"] = ("evaluation", site.endpoints[model])
        elif recipe.suites[suite].own_precision is None:
            found["evaluation"] = ("evaluation", site.evaluation)
    return found


def _packages(recipe: Recipe, site: Site, uses: Uses) -> Iterator[str]:
    """Of the Python of each kind of job; what one has that is not Snakemake's nobody sees from here."""
    for kind in sorted(uses.kinds & set(site.python)):
        if shutil.which(site.python[kind]) is None:
            yield f"config.yaml: python.{kind}: {site.python[kind]} is no program that can be started"
    for kind in sorted(uses.kinds - set(site.python)):
        wanted = list(IMPORTED[kind])
        for of, serving in _servings(recipe, site, uses).values():
            wanted += SERVERS[serving.kind] if of == kind else ()
        if kind == "evaluation":
            for suite, _ in sorted(uses.asked):
                wanted += recipe.suites[suite].packages
        if kind == "training" and site.tracking is not None:
            wanted.append(site.tracking.kind)
        if lost := absent(dict.fromkeys(wanted)):
            yield (
                f"config.yaml: python.{kind}: {', '.join(lost)} cannot be imported where Snakemake runs: "
                f"install what envs/README.md names for jobs of kind {kind}, or give the Python that has it"
            )
