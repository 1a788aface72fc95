"""Prompt sets: those that the project has, and what is wrong in one of the user's own."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from string import Template

import pytest
import yaml

from selflong.job import UserError
from selflong.recipe.loading import load_recipe
from selflong.recipe.prompts import PROMPTS, RULES, SETS, load_prompt_set

NAMES = ("compact", "full")
FILES = [(name, prompt) for name in NAMES for prompt in load_prompt_set(name).prompts]
ROOT = Path(__file__).parents[2]
Edit = Callable[[Path], object]


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A user's folder, a copy of `full`."""
    return Path(shutil.copytree(SETS / "full", tmp_path / "own"))


def test_every_file_of_a_set_is_used() -> None:
    for name in NAMES:
        files = {path.name for path in (SETS / name).iterdir()}
        assert files == {RULES, *(f"{prompt}.md" for prompt in load_prompt_set(name).prompts)}


@pytest.mark.parametrize(("name", "prompt"), FILES)
def test_values_are_filled_in_once(name: str, prompt: str) -> None:
    required, allowed = PROMPTS[prompt if prompt in PROMPTS else "instruction"]
    found = load_prompt_set(name)[prompt]
    values = {value: f"<{value}> costs $5 and ${{text}}" for value in required | allowed}
    messages = found.messages(**values)
    assert messages[-1]["role"] == "user"
    for value in required:
        assert values[value] in messages[-1]["content"]
    assert found.sha256 == hashlib.sha256((SETS / name / found.name).read_bytes()).hexdigest()


def test_the_compact_prompts_show_the_chunk_first_and_examples_of_their_family() -> None:
    compact = load_prompt_set("compact")
    for family, settings in compact.rules.families.items():
        prompt = compact.instruction(family)
        assert prompt.messages(chunk="A chunk.")[-1]["content"].startswith("A chunk.\n")
        examples = [text for role, text in prompt.turns if role == "assistant"]
        assert len(examples) == 3
        assert settings.says is None or all(settings.says.search(text) for text in examples)


def test_the_names_of_the_examples_are_known() -> None:
    assert load_prompt_set("compact")["instruction_timeline"].example_names == {
        "Danube", "Rhine", "Alps", "Rotterdam", "Black Forest", "Black Sea", "North Sea",
        "Homestead Act", "Pacific Railway Act", "California",
    }  # fmt: skip
    assert all(not prompt.example_names for prompt in load_prompt_set("full").prompts.values())


def test_summaries_are_joined_by_a_prompt_of_their_own_where_the_set_has_one() -> None:
    full, compact = load_prompt_set("full"), load_prompt_set("compact")
    assert (full.summary(0).name, full.summary(1).name) == ("summary.md", "merge.md")
    assert compact.summary(0) is compact.summary(3)


def test_a_missing_value_is_an_error() -> None:
    with pytest.raises(KeyError):
        load_prompt_set("full")["summary"].messages(text="a")


def test_the_digest_changes_with_every_file(own: Path, tmp_path: Path) -> None:
    digests = {load_prompt_set(str(own)).sha256}
    for number, name in enumerate(sorted(path.name for path in own.iterdir())):
        other = Path(shutil.copytree(own, tmp_path / str(number)))
        (other / name).write_text((other / name).read_text() + "\n# more\n")
        digests.add(load_prompt_set(str(other)).sha256)
    assert len(digests) == 1 + len(list(own.iterdir()))
    assert load_prompt_set("full").sha256 in digests


