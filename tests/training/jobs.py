"""Small real inputs of training: a model folder, packed sequences, a job."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from selflong.formats import SEQUENCES, PackedFiles, table, write_parquet
from selflong.recipe.models import Optimizer, Stage
from selflong.training.layout import Layout
from selflong.training.stage_job import TrainingJob

VOCABULARY = 251
KINDS = ("long_input", "short", "long_output")


def write_model(folder: Path, layers: int = 2, seed: int = 0, intermediate: int = 50) -> Path:
    """A Llama with 4 query and 2 key-value heads; its sizes divide by few numbers of ranks."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=36, intermediate_size=intermediate, num_hidden_layers=layers,
        num_attention_heads=4, num_key_value_heads=2, head_dim=8, max_position_embeddings=128,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        tie_word_embeddings=True, initializer_range=0.2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def write_packed(folder: Path, length: int, sequences: int, seed: int = 0) -> Path:
    """Sequences of up to ``length`` tokens with one to five documents of all kinds."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    offset = 0
    for index in range(sequences):
        tokens = int(random.integers(length // 2, length + 1))
        cuts = np.sort(random.choice(np.arange(1, tokens), random.integers(0, 5), replace=False))
        bounds = [0, *cuts.tolist(), tokens]
        rows.append(
            {
                "sequence_id": index,
                "offset": offset,
                "tokens": tokens,
                "document_bounds": bounds,
                "sample_ids": [f"{index}-{i}" for i in range(len(bounds) - 1)],
                "kinds": [KINDS[(index + i) % 3] for i in range(len(bounds) - 1)],
            }
        )
        offset += tokens
    # Tokens that repeat, so that there is something to learn.
    ids = (np.arange(offset) * 7 // 3 + random.integers(0, 3, offset)) % VOCABULARY
    np.save(folder / PackedFiles.INPUT_IDS, ids.astype(np.uint32))
    np.save(folder / PackedFiles.ROLES, random.integers(0, 6, offset).astype(np.uint8))
    write_parquet(table(rows, SEQUENCES), folder / PackedFiles.SEQUENCES, SEQUENCES)
    return folder


def make_job(folder: Path, steps: int, layout: Layout, **settings: Any) -> TrainingJob:
    """A stage of ``steps`` steps of three sequences of 64 tokens, in float32, from ``folder``'s inputs."""
    stage_settings = {"checkpoint_steps": 5} | settings.pop("stage", {})
    clip = settings.pop("gradient_clip", 1.0)
    stage = Stage(
        name="s", length=64, rope_base=40_000.0, mixture="m", tokens=steps * 192,
        global_batch_tokens=192,
        optimizer=Optimizer(
            learning_rate=3e-3, warmup_share=0.1, weight_decay=0.1, gradient_clip=clip
        ),
        **stage_settings,
    )  # fmt: skip
    work = settings.pop("work", folder / "work")
    work.mkdir(parents=True, exist_ok=True)
    given = {"precision": "float32"} | settings
    return TrainingJob(
        initial=folder / "initial", packed=folder / "packed", work=work, stage=stage,
        title="tiny/s", seed=3, layout=layout, **given,
    )  # fmt: skip
