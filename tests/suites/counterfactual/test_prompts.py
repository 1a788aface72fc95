"""The probe's prompts: nothing of the old answer is left, both prompts fit, one prompt serves two tasks."""

import json
from pathlib import Path

import pytest

from selflong.evaluation.evaluate import evaluate
from selflong.formats import PREDICTIONS, read_parquet
from selflong.job import UserError
from selflong.suites.counterfactual.edits import Edit, edits, holds, kind_of_answer
from selflong.suites.counterfactual.metric import score
from selflong.suites.counterfactual.prompts import _Haystack, _ids, asked
from selflong.suites.counterfactual.section import ANSWER_TOKENS, TASKS, Counterfactual
from selflong.suites.ruler.generator import Sources
from selflong.suites.ruler.generator.sources import load_questions
from selflong.tokens import Tokenizer
from tests.suites.jobs import job_of

SUITE = Counterfactual(kind="counterfactual", models=["m"], lengths=[600, 1200], samples=3, seed=7)


@pytest.fixture(scope="module")
def found(sources: Sources) -> list[Edit]:
    return edits(load_questions(sources.squad), seed=7)


def test_an_edited_document_holds_the_new_answer_and_nothing_of_the_old(found: list[Edit]) -> None:
    assert len(found) > 300
    for edit in found:
        assert kind_of_answer(edit.answer) == kind_of_answer(edit.other) is not None
        assert holds(edit.document, edit.answer) and not holds(edit.document, edit.other)
        assert holds(edit.edited, edit.other) and not holds(edit.edited, edit.answer)
        words = [word for word in edit.answer.split() if len(word) > 3]
        assert not any(holds(f"{edit.question} {edit.edited}", word) for word in words)


@pytest.mark.parametrize("length", [600, 3000])
def test_prompts_fill_their_length_and_hold_one_answer(
    found: list[Edit], sources: Sources, smollm2_tokenizer: Tokenizer, length: int
) -> None:
    for number, edit in enumerate(found[:5]):
        haystack = _Haystack(sources.squad, edit, smollm2_tokenizer, length, str(number))
        original, edited = haystack.text(edit.document), haystack.text(edit.edited)
        assert holds(original, edit.answer) and not holds(original, edit.other)
        assert holds(edited, edit.other) and not holds(edited, edit.answer)
        assert original.replace(edit.document, "") == edited.replace(edit.edited, "")
        sizes = [len(_ids(smollm2_tokenizer, text)) + ANSWER_TOKENS for text in (original, edited)]
        assert length - 400 < max(sizes) <= length


def test_a_prompt_longer_than_all_documents_repeats_them(
    sources: Sources, smollm2_tokenizer: Tokenizer, tmp_path: Path
) -> None:
    few = tmp_path / "squad.json"
    articles = json.loads(sources.squad.read_text())["data"][0]["paragraphs"][:20]
    few.write_text(json.dumps({"data": [{"paragraphs": articles}]}))
    found = load_questions(few)
    edit = edits(found, seed=7)[0]
    total = int(smollm2_tokenizer.count_many(list(found.documents)).sum())
    haystack = _Haystack(few, edit, smollm2_tokenizer, 2 * total, "x")
    text = haystack.text(edit.edited)
    assert text.count(edit.edited) == 1 and not holds(text, edit.answer)
    assert 1.9 * total < len(_ids(smollm2_tokenizer, text)) < 2 * total


def test_a_checkpoint_is_asked_each_task(checkpoint: Path, tmp_path: Path) -> None:
    evaluate(job_of("probe", SUITE, checkpoint, tmp_path), tmp_path / "all.parquet")
    rows = read_parquet(tmp_path / "all.parquet", PREDICTIONS)
    assert set(rows["task"]) == set(TASKS)
    assert len(rows) == len(TASKS) * SUITE.samples * len(SUITE.lengths)
    # The edited prompt is asked once.
    assert rows["request_key"].n_unique() == 2 * SUITE.samples * len(SUITE.lengths)


def test_mistakes_are_sentences(
    found: list[Edit], sources: Sources, smollm2_tokenizer: Tokenizer
) -> None:
    with pytest.raises(UserError, match="length 100 is too short for a question and its document"):
        _Haystack(sources.squad, found[0], smollm2_tokenizer, 100, "x")
    many = SUITE.model_copy(update={"samples": 10**6})
    with pytest.raises(UserError, match="ask for no more samples"):
        asked(sources.squad, many)


def test_an_answer_counts_as_whole_words() -> None:
    assert score("It was Rollo.", ["rollo"]) == 1.0
    assert score("Rollos", ["Rollo"]) == 0.0
    assert score("in 1190 or so", ["119"]) == 0.0
