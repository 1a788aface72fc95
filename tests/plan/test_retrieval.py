"""What the plan says of each kind of index."""

from pathlib import Path

from selflong.plan.machines import H100
from selflong.plan.retrieval import CHOICES, alternatives, index_use
from selflong.recipe import load_recipe


def test_every_choice_of_the_plan_has_a_size_and_a_time() -> None:
    recipe = load_recipe(Path(__file__).parents[2] / "recipes" / "selflong.yaml")
    encoder = recipe.encoders["e5_mistral"]
    uses = {}
    for chosen in [encoder, *alternatives(encoder)]:
        uses[chosen.index] = index_use(chosen, 9_672_101, 1000, H100)
    assert set(uses) == {encoder.index, *CHOICES}
    assert uses["Flat"].build_seconds == 0
    assert uses["Flat"].search_seconds < uses["SQ8"].search_seconds
    assert uses["IVF16384,PQ512"].disk < uses["IVF16384,SQ8"].disk < uses["IVF16384,Flat"].disk
