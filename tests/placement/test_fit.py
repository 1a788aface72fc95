"""The layout of a stage's job."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import LlamaConfig

from selflong.placement.fit import choose, longest, stage_site
from selflong.placement.layout import Parallelism
from selflong.placement.machines import GB, H100
from selflong.placement.memory import memory
from selflong.placement.shapes import KNOWN
from selflong.recipe.loading import load_recipe
from selflong.recipe.recipe import Recipe
from selflong.recipe.site import TrainingSite
from selflong.training.launch import site_layout
from tests.paper import PAPER, ROOT, SITE, without_shapes

LLAMA_8B = KNOWN["meta-llama/Llama-3.1-8B-Instruct"]
NOWHERE = Path("nowhere")


def laid_out(
    checkpoint: str, recipe: Recipe = PAPER, initial: Path = NOWHERE, **settings: Any
) -> TrainingSite:
    training = TrainingSite(**{"device": "cuda", "ranks_per_node": 8} | settings)
    site = SITE.model_copy(update={"training": training})
    return stage_site(recipe, site, checkpoint, initial)


def test_what_the_site_leaves_open_is_chosen() -> None:
    ladder = [laid_out(f"selflong_8b/{stage}", nodes=2) for stage in ("256k", "512k", "1m")]
    rings = [site_layout(site).ring for site in ladder]
    assert rings == sorted(rings) and rings[0] < rings[-1]
    assert all(site_layout(site).world == 16 for site in ladder)
    assert laid_out("selflong_8b/1m").offload_activations
    assert not laid_out("selflong_8b/256k", nodes=2).offload_activations


def test_the_loss_is_given_what_is_left() -> None:
    rows = [laid_out(f"selflong_8b/{stage}").loss_rows for stage in ("256k", "1m")]
    assert rows[0] and rows[1] and rows[0] >= rows[1] >= 2**26 // LLAMA_8B.vocabulary
    assert laid_out("selflong_8b/1m", loss_rows=77).loss_rows == 77
    assert laid_out("selflong_8b/1m", device="cpu", ranks_per_node=2).loss_rows is None
    assert laid_out("selflong_8b/1m", mlp_tiles=3).mlp_tiles == 3


def test_as_many_layers_as_fit_keep_their_activations() -> None:
    resident = [laid_out(f"selflong_8b/{stage}").resident_layers for stage in ("512k", "1m")]
    assert resident[0] > resident[1] > 0
    assert laid_out("selflong_8b/1m", resident_layers=0).resident_layers == 0
    for length, layers in zip((2**19, 2**20), resident, strict=True):
        fit = choose(LLAMA_8B, length, 8, H100)
        assert fit.layout.resident_layers == layers
        assert fit.memory.total <= H100.usable_memory
        more = replace(fit.layout, resident_layers=layers + 1)
        assert memory(LLAMA_8B, length, more).total > H100.usable_memory - 4 * GB


def test_what_the_site_gives_stands() -> None:
    given = laid_out("selflong_8b/256k", ring=2, ulysses=4, offload_optimizer=True, zero_stage=2)
    assert (given.ring, given.ulysses, given.offload_optimizer, given.zero_stage) == (2, 4, True, 2)
    assert laid_out("selflong_8b/1m", offload_activations=False).offload_activations is False
    by_heads = laid_out("selflong_8b/1m", ulysses=8)
    assert site_layout(by_heads).sequence == 8


def test_ranks_of_an_unknown_model_share_a_sequence() -> None:
    site = laid_out("selflong_8b/256k", without_shapes())
    assert site_layout(site).ring == 8 and not site.offload_activations


@pytest.mark.parametrize("length", [2**18, 2**19, 2**20])
def test_the_papers_stages_fit_eight_h100(length: int) -> None:
    fit = choose(LLAMA_8B, length, 4, H100)
    assert fit.fits
    assert fit.nodes == 1
    assert 20 * GB < fit.memory.total < 80 * GB


def test_more_devices_hold_longer_sequences() -> None:
    held = [longest(LLAMA_8B, devices, H100) for devices in (1, 8, 16, 32)]
    assert held == sorted(held) and held[1] > 4 * held[0] > 2**18
    lean = Parallelism(
        8, 8, offload_optimizer=True, offload_activations=True, keep_attention=False, mlp_tiles=8
    )
    assert memory(LLAMA_8B, held[1], lean).total <= H100.usable_memory
    assert memory(LLAMA_8B, held[1] + 2**13, lean).total > H100.usable_memory


def test_short_stages_are_data_parallel() -> None:
    fit = choose(LLAMA_8B, 4096, 64, H100)
    assert fit.fits and fit.layout.sequence == 1 and not fit.layout.offload_activations


def test_what_no_cluster_holds_says_so() -> None:
    assert not choose(LLAMA_8B, 2**27, 4, H100).fits


def test_a_model_is_laid_out_by_the_checkpoint_that_lies_there(tmp_path: Path) -> None:
    LlamaConfig(num_hidden_layers=2, hidden_size=128, intermediate_size=256).save_pretrained(
        tmp_path
    )
    assert laid_out("selflong_8b/256k", without_shapes()).ring is None
    small = laid_out("selflong_8b/256k", without_shapes(), tmp_path)
    # However small, its heads are shared: with sequences of their own ranks would wait.
    assert (small.ring, small.ulysses) == (1, 8)
    assert site_layout(laid_out("selflong_8b/256k")).sequence > 1


def test_a_model_that_one_core_trains_sooner_is_left_alone() -> None:
    laptop = load_recipe(ROOT / "recipes" / "laptop.yaml")
    small = stage_site(laptop, SITE, "small_full/256", Path("nowhere"))
    assert site_layout(small).world == 1 and not small.activation_checkpointing
    lean = {"offload_optimizer": True, "offload_parameters": True, "offload_nvme": Path("/disk")}
    site = SITE.model_copy(update={"training": SITE.training.model_copy(update=lean)})
    alone = stage_site(laptop, site, "small_full/256", Path("nowhere"))
    # Validated anew: what one rank shares with nobody leaves it neither.
    assert TrainingSite.model_validate(alone.model_dump()).offload_nvme is None
    large = stage_site(laptop, SITE, "full/2k", Path("nowhere"))
    assert site_layout(large).world == SITE.training.ranks == 2


def test_ranks_of_a_machine_without_gpus_are_those_of_its_site() -> None:
    site = laid_out("selflong_8b/1m", device="cpu", ranks_per_node=2)
    assert site_layout(site).world == 2
    given = laid_out("selflong_8b/1m", device="cpu", ranks_per_node=4, ring=2)
    assert given.ring == 2
