"""How long ranks wait for each other on the paper recipe's own lengths, and Python's share of a micro-batch.

    python benchmarks/balance.py

Prints one JSON line. useful_share: for each model and stage, attention computed over what the ranks of the
layout that the plan chooses could compute until the slowest of them is done; useful_share_16_gpus: the same
for the 8B on two nodes, whose rings cross them. packed_mfu_share: the planned utilisation on the recipe's
packed documents over that on one causal document, by kernel. python_seconds_per_micro_batch: of one
thread, to read a sequence of a million tokens in 6,000 documents, find the pieces of attention and
bring their bounds to the device, the most of three layouts (median of five).
"""

import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from selflong.estimate.balance import STEPS, packed_documents, useful_share
from selflong.estimate.speed import stage_speeds
from selflong.estimate.training import stage_share
from selflong.formats import SEQUENCES, PackedFiles, table, write_parquet
from selflong.placement.fit import choose
from selflong.placement.machines import H100
from selflong.recipe.loading import load_recipe, load_site
from selflong.run.shapes import weights_shape
from selflong.training.attention import PackedSequence
from selflong.training.batches import PackedData
from selflong.training.layout import Groups, Layout

ROOT = Path(__file__).parents[1]
MODELS = ("selflong_8b", "selflong_3b", "selflong_1b")
TOKENS, DOCUMENTS = 2**20, 6000
LAYOUTS = (Layout(ulysses=8), Layout(ring=2, ulysses=8), Layout(ring=16))


def shares() -> tuple[dict[str, float], dict[str, float]]:
    """Of each model's stages on the layout that is chosen, and of the 8B's in rings of two."""
    recipe, site = load_recipe(ROOT / "recipes" / "selflong.yaml"), load_site(ROOT / "config.yaml")
    chosen, rings = {}, {}
    for name in MODELS:
        shape = weights_shape(site, recipe.root_weights(name))
        for stage in recipe.models[name].stages:
            assert stage.mixture is not None
            size = stage.sequences_per_step
            layout = choose(shape, stage.length, size, H100).layout
            share = stage_share(recipe, stage, shape, layout, H100)
            chosen[f"{name}/{stage.name}"] = round(share, 4)
            if name == MODELS[0]:
                drawn = packed_documents(recipe, stage.mixture, stage.name, STEPS * size)
                rings[f"{name}/{stage.name}"] = round(useful_share(drawn, size, ring=2, data=1), 4)
    return chosen, rings


def mfu_shares() -> dict[str, dict[str, float]]:
    """Of each model's stages, by kernel."""
    recipe, site = load_recipe(ROOT / "recipes" / "selflong.yaml"), load_site(ROOT / "config.yaml")
    return {
        f"{name}/{stage.name}": {
            speed.kernel: round(speed.mfu / speed.document_mfu, 3)
            for speed in stage_speeds(recipe, weights_shape(site, recipe.root_weights(name)), stage)
        }
        for name in MODELS
        for stage in recipe.models[name].stages
    }


def _write_packed(folder: Path) -> None:
    draw = np.random.default_rng(1)
    cuts = np.sort(draw.choice(np.arange(1, TOKENS), DOCUMENTS - 1, replace=False))
    row = {
        "sequence_id": 0,
        "offset": 0,
        "tokens": TOKENS,
        "document_bounds": [0, *cuts.tolist(), TOKENS],
        "sample_ids": [str(number) for number in range(DOCUMENTS)],
        "kinds": ["short"] * DOCUMENTS,
    }
    np.save(folder / PackedFiles.INPUT_IDS, draw.integers(0, 2**17, TOKENS).astype(np.uint32))
    np.save(folder / PackedFiles.ROLES, draw.integers(0, 6, TOKENS).astype(np.uint8))
    write_parquet(table([row], SEQUENCES), folder / PackedFiles.SEQUENCES, SEQUENCES)


def _micro_batch_seconds(data: PackedData, layout: Layout) -> float:
    place = layout.place(0)
    start = time.perf_counter()
    batch = data.micro_batch(0, layout, place, mask_prompt=True)
    sequence = PackedSequence(batch.bounds, Groups(layout, place, None, None, None))
    for _, pieces in sequence.turns(None):
        for piece in pieces:
            piece.block.lengths(torch.device("cpu"))
    return time.perf_counter() - start


def python_seconds() -> float:
    with tempfile.TemporaryDirectory() as folder:
        _write_packed(Path(folder))
        data = PackedData(Path(folder))
        return max(
            statistics.median(_micro_batch_seconds(data, layout) for _ in range(5))
            for layout in LAYOUTS
        )


def main() -> None:
    torch.set_num_threads(1)
    chosen, rings = shares()
    result = {
        "useful_share": chosen,
        "useful_share_16_gpus": rings,
        "packed_mfu_share": mfu_shares(),
        "python_seconds_per_micro_batch": round(python_seconds(), 4),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
