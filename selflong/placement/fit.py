"""The layout of a stage on a site: the cheapest that its devices hold."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from selflong.job import UserError
from selflong.placement.layout import (
    Parallelism,
    even_sequence,
    layouts,
    shared_heads,
)
from selflong.placement.machines import TWO_CORES, Machine, choose_machine
from selflong.placement.memory import (
    Memory,
    Offloaded,
    memory,
    offloaded,
    roomy_loss_rows,
    spare_layers,
)
from selflong.placement.shapes import Architecture, architecture
from selflong.recipe.models import Stage
from selflong.recipe.recipe import Recipe
from selflong.recipe.site import Site, TrainingSite

T = TypeVar("T")

NODE_COUNTS = (1, 2, 4, 8)
ALONE = 10_000_000
"""Parameters of a model whose step one core computes sooner than two have exchanged it: 0.17 s beside
0.4 s for the recall study's 0.4M."""


@dataclass(frozen=True)
class Fit:
    """A layout and what it needs."""

    layout: Parallelism
    memory: Memory
    nodes: int
    fits: bool
    offloaded: Offloaded
    """Of each device."""


def first_fit(
    model: Architecture,
    length: int,
    tried: Iterable[Parallelism],
    nodes: int,
    machine: Machine,
    device: str = "cuda",
) -> Fit:
    """The first layout whose devices hold the stage; the last where none does. Of a layout that offloads
    activations as many layers keep theirs on the device as it has room for."""
    fit = None
    for layout in tried:
        fit = _fit(model, length, nodes, layout, machine, device)
        if fit.fits:
            break
    assert fit is not None
    layout = fit.layout
    if not (fit.fits and layout.offload_activations and layout.resident_layers is None):
        return fit
    tokens = -(-length // layout.sequence)
    layers = spare_layers(model, tokens, layout, fit.memory, machine.usable_memory)
    return _fit(model, length, nodes, replace(layout, resident_layers=layers), machine, device)


def _fit(
    model: Architecture,
    length: int,
    nodes: int,
    layout: Parallelism,
    machine: Machine,
    device: str,
) -> Fit:
    need = memory(model, length, layout, device)
    fits = need.total <= machine.usable_memory
    return Fit(layout, need, nodes, fits, offloaded(model, length, layout))


def choose(model: Architecture, length: int, sequences: int, machine: Machine) -> Fit:
    """The cheapest layout on the fewest nodes that hold the stage; the largest tried where none does."""
    for nodes in NODE_COUNTS:
        per_node = machine.devices_per_node
        even = even_sequence(length, model.heads, model.key_value_heads, per_node)
        tried = layouts(nodes * per_node, sequences, least=even)
        fit = first_fit(model, length, tried, nodes, machine)
        if fit.fits:
            break
    return fit


def longest(model: Architecture, devices: int, machine: Machine, step: int = 2**13) -> int:
    """The longest sequence that so many devices hold in the leanest layout that is tried, in whole `step`s.
    What the nodes' own memory holds is not looked at."""
    *_, layout = layouts(devices, 1)
    low, high = 0, 2**30 // step
    while low < high:
        middle = (low + high + 1) // 2
        if memory(model, middle * step, layout).total <= machine.usable_memory:
            low = middle
        else:
            high = middle - 1
    return low * step


def site_fit(built: Architecture, stage: Stage, section: TrainingSite, machine: Machine) -> Fit:
    """The cheapest layout that fits and agrees with the site."""
    return first_fit(
        built, stage.length, _site_layouts(built, stage, section),
        section.nodes, machine, section.device,
    )  # fmt: skip


def _site_layouts(
    built: Architecture, stage: Stage, section: TrainingSite
) -> Iterator[Parallelism]:
    """The layouts of the site's ranks, with what the site gives in place of what is tried."""
    gpus, even = section.device == "cuda", 1
    if gpus and section.ulysses is None:
        even = even_sequence(
            stage.length, built.heads, built.key_value_heads, section.ranks_per_node
        )
    for layout in layouts(section.ranks, stage.sequences_per_step, gpus, even):
        given = section.ring * section.ulysses_degree if section.ring else layout.sequence
        if given % section.ulysses_degree == 0:
            yield replace(
                layout,
                sequence=given,
                ulysses=section.ulysses_degree if section.ring else section.ulysses,
                zero_stage=section.zero_stage,
                activation_checkpointing=section.activation_checkpointing,
                keep_attention=_or(section.keep_attention, layout.keep_attention),
                offload_optimizer=_or(section.offload_optimizer, layout.offload_optimizer),
                offload_activations=_or(section.offload_activations, layout.offload_activations),
                resident_layers=section.resident_layers,
                offload_parameters=section.offload_parameters,
                offload_nvme=section.offload_nvme is not None,
                zero_hpz_partition_size=section.zero_hpz_partition_size,
                mlp_tiles=_or(section.mlp_tiles, layout.mlp_tiles),
                loss_rows=section.loss_rows,
            )


def _or(given: T | None, tried: T) -> T:
    return tried if given is None else given


def trains_alone(section: TrainingSite, built: Architecture) -> bool:
    """Whether one core trains a model sooner than the site's ranks."""
    return section.device == "cpu" and section.ring is None and built.parameters < ALONE


def _alone(section: TrainingSite) -> TrainingSite:
    """The site with one rank, which shares nothing and keeps what its layers hold."""
    return section.model_copy(
        update={
            "nodes": 1,
            "ranks_per_node": 1,
            "ring": 1,
            "ulysses": 1,
            "zero_stage": 1,
            "activation_checkpointing": False,
            "offload_optimizer": False,
            "offload_activations": False,
            "offload_parameters": False,
            "offload_nvme": None,
            "zero_hpz_partition_size": 1,
        }
    )


def _loss_rows(
    built: Architecture, fit: Fit, section: TrainingSite, machine: Machine
) -> int | None:
    """What memory is left for; a CPU gains nothing by more than it takes by itself."""
    if section.device == "cpu":
        return None
    return roomy_loss_rows(built, machine.usable_memory - fit.memory.held - fit.memory.loss)


def stage_site(recipe: Recipe, site: Site, checkpoint: str, initial: Path) -> TrainingSite:
    """The site of a stage's job, with the layout that fits the stage in place of what it leaves open.

    initial: folder of the checkpoint that the stage starts from, by whose config.json it is laid out; before
    there is one, by the known shape. Of a model whose shape neither tells all ranks share a sequence, and
    nothing is offloaded.
    """
    section, stage = site.training, recipe.stage(checkpoint)
    assert stage is not None
    try:
        built = architecture(recipe.root_weights(checkpoint.partition("/")[0]), initial)
    except UserError:
        return section
    if trains_alone(section, built):
        return _alone(section)
    machine = choose_machine(recipe, site) if section.device == "cuda" else TWO_CORES
    fit = site_fit(built, stage, section, machine)
    layout = fit.layout
    ulysses = section.ulysses_degree
    if section.ring is None and section.ulysses is None:
        ulysses = shared_heads(
            layout.sequence, built.heads, built.key_value_heads, section.ranks_per_node
        )
    return section.model_copy(
        update={
            "ring": layout.sequence // ulysses,
            "ulysses": ulysses,
            "offload_optimizer": layout.offload_optimizer,
            "offload_activations": layout.offload_activations,
            "resident_layers": layout.resident_layers or 0,
            "keep_attention": layout.keep_attention,
            "mlp_tiles": layout.mlp_tiles,
            "loss_rows": section.loss_rows or _loss_rows(built, fit, section, machine),
        }
    )
