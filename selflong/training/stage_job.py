"""What a stage's launcher tells its ranks. Its import is light, since every launcher waits for it."""

from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict

from selflong.formats import PackedFiles, digest, file_sha256
from selflong.integrity import recorded
from selflong.recipe.models import Stage
from selflong.training import VERSION
from selflong.training.layout import Layout

CHECKPOINTS = "checkpoints"
MODEL = "model"
OPTIMIZER_FOLDER = "optimizer"


class TrainingJob(BaseModel):
    """Everything that the ranks of a stage must know."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    initial: Path
    """Hugging Face model folder that the stage starts from."""
    packed: Path
    work: Path
    """Holds what a killed stage resumes from; shared by all nodes."""
    stage: Stage
    title: str
    """<model>/<stage>, for the model card."""
    seed: int
    layout: Layout
    precision: Literal["bfloat16", "float32"] = "bfloat16"
    mask_prompt: bool = False
    device: Literal["cpu", "cuda"] = "cpu"
    zero_stage: int = 3
    offload_optimizer: bool = False
    offload_activations: bool = False
    resident_layers: int = 0
    activation_checkpointing: bool = True
    keep_attention: bool = True
    offload_parameters: bool = False
    offload_nvme: Path | None = None
    """On each node's own disk; its launcher gives its ranks a folder in it."""
    zero_hpz_partition_size: int = 1
    mlp_tiles: int = 1
    loss_rows: int | None = None
    checkpoint_minutes: float | None = None
    """Save the state when so much time has passed since the last one, whatever the number of steps."""
    keep_optimizer: bool = False
    """Leave the optimizer's state in the output, for a next stage that continues from it."""

    @property
    def sequences_per_step(self) -> int:
        return self.stage.sequences_per_step

    @property
    def steps(self) -> int:
        assert self.stage.global_batch_tokens is not None
        return -(-self.stage.tokens // self.stage.global_batch_tokens)

    @property
    def dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.precision == "bfloat16" else torch.float32

    def state_digest(self) -> str:
        """What a saved state, or a model that is written, depends on: not the ranks, the layout or where
        things lie."""
        facts = self.model_dump(mode="json", include={"stage", "seed", "precision", "mask_prompt"})
        facts["stage"].pop("assumed")
        facts["stage"].pop("checkpoint_steps")
        facts["version"] = VERSION
        facts["packed"] = [
            file_sha256(self.packed / PackedFiles.SEQUENCES),
            sorted((path.name, found) for path, found in recorded(self.packed).items()),
        ]
        facts["initial"] = {
            path.name: _tail(path)
            for path in (*self.initial.glob("*.safetensors"), self.initial / "config.json")
        }
        return digest(facts)


def _tail(path: Path, count: int = 1 << 16) -> str:
    """Size and last bytes of a weights file: tells two checkpoints apart without reading them whole."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        stream.seek(max(0, size - count))
        return digest([size, stream.read().hex()])
