"""Scores against the reference's own metric and clean-up of predictions."""

import random
import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selflong.job import UserError
from selflong.suites.ruler.generator.metrics import clean_prediction, score
from selflong.suites.ruler.section import RULER_TASKS

ANSWERS = {
    "niah_multivalue": ["1234567", "7654321", "1111111", "2222222"],
    "vt": ["ABCDE", "FGHIJ", "KLMNO", "PQRST", "UVWXY"],
    "cwe": ["art", "party", "e-mail", "creme brulee", "SUV"],
    "qa_1": ["France", "in France", "la France"],
    "qa_2": ["yes"],
}
SCRAPS = (
    "",
    " ",
    "\n",
    "\t",
    "\x00",
    "\x1f",
    "\x0b",
    "\x85",
    "İ",
    "ß",
    "é",
    "🙂",
    ", ",
    ".",
    "is: ",
)


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    """The reference's module of metrics; it reads no arguments and imports nothing."""
    return _load("eval/synthetic/constants.py")


@pytest.fixture(scope="module")
def clean_up() -> ModuleType:
    """The reference's evaluation script, imported with the arguments that it asks for."""
    arguments = sys.argv
    sys.argv = ["evaluate.py", "--data_dir", "."]
    try:
        return _load("eval/evaluate.py")
    finally:
        sys.argv = arguments


def _load(name: str) -> ModuleType:
    package = find_spec("long_context_eval")
    assert package is not None and package.submodule_search_locations
    path = Path(next(iter(package.submodule_search_locations))) / name
    spec = spec_from_file_location("reference_" + path.stem, path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _odd_predictions(count: int) -> list[tuple[str, str]]:
    """Task and prediction: answers whole, cut, in other case, between control characters, or missing."""
    rng = random.Random(0)
    changes = (str, str.lower, str.upper, str.swapcase, lambda text: text[: len(text) // 2])
    made = []
    for _ in range(count):
        task = rng.choice(list(ANSWERS))
        chosen = [rng.choice(changes)(answer) for answer in ANSWERS[task] if rng.random() < 0.6]
        pieces = chosen + rng.choices(SCRAPS, k=rng.randrange(6))
        rng.shuffle(pieces)
        made.append((task, "".join(pieces)))
    return made


def test_scores_equal_the_references_on_odd_predictions(
    reference: ModuleType, clean_up: ModuleType
) -> None:
    families = {
        "niah_multivalue": "niah",
        "vt": "variable_tracking",
        "cwe": "common_words_extraction",
    }
    seen = set()
    for task, prediction in _odd_predictions(1000):
        cleaned = clean_up.postprocess_pred(prediction, {})
        metric = reference.TASKS[families.get(task, "qa")]["metric_fn_per_sample"]
        (expected,) = metric([cleaned], [ANSWERS[task]])
        assert clean_prediction(prediction) == cleaned
        assert score(task, prediction, ANSWERS[task]) * 100 == expected
        seen.add(expected)
    assert {0.0, 20.0, 25.0, 50.0, 100.0} <= seen


@given(
    st.text(), st.sampled_from(RULER_TASKS), st.lists(st.text(min_size=1), min_size=1, max_size=5)
)
def test_a_prediction_that_holds_every_answer_scores_one(
    noise: str, task: str, answers: list[str]
) -> None:
    answers = [clean_prediction(answer) for answer in answers]
    assert score(task, f"{noise}x{'x'.join(answers)}x", answers) == 1.0


def test_an_unknown_task_is_refused_in_a_sentence() -> None:
    with pytest.raises(UserError, match="niah_single_1"):
        score("niah_single_9", "", ["1"])
