"""Further turns on the documents of a long input."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from selflong.formats import INSTRUCTIONS, SAMPLES, read_parquet
from selflong.recipe.recipe import Recipe
from selflong.synthesis import follow_ups
from selflong.synthesis.agent import Setting
from tests.synthesis.protocol_server import ProtocolServer
from tests.synthesis.test_workflow import Corpus, drops, synthesise

TURNS = 2


@pytest.fixture
def asking(remote: Setting) -> Setting:
    """A job that wants two further turns of each sample."""
    content = remote.recipe.model_dump(mode="json")
    content["generators"]["smollm2"] |= {"prompts": "full", "context_tokens": 4096}
    content["synthesis"]["long_input"] |= {
        "samples": 2,
        "shards": 1,
        "families": {"report": 1, "causes": 1},
        "lengths": {"distribution": "uniform", "minimum": 1000, "maximum": 1200},
        "answer_words": {"minimum": 10, "maximum": 20},
        "answer_tokens": 128,
        "follow_ups": TURNS,
    }
    content["synthesis"]["gates"] |= {"closed_book_share": 0.0}
    return replace(remote, recipe=Recipe.model_validate(content))


def test_each_sample_goes_on_over_the_same_documents(
    asking: Setting, corpus: Corpus, server: ProtocolServer, tmp_path: Path
) -> None:
    (tmp_path / "once").mkdir()
    made = synthesise(asking, corpus, tmp_path / "once")
    samples = read_parquet(made / "long_input.parquet", SAMPLES)
    assert len(samples) > 0
    for row in samples.iter_rows(named=True):
        first, *further = row["messages"]
        assert "document" in {part["kind"] for part in first["parts"]}
        assert [message["role"] for message in further] == ["assistant", "user"] * TURNS + [
            "assistant"
        ]
        kinds = [[part["kind"] for part in message["parts"]] for message in further]
        assert kinds == [["response"], ["prompt"]] * TURNS + [["response"]]
        for task in further[1::2]:
            assert task["parts"][0]["text"].startswith("Write a report on ")
            assert " words" in task["parts"][0]["text"]
        assert row["tokens"] == len(asking.target.render(row["messages"]).ids) <= 1200
        assert len(set(row["provenance"]["request_keys"])) == 1 + 2 * TURNS
    assert drops(made / "drops-2.parquet", follow_ups.SOURCE) == {"kept": TURNS * len(samples)}
    used = json.loads((made / "usage-2.json").read_text())
    assert used["follow-up"]["requests"] == TURNS * len(samples)
    assert used["answer"]["requests"] == (1 + TURNS) * len(samples)

    asked = len(server.asked)
    (tmp_path / "again").mkdir()
    again = synthesise(asking, corpus, tmp_path / "again")
    assert len(server.asked) == asked
    name = "long_input.parquet"
    assert (again / name).read_bytes() == (made / name).read_bytes()


def test_a_closing_sentence_stands_in_the_sample_alone(
    asking: Setting, corpus: Corpus, server: ProtocolServer, tmp_path: Path
) -> None:
    content = asking.recipe.model_dump(mode="json")
    content["synthesis"]["long_input"]["follow_ups"] = 0
    made = synthesise(replace(asking, recipe=Recipe.model_validate(content)), corpus, tmp_path)
    asked = read_parquet(made / "instructions.parquet", INSTRUCTIONS)
    rows = read_parquet(made / "long_input.parquet", SAMPLES).join(asked, on="sample_id")
    rows = rows.drop_nulls("closing")
    assert len(rows) > 0
    prompts = [json.loads(body)["messages"][-1]["content"] for _, body in server.asked]
    for row in rows.iter_rows(named=True):
        assert row["messages"][0]["parts"][0]["text"] == f"{row['instruction']} {row['closing']}"
        told = [prompt for prompt in prompts if row["instruction"] in prompt]
        assert len(told) > 1
        assert not any(row["closing"] in prompt for prompt in told)


def test_a_conversation_ends_where_the_generator_has_no_room(
    asking: Setting, corpus: Corpus, tmp_path: Path
) -> None:
    content = asking.recipe.model_dump(mode="json")
    content["generators"]["smollm2"]["context_tokens"] = 500
    made = synthesise(replace(asking, recipe=Recipe.model_validate(content)), corpus, tmp_path)
    outcomes = drops(made / "drops-2.parquet", follow_ups.SOURCE)
    samples = read_parquet(made / "long_input.parquet", SAMPLES)
    assert outcomes[follow_ups.TOO_LONG] > 0
    lengths = samples["messages"].list.len()
    assert lengths.is_in([2, 4]).any()
    assert outcomes.get("kept", 0) == (lengths - 2).sum() // 2
