"""A recipe or a site with one thing wrong is refused in sentences, or it is right."""

import random
from pathlib import Path

import pytest

from selflong.recipe.loading import load_recipe, load_site
from selflong.recipe.reader import read_yaml

from .mutations import Verdict, draw, verdict

ROOT = Path(__file__).parents[2]
FILES = {
    "laptop.yaml": (ROOT / "recipes" / "laptop.yaml", load_recipe),
    "selflong.yaml": (ROOT / "recipes" / "selflong.yaml", load_recipe),
    "config.yaml": (ROOT / "config.yaml", load_site),
}
DRAWN = 100


@pytest.mark.parametrize("name", FILES)
def test_no_mutation_is_a_stack_or_accepted_wrongly(tmp_path: Path, name: str) -> None:
    origin, load = FILES[name]
    content, rng = read_yaml(origin), random.Random(name)
    answered = {Verdict.SENTENCE: 0, Verdict.ACCEPTED: 0}
    for _ in range(DRAWN):
        mutation = draw(content, rng)
        found, said = verdict(mutation, content, load, tmp_path / name)
        assert found in answered, (mutation, said)
        answered[found] += 1
    assert answered[Verdict.SENTENCE] > DRAWN / 4
