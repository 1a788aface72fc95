"""What this machine lacks for jobs that are about to start: keys and packages, each as one sentence.

A dry run and a plan go without them; a run is refused before its first job.
"""

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from selflong.job import UserError
from selflong.llm.keys import api_key
from selflong.packages import IMPORTED, absent
from selflong.recipe.recipe import Recipe
from selflong.recipe.section import Section
from selflong.recipe.site import JobKind, RemoteServing, Serving, Site
from selflong.recipe.weights import EndpointWeights

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


@dataclass(frozen=True)
class Uses:
    """What jobs need of a machine."""

    kinds: frozenset[JobKind]
    generators: frozenset[str]
    asked: frozenset[tuple[str, str]]
    """Suite and model."""


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
    return Uses(kinds, frozenset(recipe.generators), frozenset(asked))


def uses_of_jobs(jobs: Iterable[Any]) -> Uses:
    """Of Snakemake's jobs, by their rules and wildcards."""
    kinds: set[JobKind] = set()
    generators: set[str] = set()
    asked: set[tuple[str, str]] = set()
    for job in jobs:
        kind = KINDS.get(job.rule.name)
        if kind is None:
            continue
        kinds.add(kind)
        if kind == "synthesis":
            generators.add(job.wildcards.generator)
        elif kind == "evaluation":
            asked.add((job.wildcards.suite, job.wildcards.model))
    return Uses(frozenset(kinds), frozenset(generators), frozenset(asked))


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
    if not conda:
        yield from _packages(recipe, site, uses)


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
