"""Models that are asked at some of a suite's lengths alone, and what their predictions depend on."""

from pathlib import Path
from typing import Any

import pytest

from selflong.job import UserError
from selflong.llm.protocol import Endpoint
from selflong.recipe.loading import load_site, parse
from selflong.recipe.recipe import Recipe
from selflong.results import Results, prediction_files
from selflong.run.digests import Digests
from selflong.suites.evaluation_job import Job
from selflong.suites.kinds import kind_of
from selflong.suites.prompt import Respondent
from selflong.suites.registry import section_of
from selflong.suites.ruler.section import RulerSuite
from selflong.tokens import Tokenizer

SITE = load_site(Path(__file__).parents[2] / "config.yaml")
RANDOM = {
    **{"kind": "random", "layers": 1, "hidden": 8, "heads": 1, "key_value_heads": 1},
    **{"intermediate": 8, "vocabulary": 9, "rope_base": 500, "max_position_embeddings": 64},
    "initializer_range": 0.1,
}


def recipe(*models: str, **changes: Any) -> Recipe:
    suite = {
        **{"kind": "ruler", "convention": "ruler_exact", "tasks": ["vt"], "seed": 1},
        **{"models": list(models), "lengths": [600, 700, 800], "job_per_length": True},
        "samples": {600: 1, 700: 2, 800: 3},
    }
    content = {
        **{"name": "r", "description": "", "seed": 1, "suites": {"ruler": {**suite, **changes}}},
        "models": {name: {"label": name, "weights": RANDOM} for name in models},
    }
    return parse(Recipe, content, "recipe")


def test_a_model_is_asked_at_its_own_lengths() -> None:
    found = recipe("a", "b", lengths_of={"b": [600, 800]})
    asked = found.asked("ruler", "b/initial")
    assert isinstance(asked, RulerSuite)
    assert (asked.models, asked.lengths, asked.samples) == (["b"], [600, 800], {600: 1, 800: 3})
    whole = found.asked("ruler", "a/initial")
    assert isinstance(whole, RulerSuite) and whole.lengths == [600, 700, 800]
    assert found.asked("ruler", "c/initial") is None
    files = prediction_files(found, Results(Path("r")), "ruler")
    assert [path.relative_to("r/evaluation/ruler").as_posix() for path in files] == [
        *("a/initial/600.parquet", "a/initial/700.parquet", "a/initial/800.parquet"),
        *("b/initial/600.parquet", "b/initial/800.parquet"),
    ]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"b": [600]}, "lengths_of names 'b', which is none of its models"),
        ({"a": [500]}, "lengths_of.a: 500 is not among \\[600, 700, 800\\]"),
        ({"a": [600, 600]}, "600 stands twice"),
    ],
)
def test_lengths_that_nobody_is_asked_at_are_one_sentence(given: Any, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        recipe("a", lengths_of=given)


def test_another_model_or_length_evaluates_nothing_again() -> None:
    before = Digests(recipe("a"), SITE).asked("ruler", "a/initial", "600")
    after = recipe(
        "a", "b", lengths=[600, 700, 900], samples={600: 1, 700: 2, 900: 9}, lengths_of={"b": [900]}
    )
    assert Digests(after, SITE).asked("ruler", "a/initial", "600") == before
    assert Digests(after, SITE).asked("ruler", "b/initial", "900") != before
    more = recipe("a", samples={600: 2, 700: 2, 800: 3})
    assert Digests(more, SITE).asked("ruler", "a/initial", "600") != before
    assert Digests(more, SITE).asked("ruler", "a/initial", "700") == Digests(
        recipe("a"), SITE
    ).asked("ruler", "a/initial", "700")


HAYSTACK = {"models": ["m"], "seed": 1}
NEEDLES = {**HAYSTACK, "tasks": ["niah_multikey_2"]}
FILLED = {
    "needle_grid": {**HAYSTACK, "lengths": [1024], "depths": 2},
    "counterfactual": {**HAYSTACK, "lengths": [1024], "samples": 1},
    "shared_haystack": {**NEEDLES, "lengths": [1024], "haystacks": 1, "questions": 2},
    "ruler": {**NEEDLES, "lengths": [4000], "samples": {4000: 1}, "convention": "ruler_2024"},
}


@pytest.mark.parametrize("kind", FILLED)
def test_a_kind_fills_its_lengths_as_it_says(kind: str, smollm2_tokenizer: Tokenizer) -> None:
    suite = parse(section_of(kind), {"kind": kind, **FILLED[kind]}, kind)
    (length,) = suite.lengths
    job = Job(
        suite_name="s", suite=suite, checkpoint="m/initial", model=Path(), tokenizer=Path(),
        serving=SITE.evaluation, work=Path(), chat_date="26 Jul 2024",
    )  # fmt: skip
    asks = kind_of(suite).prompts
    endpoint = Endpoint(
        "", "", "m", "m", slots=1, context_tokens=10**6, server="", server_version=""
    )
    assert asks is not None
    found = asks(suite, Respondent(job, smollm2_tokenizer, endpoint, [length]))
    fullest = max(len(prompt.ids) + prompt.answer_tokens for prompt in found)
    assert suite.filled * length <= fullest <= length
