"""Requests and tokens of every suite, for one model."""

from collections.abc import Iterable

from selflong.placement.machines import Machine
from selflong.placement.shapes import Architecture
from selflong.recipe.suites import Suite
from selflong.suites.kinds import kind_of
from selflong.suites.load import Load

DECODE_SHARE = 0.5
"""Of the memory bandwidth, in decoding."""


def loads(suite: Suite, supports: int | None = None) -> Iterable[Load]:
    """What a suite asks of one model that supports a length."""
    return kind_of(suite).loads(suite, supports)


def seconds_of(load: Load, model: Architecture, machine: Machine) -> float:
    """Time on one node: the prompts are bound by arithmetic, the answers by memory."""
    devices = machine.devices_per_node
    prefill = model.forward_flops(load.read_tokens, load.looked_back * load.length, logits=False)
    read = model.cache_bytes(load.length) + 2 * model.parameters
    return prefill / (devices * machine.flops * machine.prefill_share) + (
        load.answer_tokens * read / (devices * machine.bandwidth * DECODE_SHARE)
    )


def serving_bytes(length: int, model: Architecture, devices: int) -> float:
    """Memory of each device that serves one request of `length`, tensor parallel over all of them."""
    return (2 * model.parameters + model.cache_bytes(length)) / devices