def replaced(name: str, old: str, new: str) -> Edit:
    """An edit of a file of the set."""

    def edit(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))

    return edit


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (replaced("summary.md", "$text", "text"), "summary.md: its placeholder $text is missing"),
        (
            replaced("answer.md", "$form", "$from"),
            "answer.md: placeholder $from: 'from' does not exist; did you mean 'form'?",
        ),
        (
            replaced("answer.md", "$length", "enough"),
            "answer.md: closings in set.yaml ask for form and length: give the answer $form and $length",
        ),
        (
            replaced("closed_book.md", "$form", "free"),
            "closed_book.md: closings in set.yaml ask for form and length: give the answer $form and $length",
        ),
        (lambda own: (own / "answer.md").write_text(" \n"), "answer.md: is empty"),
        (lambda own: (own / "closed_book.md").unlink(), "closed_book.md does not exist"),
        (lambda own: (own / "instruction.md").unlink(), "instruction_report.md does not exist"),
        (lambda own: (own / RULES).unlink(), f"{RULES} does not exist"),
        (replaced("answer.md", "## system\n", ""), "stands before the first turn"),
        (replaced("answer.md", "## user\n", "## assistant\n"), "last turn must be the user's"),
        (replaced("answer.md", "## user\n", "## user\n\n## user\n"), "a turn under ## user is empty"),
        (replaced("answer.md", "$length", "5 $"), "holds a $ that begins no placeholder"),
        (replaced(RULES, "[table]", "[tables]"), "families.table.forms: 'tables' does not exist"),
        (replaced(RULES, "instruction: task", "instruction: tusk"), f"{RULES}: instruction: "),
        (replaced(RULES, "about $words words", "about"), "lengths.about: must hold the placeholder"),
        (replaced(RULES, "Write $form, $length.", "Write $form."), "must hold the placeholders $form and"),
        (
            replaced(RULES, "    openings: [Compare", "    # [Compare"),
            "$opening is filled from openings, of which families.comparison in set.yaml has none",
        ),
        (replaced(RULES, "shapes:", "shades:"), "shades: Extra inputs are not permitted"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence_that_names_the_file(
    own: Path, edit: Edit, sentence: str
) -> None:
    edit(own)
    with pytest.raises(UserError) as error:
        load_prompt_set(str(own))
    assert sentence in str(error.value)
    assert str(own) in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_a_list_that_a_prompt_draws_from_must_be_there(own: Path) -> None:
    rules = yaml.safe_load((own / RULES).read_text())
    del rules["readers"]
    (own / RULES).write_text(yaml.safe_dump(rules))
    with pytest.raises(UserError, match=r"instruction\.md: \$reader is filled from readers"):
        load_prompt_set(str(own))


def recipe_with(folder: Path, prompts: str, **long_input: object) -> Path:
    """The paper's recipe with another set for GPT-4o."""
    content = yaml.safe_load((ROOT / "recipes/selflong.yaml").read_text())
    content["generators"]["gpt_4o"]["prompts"] = prompts
    content["synthesis"]["long_input"] |= long_input
    path = folder / "selflong.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_the_recipe_is_refused_before_any_job(own: Path, tmp_path: Path) -> None:
    (own / "merge.md").write_text("")
    cases = {
        str(own): "generators.gpt_4o.prompts: .*merge.md: is empty",
        "fill": "generators.gpt_4o.prompts: 'fill' does not exist; did you mean 'full'",
        "compact": "synthesis.long_input.families: of the prompts of generators.gpt_4o 'report' does not",
    }
    for prompts, sentence in cases.items():
        with pytest.raises(UserError, match=sentence):
            load_recipe(recipe_with(tmp_path, prompts))
    with pytest.raises(UserError, match="answer_words: is missing, but the prompts of"):
        load_recipe(recipe_with(tmp_path, "full", answer_words=None))
    with pytest.raises(UserError, match=r"readers: of the prompts of generators\.gpt_4o 'pupils'"):
        load_recipe(recipe_with(tmp_path, "full", readers={"pupils": 1}))


def test_further_turns_need_a_prompt(own: Path, tmp_path: Path) -> None:
    (own / "follow_up.md").unlink()
    load_recipe(recipe_with(tmp_path, str(own)))
    with pytest.raises(
        UserError, match=r"follow_ups: the prompts of .*gpt_4o have no follow_up\.md"
    ):
        load_recipe(recipe_with(tmp_path, str(own), follow_ups=1))


def test_nothing_that_a_set_draws_needs_a_value_of_its_own() -> None:
    rules = load_prompt_set("full").rules
    tasks = [family.task for family in rules.families.values()]
    openings = [opening for family in rules.families.values() for opening in family.openings]
    for text in [
        *tasks,
        *openings,
        *rules.readers.values(),
        *rules.forms.values(),
        *rules.shapes.values(),
    ]:
        assert text
        assert not Template(text).get_identifiers()
