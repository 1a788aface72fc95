"""Samples of the synthesis with their instruction where it was put, or moved."""

from pathlib import Path
from typing import Any

import pytest

from selflong.formats import SAMPLES, table, write_parquet
from selflong.job import UserError
from selflong.recipe.checks import mistakes
from selflong.recipe.recipe import Recipe
from selflong.sources.conversations.rows import Conversation
from selflong.sources.conversations.synthesised import SynthesisedSamples
from selflong.tokens import message
from tests.mixture.jobs import recipe_with

PARTS = (("prompt", "Compare them."), ("prompt", "\n\n[Document 1]\n"), ("document", "one"),
         ("prompt", "\n\n[Document 2]\n"), ("document", "two"))  # fmt: skip
WRITTEN = {
    None: "Compare them.\n\n[Document 1]\none\n\n[Document 2]\ntwo",
    "after": "[Document 1]\none\n\n[Document 2]\ntwo\n\nCompare them.",
    "both": "Compare them.\n\n[Document 1]\none\n\n[Document 2]\ntwo\n\nCompare them.",
}


@pytest.mark.parametrize("position", WRITTEN)
def test_the_instruction_stands_where_it_is_asked_for(tmp_path: Path, position: Any) -> None:
    question = {"role": "user", "parts": [{"kind": kind, "text": text} for kind, text in PARTS]}
    answer = message("assistant", "They differ.")
    rows = [{"sample_id": "a", "kind": "long_input", "messages": [question, answer]}]
    path = tmp_path / "0.parquet"
    write_parquet(table(rows, SAMPLES), path, SAMPLES)
    source = SynthesisedSamples(
        kind="synthesised", generator="g", samples="long_input", instruction_position=position
    )
    (chunk,) = source.chunks([path])
    (found,) = source.read("long", chunk)
    assert isinstance(found, Conversation)
    asked, answered = found.messages
    assert "".join(part["text"] for part in asked["parts"]) == WRITTEN[position]
    assert [part["text"] for part in asked["parts"] if part["kind"] == "document"] == ["one", "two"]
    assert answered == answer


def test_what_cannot_be_moved_is_a_mistake() -> None:
    long_output = {"kind": "synthesised", "generator": "smollm2", "samples": "long_output"}
    moved = {**long_output, "instruction_position": "after"}
    with pytest.raises(UserError, match="long_output has none to move"):
        recipe_with({"made": {"source": moved, "epochs": 1}})
    content = recipe_with({"made": {"source": long_output, "epochs": 1}}).model_dump(mode="json")
    content["synthesis"]["long_input"]["instruction_position"] = "both"
    content["mixtures"]["full"]["entries"]["made"]["source"] = {**moved, "samples": "long_input"}
    (mistake,) = mistakes(Recipe.model_validate(content))
    assert mistake.startswith("mixtures.full.entries.made.source.instruction_position: it moves")
    assert "those of synthesis.long_input stand both" in mistake
