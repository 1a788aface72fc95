"""A training stage on a site: its layout, its time, and how often its job must be started."""

import math
from dataclasses import dataclass, replace

from selflong.cluster import WARNING_SECONDS, asked, usable_seconds
from selflong.estimate.balance import STEPS, packed_documents, useful_share
from selflong.estimate.data_stages import stage_data
from selflong.job import UserError
from selflong.placement.fit import Fit, choose, site_fit
from selflong.placement.layout import Parallelism, shared_heads
from selflong.placement.machines import Machine, Speed, choose_machine
from selflong.placement.memory import OPTIMIZER_BYTES, kept_bytes, layer_bytes
from selflong.placement.shapes import Architecture
from selflong.recipe.models import Stage
from selflong.recipe.recipe import Recipe
from selflong.recipe.site import Site
from selflong.run.shapes import model_shape

STARTS = 4
"""A stage's start and end over another job's start: its ranks load DeepSpeed and the weights, and at the
end gather and write them."""
MORE_THAN_ESTIMATED = 2.0
"""How much longer than estimated a stage may take before its job is given up."""
FAILURES = 3
"""Attempts beside: nodes fail."""


@dataclass(frozen=True)
class StageEstimate:
    """What a training stage takes."""

    seconds: float
    steps: int
    tokens: int
    fit: Fit
    best: Fit
    """The cheapest layout, whatever the site's."""


