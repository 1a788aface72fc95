"""What is wrong in the text of a file becomes one sentence with file and line, whatever it is."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selflong.job import UserError
from selflong.recipe.loading import read_yaml

ALIASES = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
CHAIN = [f"a{n}: &a{n} {{x: *a{n - 1}}}" for n in range(1, 3000)]
MISTAKES = {
    "a template": ("a: 1\nlabel: {{ name }}\n", "a key in line 2 is a list or a mapping"),
    "a list as a key": ("a: 1\n? [a, b]\n: 2\n", "a key in line 2 is a list or a mapping"),
    "a set as a key": ("? !!set {a}\n: 1\n", "a key in line 1 is a list or a mapping"),
    "an impossible date": ("a: 2024-13-45\n", "'2024-13-45' in line 1 cannot be read as timestamp"),
    "text that is no number": ("\na: !!int text\n", "'text' in line 2 cannot be read as int"),
    "nothing that is no number": ("a: !!int ''\n", "'' in line 1 cannot be read as int"),
    "text that is no truth": ("a: !!bool x\n", "'x' in line 1 cannot be read as bool"),
    "5000 digits": (f"a: {'5' * 5000}\n", "… in line 1 cannot be read as int"),
    "3000 levels of lists": (
        f"a: {'[' * 3000}{']' * 3000}",
        "line 1 lies more than 40 levels deep",
    ),
    "600 levels of keys": (
        "\n".join(" " * n + "a:" for n in range(600)),
        "line 40 lies more than 40 levels deep",
    ),
    "aliases that stand for billions": (
        "\n".join(["a0: &a0 [1, 2, 3, 4, 5, 6, 7, 8]", *ALIASES]),
        "aliases of what is anchored in line 4 stand for too much",
    ),
    "a chain of aliases": ("\n".join(["a0: &a0 {x: 1}", *CHAIN]), "stand for too much"),
    "a list that holds itself": ("a: &a [*a]\n", "what is anchored in line 1 holds itself"),
    "a mapping merged with itself": ("a: &a {<<: *a}\n", "what is anchored in line 1 holds itself"),
    "a key twice beside merged ones": (
        "z: &z {q: 1}\na: {<<: *z, b: 1, b: 2}\n",
        "key 'b' in line 2 stands twice",
    ),
    "two documents": ("a: 1\n---\nb: 2\n", "not YAML in line 2: but found another document"),
    "a Python object": (
        "a: !!python/object:os.system x\n",
        "not YAML in line 1: could not determine",
    ),
    "an escape that is no character": ('a: "\\UFFFFFFFF"\n', "an escape names no character"),
    "NUL": ("a: \0\n", "not a text file in UTF-8"),
    "a set": ("a: !!set {b, c}\n", "!!set in line 1: give text, a number, a list"),
    "bytes": ("a: !!binary NQ==\n", "!!binary in line 1"),
    "an ordered map": ("a: !!omap [b: 1]\n", "!!omap in line 1"),
    "a file that is no recipe": ("a: 1\n" * 200_000, "is longer than 250,000 characters"),
}


def sentence(path: Path) -> str:
    with pytest.raises(UserError) as error:
        read_yaml(path)
    text = str(error.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    assert len(text) < len(str(path)) + 200
    return text


@pytest.mark.parametrize("text, expected", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_gets_one_sentence(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    assert expected in sentence(path)


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    assert sentence(tmp_path).endswith("cannot be read: Is a directory")


def test_a_copy_that_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    path.write_text('{"name": "lap')
    assert "not JSON: Unterminated string" in sentence(path)


def test_a_date_is_text_and_an_anchor_may_be_used_again(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("a: 2024-07-26\nb: &x 1\nc: &x 2\nd: *x\ne: yes\n")
    assert read_yaml(path) == {"a": "2024-07-26", "b": 1, "c": 2, "d": 2, "e": "yes"}


PIECES = [
    *(
        "a",
        "b: ",
        ": ",
        "- ",
        "\n",
        "  ",
        "[",
        "]",
        "{",
        "}",
        "&x ",
        "*x",
        "<<: ",
        "!!int ",
        "!!set ",
        "!!bool ",
    ),
    *("? ", "'", '"', "|", ">", "#", "1e-5", "2024-02-30", "\\u", "\t", "---", "%", "@", "é", "!"),
]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=30))
def test_any_text_is_read_or_refused_in_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[str]
) -> None:
    path = tmp_path_factory.mktemp("text") / "recipe.yaml"
    path.write_text("".join(pieces), encoding="utf-8")
    try:
        assert isinstance(read_yaml(path), dict)
    except UserError as error:
        assert str(error).startswith(str(path))
        assert "\n" not in str(error)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "recipe.yaml")
    assert "is a pipe or a device" in sentence(tmp_path / "recipe.yaml")
