"""A training stage on a site: its layout, its time, and how often its job must be started."""

import math
from dataclasses import dataclass

from selflong.cluster import asked, usable_seconds
from selflong.job import UserError
from selflong.plan import training
from selflong.plan.architecture import Architecture, architecture
from selflong.plan.data import stage_data
from selflong.plan.machines import Machine, choose_machine
from selflong.recipe import Recipe, Site, Stage

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
        training.choose(built, stage.length, machine),
    )  # fmt: skip


def fitted(built: Architecture, stage: Stage, site: Site, machine: Machine) -> training.Fit:
    """The site's layout; the cheapest that fits where only the plan's machine has GPUs."""
    section = site.training
    if section.device == "cpu" and machine.devices_per_node > 2:
        return training.choose(built, stage.length, machine)
    layout = training.Parallelism(
        section.ranks, section.ring_degree * section.ulysses, section.zero_stage,
        section.offload_optimizer, section.offload_activations,
    )  # fmt: skip
    need = training.memory(built, stage.length, layout, section.device)
    return training.Fit(layout, need, section.nodes, need.total <= machine.usable_memory)


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
