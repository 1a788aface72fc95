"""A training stage on a site: its layout, its time, and how often its job must be started."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from selflong.cluster import asked, usable_seconds
from selflong.job import UserError
from selflong.plan import training
from selflong.plan.architecture import Architecture, architecture
from selflong.plan.data import stage_data
from selflong.plan.machines import Machine, choose_machine
from selflong.recipe.models import Stage
from selflong.recipe.recipe import Recipe
from selflong.recipe.site import Site, TrainingSite

STARTS = 4
"""A stage's start and end over another job's start: its ranks load DeepSpeed and the weights, and at the
end gather and write them."""
MORE_THAN_PLANNED = 2.0
"""How much longer than planned a stage may take before its job is given up."""
FAILURES = 3
"""Attempts beside: nodes fail."""


@dataclass(frozen=True)
class StagePlan:
    """What a stage takes."""

    seconds: float
    steps: int
    tokens: int
    fit: training.Fit
    best: training.Fit
    """The cheapest layout, whatever the site's."""


def model_shape(recipe: Recipe, model: str) -> Architecture:
    """Shape of a model: that of the weights that its chain starts from."""
    root = recipe.models[recipe.root(recipe.last_checkpoint(model))]
    assert root.weights is not None
    return architecture(root.weights)


def plan_stage(recipe: Recipe, site: Site, machine: Machine, model: str, stage: Stage) -> StagePlan:
    """Plan a stage that trains."""
    assert stage.mixture is not None and stage.global_batch_tokens is not None
    built = model_shape(recipe, model)
    steps = -(-stage.tokens // stage.global_batch_tokens)
    tokens = steps * stage.global_batch_tokens
    attended = stage_data(recipe, stage.mixture, stage.name).attended
    fit = fitted(built, stage, site, machine)
    devices = fit.nodes * machine.devices_per_node
    seconds = training.seconds_of(built, tokens, attended, machine, devices)
    return StagePlan(
        STARTS * machine.start_seconds + seconds, steps, tokens, fit,
        training.choose(built, stage.length, stage.sequences_per_step, machine),
    )  # fmt: skip


def fitted(built: Architecture, stage: Stage, site: Site, machine: Machine) -> training.Fit:
    """The cheapest layout that fits and agrees with the site.

    Where only the plan's machine has GPUs, the cheapest of that machine.
    """
    section = site.training
    if section.device == "cpu" and machine.devices_per_node > 2:
        return training.choose(built, stage.length, stage.sequences_per_step, machine)
    return training.first_fit(
        built, stage.length, _site_layouts(section, stage.sequences_per_step),
        section.nodes, machine, section.device,
    )  # fmt: skip


def _site_layouts(section: TrainingSite, sequences: int) -> Iterator[training.Parallelism]:
    """The layouts of the site's ranks, with what the site gives in place of what is tried."""
    for layout in training.layouts(section.ranks, sequences, section.device == "cuda"):
        given = section.ring * section.ulysses if section.ring else layout.sequence
        if given % section.ulysses == 0:
            yield replace(
                layout,
                sequence=given,
                zero_stage=section.zero_stage,
                activation_checkpointing=section.activation_checkpointing,
                offload_optimizer=_or(section.offload_optimizer, layout.offload_optimizer),
                offload_activations=_or(section.offload_activations, layout.offload_activations),
            )


def _or(given: bool | None, tried: bool) -> bool:
    return tried if given is None else given


def planned_site(recipe: Recipe, site: Site, checkpoint: str) -> TrainingSite:
    """The site of a stage's job: what it does not give of the layout is the plan's choice for the stage.

    Of a model whose shape the plan does not know all ranks share a sequence, and nothing is offloaded.
    """
    section, stage = site.training, recipe.stage(checkpoint)
    assert stage is not None
    try:
        built = model_shape(recipe, checkpoint.partition("/")[0])
    except UserError:
        return section
    layout = fitted(built, stage, site, choose_machine(recipe, site)).layout
    return section.model_copy(
        update={
            "ring": layout.sequence // section.ulysses,
            "offload_optimizer": layout.offload_optimizer,
            "offload_activations": layout.offload_activations,
        }
    )


def retries(recipe: Recipe, site: Site) -> int | None:
    """How often Snakemake submits a training job again: for each allocation that its longest stage needs.

    A job that nears its time limit requeues itself, which counts as no retry; a cluster that forbids this
    fails the job instead, and each allocation is a retry. None where the plan does not know a model.
    """
    machine = choose_machine(recipe, site)
    usable = usable_seconds(60 * asked(site, "training").minutes)
    allocations = 1
    try:
        for name, model in recipe.models.items():
            for stage in model.stages:
                if stage.tokens > 0:
                    planned = plan_stage(recipe, site, machine, name, stage).seconds
                    allocations = max(allocations, math.ceil(MORE_THAN_PLANNED * planned / usable))
    except UserError:
        return None
    return FAILURES + allocations - 1
