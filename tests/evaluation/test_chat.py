"""System prompts, arguments of a template, and models that reason before they answer."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selflong.evaluation.evaluate import evaluate
from selflong.evaluation.generate import told_apart
from selflong.evaluation.score import check_scores
from selflong.formats import PREDICTIONS, read_parquet
from selflong.recipe.checks import mistakes
from selflong.recipe.models import Chat
from selflong.recipe.recipe import Recipe
from selflong.tokens import load_tokenizer
from tests.suites.jobs import GRID, job_of

THINKING = Chat(reasoning_end="</think>", reasoning_tokens=8)
QUESTION = {"role": "user", "parts": [{"kind": "prompt", "text": "Why?"}]}


def test_a_conversation_begins_with_the_system_prompt(smollm2_tokenizer_folder: Path) -> None:
    tokenizer = load_tokenizer(smollm2_tokenizer_folder, system_prompt="Be brief.")
    plain = load_tokenizer(smollm2_tokenizer_folder)
    written = tokenizer.decode(tokenizer.render([QUESTION], add_generation_prompt=True).ids)
    assert "<|im_start|>system\nBe brief.<|im_end|>" in written
    own = {"role": "system", "parts": [{"kind": "prompt", "text": "Be long."}]}
    assert "Be brief." not in tokenizer.decode(tokenizer.render([own, QUESTION]).ids)
    assert tokenizer.end_ids == plain.end_ids


def test_the_template_gets_its_arguments(smollm2_tokenizer_folder: Path, tmp_path: Path) -> None:
    load_tokenizer(smollm2_tokenizer_folder)._pretrained.save_pretrained(tmp_path)
    template = (tmp_path / "chat_template.jinja").read_text()
    thinking = "{% if thinks and add_generation_prompt %}{{ '<think>' }}{% endif %}"
    (tmp_path / "chat_template.jinja").write_text(template + thinking)
    for thinks in (True, False):
        tokenizer = load_tokenizer(tmp_path, template_arguments={"thinks": thinks})
        written = tokenizer.decode(tokenizer.render([QUESTION], add_generation_prompt=True).ids)
        assert written.endswith("<think>") == thinks


@settings(deadline=None)
@given(st.text(), st.text())
def test_what_stands_before_the_end_is_reasoning(before: str, after: str) -> None:
    assert told_apart(before + after, Chat()) == (None, before + after)
    whole = f"{before}</think>\n\n{after}"
    assert told_apart(whole, THINKING) == tuple(
        part.lstrip() if number else part
        for number, part in enumerate(whole.partition("</think>")[::2])
    )
    if "</think>" not in before:
        assert told_apart(before, THINKING) == (before, "")


def test_reasoning_has_room_of_its_own_and_is_not_scored(checkpoint: Path, tmp_path: Path) -> None:
    job = job_of("grid", GRID, checkpoint, tmp_path, chat=THINKING)
    evaluate(job, tmp_path / "all.parquet")
    found = read_parquet(tmp_path / "all.parquet", PREDICTIONS)
    assert set(found["prediction"]) == {""}  # random weights end no thought
    assert found["reasoning"].str.len_chars().min() > 0
    assert set(found["score"]) == {0.0}
    check_scores(GRID, tmp_path / "all.parquet")


def test_a_prefix_before_the_reasoning_is_a_mistake(laptop: Recipe) -> None:
    (name,) = (name for name, suite in laptop.suites.items() if suite.begins_answers)
    model = laptop.resolve(laptop.suites[name].models[0]).partition("/")[0]
    models = {**laptop.models, model: laptop.models[model].model_copy(update={"chat": THINKING})}
    found = list(mistakes(laptop.model_copy(update={"models": models})))
    assert any(f"suites.{name}.answer_prefix" in sentence for sentence in found)
    with pytest.raises(ValueError, match="both, or none"):
        Chat(reasoning_tokens=5)
