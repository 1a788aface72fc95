"""A training stage on a site: its layout, its time, and how often its job must be started."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from selflong.cluster import WARNING_SECONDS, asked, usable_seconds
from selflong.job import UserError
from selflong.plan import training
from selflong.plan.architecture import Architecture, architecture
from selflong.plan.data import stage_data
from selflong.plan.machines import Machine, choose_machine
from selflong.recipe import Recipe, Site, Stage, TrainingSite

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
    _check_time_limit(site, machine, f"{model}/{stage.name}", built, seconds / steps)
    return StagePlan(
        STARTS * machine.start_seconds + seconds, steps, tokens, fit,
        training.choose(built, stage.length, stage.sequences_per_step, machine),
    )  # fmt: skip


def _save_seconds(built: Architecture, machine: Machine) -> float:
    """To write a state: float32 weights and two moments, by all nodes to one file system."""
    return 12 * built.parameters / machine.disk_bandwidth


def _check_time_limit(
    site: Site, machine: Machine, checkpoint: str, built: Architecture, step_seconds: float
) -> None:
    """Raise UserError where an allocation ends before a step is done and saved: the stage would never end."""
    other_machine = site.training.device == "cpu" and machine.devices_per_node > 2
    if "training" not in site.resources or other_machine:
        return
    needed = machine.start_seconds + step_seconds + 2 * _save_seconds(built, machine)
    limit = 60 * site.resources["training"].minutes
    if limit < needed:
        raise UserError(
            f"resources.training.minutes: {limit // 60} end before {checkpoint} has started, done a step of "
            f"{step_seconds:.0f} s and saved it; give at least {math.ceil(1.5 * needed / 60)}"
        )


def warning_seconds(recipe: Recipe, site: Site, checkpoint: str) -> float:
    """How long before its time limit a stage's job must be told to save: a micro-batch and a save, at twice
    their planned time. The default where the plan does not know the model."""
    stage = recipe.stage(checkpoint)
    assert stage is not None
    if stage.tokens == 0:
        return WARNING_SECONDS
    machine = choose_machine(recipe, site)
    name = checkpoint.partition("/")[0]
    try:
        built = model_shape(recipe, name)
        plan = plan_stage(recipe, site, machine, name, stage)
    except UserError:
        return WARNING_SECONDS
    layout = plan.fit.layout
    slots = -(-stage.sequences_per_step // (layout.ranks // layout.sequence))
    micro_batch = (plan.seconds - STARTS * machine.start_seconds) / plan.steps / slots
    return max(WARNING_SECONDS, 2 * (micro_batch + _save_seconds(built, machine)))


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
        given = section.ring * section.ulysses_degree if section.ring else layout.sequence
        if given % section.ulysses_degree == 0:
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
    ulysses = section.ulysses_degree
    if section.ring is None and section.ulysses is None:
        ulysses = training.shared_heads(
            layout.sequence, built.heads, built.key_value_heads, section.ranks_per_node
        )
    return section.model_copy(
        update={
            "ring": layout.sequence // ulysses,
            "ulysses": ulysses,
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
