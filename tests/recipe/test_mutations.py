"""A recipe or a site with one thing wrong is refused in sentences, or it is right and can be planned."""

import random
from pathlib import Path

import pytest

from selflong.recipe.loading import load_recipe
from selflong.recipe.reader import read_yaml

from .mutations import ROOT, Verdict, draw, plan_on_site, plan_recipe, verdict

FILES = {
    "laptop.yaml": (ROOT / "recipes" / "laptop.yaml", plan_recipe),
    "selflong.yaml": (ROOT / "recipes" / "selflong.yaml", load_recipe),
    "config.yaml": (ROOT / "config.yaml", plan_on_site),
}
DRAWN = 100


@pytest.mark.parametrize("name", FILES)
def test_no_mutation_is_a_stack_or_accepted_wrongly(tmp_path: Path, name: str) -> None:
    origin, use = FILES[name]
    content, rng = read_yaml(origin), random.Random(name)
    answered = {Verdict.SENTENCE: 0, Verdict.ACCEPTED: 0}
    for _ in range(DRAWN):
        mutation = draw(content, rng)
        found, said = verdict(mutation, content, use, tmp_path / name)
        assert found in answered, (mutation, said)
        answered[found] += 1
    assert answered[Verdict.SENTENCE] > DRAWN / 4
