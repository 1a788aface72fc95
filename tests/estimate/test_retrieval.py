"""What the plan says of each kind of index."""

from pathlib import Path

import pytest

from selflong.estimate.retrieval import CHOICES, alternatives, index_use
from selflong.placement.machines import H100
from selflong.recipe.loading import load_recipe

ROWS, DIMENSIONS = 9_672_101, 4096
ID_BYTES = 8
CENTROID_BYTES = 4 * 16_384 * DIMENSIONS
DISK = {
    "Flat": 0,
    "SQ8": ROWS * DIMENSIONS,
    "IVF16384,Flat": ROWS * (4 * DIMENSIONS + ID_BYTES) + CENTROID_BYTES,
    "IVF16384,SQ8": ROWS * (DIMENSIONS + ID_BYTES) + CENTROID_BYTES,
    "IVF16384,PQ512": ROWS * (512 + ID_BYTES) + CENTROID_BYTES,
}


def test_every_choice_of_the_plan_has_a_size_and_a_time() -> None:
    recipe = load_recipe(Path(__file__).parents[2] / "recipes" / "selflong.yaml")
    encoder = recipe.encoders["e5_mistral"]
    uses = {}
    for chosen in [encoder, *alternatives(encoder)]:
        uses[chosen.index] = index_use(chosen, ROWS, 1000, H100)
        assert uses[chosen.index].disk == pytest.approx(DISK[chosen.index], rel=0.02)
    assert set(uses) == {encoder.index, *CHOICES}
    assert uses["Flat"].build_seconds == 0
    assert uses["Flat"].search_seconds < uses["SQ8"].search_seconds
    assert uses["IVF16384,PQ512"].disk < uses["IVF16384,SQ8"].disk < uses["IVF16384,Flat"].disk
