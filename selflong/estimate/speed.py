"""How fast H100 train a stage by the published rates of attention's kernels; nothing was measured."""

from collections.abc import Iterator
from dataclasses import dataclass

from selflong.estimate.data_stages import stage_data
from selflong.estimate.training import seconds_of, stage_share, token_seconds, utilisation
from selflong.placement.fit import choose
from selflong.placement.machines import FLASH_2, FLASH_3, H100, Speed, with_kernel
from selflong.placement.shapes import Architecture
from selflong.recipe.models import Stage
from selflong.recipe.recipe import Recipe

KERNELS = (FLASH_2, FLASH_3)


@dataclass(frozen=True)
class StageSpeed:
    """A stage on the fewest H100 that hold it. Model FLOPs are those of causal attention (MFU), and what is
    computed again does not count."""

    length: int
    kernel: str
    devices: int
    document_seconds: float
    """Of one document as long as the stage's sequences."""
    document_mfu: float
    step_seconds: float
    """Of a step on the recipe's own documents, packed."""
    step_tokens: int
    mfu: float
    useful: float
    """The share of attention's time that ranks do not wait for each other."""
    shares: dict[str, float]
    """What a step's time goes to."""

    @property
    def document_rate(self) -> float:
        """Tokens a second and device."""
        return self.length / self.document_seconds / self.devices

    @property
    def rate(self) -> float:
        """Tokens a second and device, packed."""
        return self.step_tokens / self.step_seconds / self.devices


def stage_speeds(recipe: Recipe, shape: Architecture, stage: Stage) -> Iterator[StageSpeed]:
    """The speed of a stage that trains, by kernel."""
    assert stage.mixture is not None and stage.global_batch_tokens is not None
    layout = choose(shape, stage.length, stage.sequences_per_step, H100).layout
    useful = stage_share(recipe, stage, shape, layout, H100)
    attended = stage_data(recipe, stage.mixture, stage.name).attended
    tokens = stage.global_batch_tokens
    for kernel in KERNELS:
        machine = with_kernel(H100, kernel)
        assert isinstance(machine.training, Speed)
        parts = token_seconds(shape, attended, machine.training, layout, useful)
        yield StageSpeed(
            length=stage.length,
            kernel=kernel.name,
            devices=layout.ranks,
            document_seconds=seconds_of(shape, stage.length, stage.length / 2, machine, layout),
            document_mfu=utilisation(shape, stage.length / 2, machine, layout),
            step_seconds=seconds_of(shape, tokens, attended, machine, layout, useful),
            step_tokens=tokens,
            mfu=utilisation(shape, attended, machine, layout, useful),
            useful=useful,
            shares={name: part / sum(parts.values()) for name, part in parts.items()},
        )


SPEED_COLUMNS = (
    "length", "kernel", "GPUs", "one document", "its tokens a second and GPU", "its MFU", "a packed step",
    "its tokens a second and GPU", "its MFU", "beside one document", "ranks that wait: useful share",
)  # fmt: skip


def speed_cells(speed: StageSpeed) -> tuple[str, ...]:
    """A row of SPEED_COLUMNS."""
    return (
        f"{speed.length:,}",
        speed.kernel,
        str(speed.devices),
        f"{speed.document_seconds:,.0f} s",
        f"{speed.document_rate:,.0f}",
        f"{speed.document_mfu:.1%}",
        f"{speed.step_seconds:,.0f} s",
        f"{speed.rate:,.0f}",
        f"{speed.mfu:.1%}",
        f"{speed.mfu / speed.document_mfu:.2f}",
        f"{speed.useful:.3f}",
    )
