import hashlib

import pytest

from selflong.recipe.synthesis import FAMILIES
from selflong.synthesis.prompting import FOLDER, load_prompt
from selflong.synthesis.words import FAMILY_FORMS

VALUES = {
    **{f"instruction_{family}": {"chunk"} for family in FAMILIES},
    "summary": {"text", "instruction"},
    "answer": {"notes", "instruction"},
    "closed_book": {"instruction"},
    "back_translation": {"excerpt"},
}


def test_every_prompt_file_is_used() -> None:
    assert {path.stem for path in FOLDER.glob("*.md")} == set(VALUES)


@pytest.mark.parametrize("name", VALUES)
def test_values_are_filled_in_once(name: str) -> None:
    prompt = load_prompt(name)
    values = {value: f"<{value}> costs $5 and ${{text}}" for value in VALUES[name]}
    messages = prompt.messages(**values)
    for value in values.values():
        assert value in messages[-1]["content"]
    assert messages[-1]["role"] == "user"
    assert prompt.sha256 == hashlib.sha256((FOLDER / prompt.name).read_bytes()).hexdigest()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_chunk_stands_before_the_prompt(family: str) -> None:
    content = load_prompt(f"instruction_{family}").messages(chunk="A chunk.")[-1]["content"]
    assert content.startswith("A chunk.\n")


@pytest.mark.parametrize("family", FAMILY_FORMS)
def test_the_examples_have_the_form_of_their_family(family: str) -> None:
    turns = load_prompt(f"instruction_{family}").turns
    examples = [text for role, text in turns if role == "assistant"]
    assert len(examples) == 3
    assert all(FAMILY_FORMS[family].search(text) for text in examples)


def test_the_names_of_the_examples_are_known() -> None:
    names = load_prompt("instruction_timeline").example_names
    assert names == {
        "Danube", "Rhine", "Alps", "Rotterdam", "Black Forest", "Black Sea", "North Sea",
        "Homestead Act", "Pacific Railway Act", "California",
    }  # fmt: skip
    assert load_prompt("answer").example_names == frozenset()


def test_a_missing_value_is_an_error() -> None:
    with pytest.raises(KeyError):
        load_prompt("summary").messages(text="a")