def estimate_stage(
    recipe: Recipe, site: Site, machine: Machine, model: str, stage: Stage
) -> StageEstimate:
    """Estimate a stage that trains."""
    assert stage.mixture is not None and stage.global_batch_tokens is not None
    built = model_shape(recipe, site, model)
    steps = -(-stage.tokens // stage.global_batch_tokens)
    tokens = steps * stage.global_batch_tokens
    best = choose(built, stage.length, stage.sequences_per_step, machine)
    # Where only the machine that is counted with has GPUs, the site's layout says nothing about it.
    elsewhere = machine.has_gpus and site.training.device == "cpu"
    fit = best if elsewhere else site_fit(built, stage, site.training, machine)
    attended = stage_data(recipe, stage.mixture, stage.name).attended
    # A site's CPU says nothing of the machine that is counted with.
    ranks = fit.nodes * machine.devices_per_node
    layout = replace(fit.layout, ranks=ranks)
    useful = stage_share(recipe, stage, built, layout, machine) if machine.has_gpus else 1.0
    seconds = seconds_of(built, tokens, attended, machine, layout, useful)
    _check_time_limit(site, machine, f"{model}/{stage.name}", built, seconds / steps)
    return StageEstimate(STARTS * machine.start_seconds + seconds, steps, tokens, fit, best)


MOST_SEQUENCES = 1024
"""Of a step that are drawn: ranks share so many evenly, and more."""


def stage_share(
    recipe: Recipe, stage: Stage, model: Architecture, layout: Parallelism, machine: Machine
) -> float:
    """The share of attention's time that a stage's ranks do not wait for each other."""
    assert stage.mixture is not None
    data = layout.ranks // layout.sequence
    per_node = machine.devices_per_node
    ulysses = layout.ulysses or shared_heads(
        layout.sequence, model.heads, model.key_value_heads, per_node
    )
    ring = layout.sequence // ulysses
    if ring == data == 1:
        return 1.0
    size = min(stage.sequences_per_step, MOST_SEQUENCES)
    return useful_share(
        packed_documents(recipe, stage.mixture, stage.name, STEPS * size), size, ring, data
    )


def _save_seconds(built: Architecture, machine: Machine) -> float:
    """To write a state: float32 weights and two moments, by all nodes to one file system."""
    return OPTIMIZER_BYTES * built.parameters / machine.disk_bandwidth


def _check_time_limit(
    site: Site, machine: Machine, checkpoint: str, built: Architecture, step_seconds: float
) -> None:
    """UserError where an allocation ends before a step is done and saved: the stage would never end."""
    elsewhere = machine.has_gpus and site.training.device == "cpu"
    if "training" not in site.resources or elsewhere:
        return
    needed = machine.start_seconds + step_seconds + 2 * _save_seconds(built, machine)
    limit = 60 * site.resources["training"].minutes
    if limit < needed:
        raise UserError(
            f"resources.training.minutes: {limit // 60} end before {checkpoint} has started, done a step "
            f"of {step_seconds:.0f} s and saved it; give at least {math.ceil(1.5 * needed / 60)}"
        )


def warning_seconds(recipe: Recipe, site: Site, checkpoint: str) -> float:
    """How long before its time limit a stage's job must be told to save: a micro-batch and a save, at twice
    their estimated time. The default where the shape of the model is not known."""
    stage = recipe.stage(checkpoint)
    assert stage is not None
    machine = choose_machine(recipe, site)
    name = checkpoint.partition("/")[0]
    try:
        built = model_shape(recipe, site, name)
    except UserError:
        return WARNING_SECONDS
    estimate = estimate_stage(recipe, site, machine, name, stage)
    layout = estimate.fit.layout
    slots = -(-stage.sequences_per_step // (layout.ranks // layout.sequence))
    micro_batch = (estimate.seconds - STARTS * machine.start_seconds) / estimate.steps / slots
    return float(math.ceil(max(WARNING_SECONDS, 2 * (micro_batch + _save_seconds(built, machine)))))


def step_flops(model: Architecture, tokens: float, attended: float) -> float:
    """Model FLOPs of forward and backward."""
    return 3 * model.forward_flops(tokens, attended)


def seconds_of(
    model: Architecture,
    tokens: float,
    attended: float,
    machine: Machine,
    layout: Parallelism,
    useful: float = 1.0,
) -> float:
    """Time to train on `tokens`, each of which looks back at `attended`; ranks compute attention for the
    share `useful` of their time, and wait for each other else."""
    speed = machine.training
    if isinstance(speed, float):
        flops = step_flops(model, tokens, attended)
        return flops / (layout.ranks * machine.flops * speed)
    return (
        tokens / layout.ranks * sum(token_seconds(model, attended, speed, layout, useful).values())
    )


def computed_again(layer: float, matrix: float, whole: bool, tiles: int) -> float:
    """Parameters with which a layer's backward pass computes once more; an MLP's matrix has `matrix` of them.

    whole: the layer keeps its input alone. It is then computed up to the input of its last product, whose
    output no gradient needs; so is each of the MLP's tiles, in the layer and by itself.
    """
    if tiles == 1:
        return layer - matrix if whole else 0.0
    return (layer - 3 * matrix / tiles if whole else 0.0) + 2 * matrix


def token_seconds(
    model: Architecture, attended: float, speed: Speed, layout: Parallelism, useful: float
) -> dict[str, float]:
    """Of one device and one of its tokens, by what the time goes to.

    The backward pass of attention has 2.5 times the products of the forward pass (arXiv 2307.08691, section
    2.3), that of a dense layer twice. Each activation that a layer keeps is written once and read twice in
    each of its passes. Ulysses exchanges queries, keys, values and the output, and their gradients. What
    goes to the node's memory and back goes there in the stream that computes.
    """
    again = 1 if layout.activation_checkpointing else 0
    kept = layout.keep_attention or not again
    forward = 4 * model.attention_width * attended
    attention = (1 if kept else 2) * forward / speed.kernel.forward
    attention += 2.5 * forward / speed.kernel.backward
    repeated = computed_again(
        model.layer_parameters,
        model.hidden * model.intermediate,
        layout.activation_checkpointing,
        layout.mlp_tiles,
    )
    exchanged = 2 * (2 + again) * 2 * (model.attention_width + model.key_value_width)
    away = model.layers - (layout.resident_layers or 0) if layout.offload_activations else 0
    offloaded = 2 * kept_bytes(model, 1, layout) * away / model.layers
    of_layer = {
        "attention": attention / useful,
        "dense layers": 6 * model.layer_parameters / speed.dense,
        "dense layers again": 2 * repeated / speed.dense,
        "activations": 3 * (2 + again) * layer_bytes(model, 1) / speed.memory,
        "exchange": exchanged * (1 - 1 / layout.sequence) / speed.link,
        "offloading": offloaded / speed.host,
    }
    return {
        **{name: model.layers * seconds for name, seconds in of_layer.items()},
        "output layer": 6 * model.embedding_parameters / speed.dense,
    }


def utilisation(
    model: Architecture,
    attended: float,
    machine: Machine,
    layout: Parallelism,
    useful: float = 1.0,
) -> float:
    """Causal model FLOPs over what the devices' peak would do in the same time."""
    seconds = seconds_of(model, layout.ranks, attended, machine, layout, useful)
    return step_flops(model, layout.ranks, attended) / (seconds * layout.ranks * machine.flops)


def retries(recipe: Recipe, site: Site) -> int | None:
    """How often Snakemake submits a training job again: for each allocation that its longest stage needs.

    A job that nears its time limit requeues itself, which counts as no retry; a cluster that forbids this
    fails the job instead, and each allocation is a retry. None where the shape of a model is not known.
    """
    machine = choose_machine(recipe, site)
    usable = usable_seconds(60 * asked(site, "training").minutes)
    allocations = 1
    for name, model in recipe.models.items():
        for stage in (stage for stage in model.stages if stage.tokens > 0):
            try:
                model_shape(recipe, site, name)
            except UserError:
                return None
            seconds = estimate_stage(recipe, site, machine, name, stage).seconds
            allocations = max(allocations, math.ceil(MORE_THAN_ESTIMATED * seconds / usable))
    return FAILURES + allocations - 1
