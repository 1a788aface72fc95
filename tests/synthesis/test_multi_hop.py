"""Questions over two documents: what samples hold, what each check drops, a job that is killed half way."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import polars as pl
import pytest

from selflong.demo import STEPS as SHOWN
from selflong.estimate.data_stages import synthesised
from selflong.estimate.steps import MADE_BY, Planner
from selflong.estimate.synthesis import RULES as STEPS_ASKED
from selflong.estimate.usage import CHAINS, expected_usage
from selflong.formats import DROPS, HOPS, SAMPLES, read_parquet
from selflong.job import UserError
from selflong.llm import Answer
from selflong.placement.machines import TWO_CORES
from selflong.recipe.checks import mistakes
from selflong.recipe.loading import load_site
from selflong.recipe.multi_hop_prompts import PROMPTS, SETS, load_multi_hop_prompts
from selflong.recipe.prompts import RULES
from selflong.recipe.recipe import Recipe
from selflong.recipe.section import sections_of
from selflong.recipe.synthesis import SampleKind, Synthesis
from selflong.report.summary import MADE
from selflong.results import SynthesisStep
from selflong.sources.conversations.rows import Conversation
from selflong.sources.conversations.synthesised import SynthesisedSamples
from selflong.synthesis import hops
from selflong.synthesis.agent import Setting, with_agent
from selflong.synthesis.documents import SampleShard
from selflong.synthesis.hops import Hop, Page, read_composed
from selflong.synthesis.multi_hop import ATTEMPTS, NOBODY_SAYS_IT, multi_hop
from selflong.synthesis.short_answers import says
from selflong.synthesis.statistics import Tally
from selflong.tokens import Tokenizer
from tests.synthesis.protocol_server import ProtocolServer
from tests.synthesis.test_kills import Corpus, Jobs, resumed_as_whole

SAMPLES_ASKED = 4
SECTION: dict[str, Any] = {
    "samples": SAMPLES_ASKED,
    "shards": 1,
    "lengths": {"distribution": "uniform", "minimum": 1000, "maximum": 1300},
    "chunk_tokens": 120,
    "reply_tokens": 80,
}


def with_hops(recipe: Recipe, **changes: Any) -> Recipe:
    content = recipe.model_dump(mode="json")
    content["generators"]["smollm2"]["context_tokens"] = 2048
    content["synthesis"]["multi_hop"] = SECTION | changes
    return Recipe.model_validate(content)


def command(jobs: Jobs) -> tuple[object, ...]:
    return (
        *("write_multi_hop.py", "--shard", 0, "--token-counts", *jobs.corpus[1]),
        *("--samples", jobs.folder / "samples.parquet", "--hops", jobs.folder / "hops.parquet"),
    )


@pytest.fixture(scope="module")
def made(
    recipe: Recipe,
    corpus: Corpus,
    smollm2_tokenizer_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Folder of a job; that of one that was killed after some answers and went on equals it."""
    folder = tmp_path_factory.mktemp("made")
    names = ("samples.parquet", "hops.parquet", "write_multi_hop.drops", "write_multi_hop.usage")
    tokenizer = smollm2_tokenizer_folder
    return resumed_as_whole(with_hops(recipe), corpus, tokenizer, folder, 12, command, names)


def samples_of(made: Path) -> list[dict[str, Any]]:
    rows = read_parquet(made / "samples.parquet", SAMPLES).to_dicts()
    parts = read_parquet(made / "hops.parquet", HOPS)
    assert [row["sample_id"] for row in rows] == parts["sample_id"].to_list()
    return [row | {"parts": part} for row, part in zip(rows, parts.to_dicts(), strict=True)]


def test_a_sample_holds_both_documents_among_others_and_answers_in_its_form(
    made: Path, corpus: Corpus, smollm2_tokenizer: Tokenizer
) -> None:
    texts = dict(
        pl.concat([pl.read_parquet(path) for path in corpus[0]]).select("id", "text").rows()
    )
    rules = load_multi_hop_prompts("bridge").rules
    rows = samples_of(made)
    assert len(rows) == SAMPLES_ASKED and len({row["family"] for row in rows}) == 2
    for row in rows:
        asked, answered = row["messages"]
        held = [part["text"] for part in asked["parts"] if part["kind"] == "document"]
        assert held == [texts[name].strip() for name in row["document_ids"]]
        assert len(held) == len(set(held)) >= 4
        assert row["tokens"] == len(smollm2_tokenizer.render(row["messages"]).ids) <= 1300
        words = "".join(part["text"] for part in asked["parts"] if part["kind"] == "prompt")
        parts = row["parts"]
        bridge, answer = parts["answers"]
        assert parts["question"] in words and answer == parts["answer"]
        assert not says(words, bridge)
        first, second = (row["document_ids"].index(name) + 1 for name in parts["document_ids"])
        assert first != second
        assert says(held[first - 1], bridge) and says(held[second - 1], bridge)
        assert says(held[second - 1], answer) and not says(held[first - 1], answer)
        (reply,) = answered["parts"]
        written = f"Document {first}: {bridge}\nDocument {second}: {answer}\nAnswer: {answer}"
        assert reply == {
            "kind": "response",
            "text": answer if row["family"] == "answer" else written,
        }
        assert any(request in words for request in rules.forms[row["family"]].requests)
        # Three that wrote it, four that asked it.
        assert len(set(row["provenance"]["request_keys"])) == 7
        assert row["provenance"]["prompt_set_sha256"] == load_multi_hop_prompts("bridge").sha256


def test_whatever_was_asked_is_counted(made: Path) -> None:
    drops = read_parquet(made / "write_multi_hop.drops", DROPS)
    counts = {
        source: dict(drops.filter(source=source).select("reason", "rows").rows())
        for source in (hops.FIRST, hops.SECOND, hops.DESCRIBED, hops.SOURCE)
    }
    first, second, described, asked = counts.values()
    assert sum(second.values()) == first["kept"] and second[NOBODY_SAYS_IT] > 0
    assert sum(described.values()) == second["kept"]
    assert sum(asked.values()) == described["kept"]
    assert asked["kept"] == SAMPLES_ASKED


def test_a_mixture_takes_them(made: Path) -> None:
    source = SynthesisedSamples(kind="synthesised", generator="g", samples="multi_hop")
    (chunk,) = source.chunks([made / "samples.parquet"])
    rows = list(source.read("made", chunk))
    assert [type(row) for row in rows] == [Conversation] * SAMPLES_ASKED
    assert {row.kind for row in rows} == {"short"} == {source.samples_kind}


# ----------------------------------------------------------------------------------------- checks

FIRST = Hop(
    Page(0, "a", "", "The bridge of Orrin was built by Ada Lind in 1901."),
    "Who built the bridge of Orrin in 1901?", "Ada Lind", ["1"],
)  # fmt: skip
SECOND = Hop(
    Page(1, "b", "", "Ada Lind was born in Tarn."), "Where was Ada Lind born?", "Tarn", ["2"]
)
COMPOSED = "Where was the builder of the bridge of Orrin born?"


@pytest.mark.parametrize(
    "known, outcome, asked",
    [
        ({0: "Tarn", 1: "Tarn.", 2: "In Tarn", 3: "Tarn"}, hops.KNOWN, 1),
        ({1: "It is Tarn."}, hops.SECOND_ALONE, 2),
        ({2: "the Tarn"}, hops.FIRST_ALONE, 3),
        ({}, hops.UNANSWERED, 4),
        ({3: "TARN"}, "kept", 4),
    ],
)
def test_a_question_is_dropped_where_one_document_is_enough_and_where_two_are_not(
    remote: Setting, server: ProtocolServer, known: dict[int, str], outcome: str, asked: int
) -> None:
    """known: what is answered from none, from the second piece, from the first one, from both."""
    pieces = (SECOND.page.piece, FIRST.page.piece)

    def reply(prompt: str) -> str:
        assert COMPOSED in prompt
        return known.get(
            sum(place for place, piece in enumerate(pieces, 1) if piece in prompt), "?"
        )

    server.reply = reply
    setting = replace(remote, recipe=with_hops(remote.recipe))
    chain = hops.Chain(FIRST, SECOND, COMPOSED, {"request_keys": ["1", "2", "3"]})
    found, reason = with_agent(
        setting, Tally(), lambda agent: hops.check(agent, "name", chain), expected_samples=1
    )
    assert reason == outcome and len(server.asked) == asked
    keys = found.provenance["request_keys"]
    assert keys[:3] == ["1", "2", "3"] and len(set(keys)) == (7 if outcome == "kept" else 3)


@pytest.mark.parametrize(
    "text, finish, reason",
    [
        ("Description: the builder of the bridge of Orrin in 1901", "stop", ""),
        ("Description: Ada Lind, who built the bridge of Orrin", "stop", hops.BRIDGE_SAID),
        ("Description: the Lind who built the bridge of Orrin", "stop", hops.BRIDGE_SAID),
        ("Description: who built the bridge of Orrin and came from Tarn", "stop", hops.ANSWER_SAID),
        ("The builder of the bridge of Orrin in 1901.", "stop", ""),
        ("Description: Who built the bridge of Orrin in 1901?", "stop", hops.NO_DESCRIPTION),
        ("Description: the builder", "stop", hops.ANOTHER_DESCRIPTION),
        ("", "stop", hops.ANOTHER_DESCRIPTION),
        ("Description: the builder of the bridge of", "length", "truncated"),
        (
            "Description: the one who built the bridge of Orrin in this passage in 1901",
            "stop",
            "instruction not self-contained",
        ),
    ],
)
def test_a_description_stands_in_place_of_the_bridge(text: str, finish: str, reason: str) -> None:
    prompt = load_multi_hop_prompts("bridge").describe
    result = Answer("k", text, prompt_tokens=1, completion_tokens=1, finish_reason=finish)
    question, fault = read_composed(result, FIRST, SECOND, prompt)
    assert fault == reason
    composed = "Where was the builder of the bridge of Orrin in 1901 born?"
    assert question == (None if reason else composed)


@pytest.mark.parametrize(
    "description, question, written",
    [
        ("the builder", "Ada Lind's town, not Ada Lindt's, is where?",
         "The builder's town, not Ada Lindt's, is where?"),
        ("the builder", "When was the Ada Lind born?", "When was the builder born?"),
        ("a builder", "The Ada Lind was a what?", "A builder was a what?"),
        ("Orrin's builder", "When did the Ada Lind sink?", "When did the Orrin's builder sink?"),
    ],
)  # fmt: skip
def test_a_description_stands_where_the_name_stood(
    description: str, question: str, written: str
) -> None:
    assert hops.put_in_place(description, "Ada Lind", question) == written


@pytest.mark.parametrize(
    "reply, reason",
    [
        ("Question: Who built the bridge of Orrin?\nAnswer: Ada Lind.", "kept"),
        ("Question: Who built the bridge of Orrin?\nAnswer: Ada Linde", "answer not in its piece"),
        ("Question: What was built in 1901 by Ada Lind?\nAnswer: bridge", hops.NO_NAME),
        ("Question: Did Ada Lind build the bridge of Orrin?\nAnswer: Ada Lind", hops.ANSWER_SAID),
        ("Question: Who built the bridge of Orrin?", "no question and answer"),
        (
            "Question: Whom is the passage on Orrin about?\nAnswer: Ada Lind",
            "instruction not self-contained",
        ),
        (
            "Question: Who built the bridge of Orrin?\nAnswer: The bridge of Orrin was built by Ada Lind",
            "answer is no short fact",
        ),
    ],
)
def test_a_first_question_asks_for_a_name_of_its_page(
    remote: Setting, server: ProtocolServer, reply: str, reason: str, tmp_path: Path
) -> None:
    server.reply = lambda prompt: reply
    tally = Tally()
    hop = with_agent(
        replace(remote, recipe=with_hops(remote.recipe)),
        tally,
        lambda agent: hops.first_hop(agent, "name", FIRST.page),
        expected_samples=1,
    )
    assert (hop is not None) == (reason == "kept")
    tally.write(tmp_path / "drops", tmp_path / "usage")
    counted = read_parquet(tmp_path / "drops", DROPS).select("source", "reason", "rows").rows()
    assert counted == [(hops.FIRST, reason, 1)]
    if hop is not None:
        assert (hop.question, hop.answer) == ("Who built the bridge of Orrin?", "Ada Lind")


# ----------------------------------------------------------------------------- recipe, set and plan


def test_samples_that_find_no_question_are_given_up(
    remote: Setting, server: ProtocolServer, corpus: Corpus, tmp_path: Path
) -> None:
    server.reply = lambda prompt: "I do not know."
    outputs = [tmp_path / name for name in ("samples", "drops", "usage")]
    setting = replace(remote, recipe=with_hops(remote.recipe, samples=2))
    multi_hop(setting=setting, files=SampleShard(0, *corpus, *outputs), hops=tmp_path / "hops")
    drops = read_parquet(tmp_path / "drops", DROPS)
    assert drops.select("reason", "rows").rows() == [
        ("no question and answer", 2 * ATTEMPTS),
        ("given up", 2),
    ]
    assert read_parquet(tmp_path / "samples", SAMPLES).height == 0
    assert read_parquet(tmp_path / "hops", HOPS).height == 0


def test_a_sample_too_short_for_two_documents_is_one_sentence(
    remote: Setting, corpus: Corpus, tmp_path: Path
) -> None:
    short = {"distribution": "uniform", "minimum": 200, "maximum": 200}
    outputs = [tmp_path / name for name in ("samples", "drops", "usage")]
    setting = replace(remote, recipe=with_hops(remote.recipe, lengths=short))
    with pytest.raises(UserError, match=r"at most -4 tokens.*raise synthesis\.multi_hop\.lengths"):
        multi_hop(setting=setting, files=SampleShard(0, *corpus, *outputs), hops=tmp_path / "hops")


def test_what_cannot_go_well_is_one_sentence(recipe: Recipe, tmp_path: Path) -> None:
    for changes, sentence in (
        ({"chunk_tokens": 1000}, "does not hold two chunks and a reply (2080); lower synthesis.multi_hop"),
        ({"prompts": "bridges"}, "synthesis.multi_hop.prompts: 'bridges' does not exist; did you mean"),
    ):  # fmt: skip
        found = [text for text in mistakes(with_hops(recipe, **changes)) if "multi_hop" in text]
        assert len(found) == 1 and sentence in found[0]
    with pytest.raises(ValueError, match="9 shards of 4 samples"):
        with_hops(recipe, shards=9)


@pytest.mark.parametrize(
    "name, change, sentence",
    [
        ("first.md", "", r"first\.md: is empty"),
        ("second.md", "## user\n$chunk", r"second\.md: its placeholder \$entity is missing"),
        ("answer.md", "## user\n$documents $question $notes", r"answer\.md: placeholder \$notes"),
        ("describe.md", "## system\n$question", "its last turn must be the user's"),
        (RULES, ("reply: $answer", "reply: $entity"), r"forms\.answer\.reply: must hold \$answer"),
        (RULES, ('"$document\\n\\n$request', '"$request'), r"layouts\.3: must hold \$request"),
    ],
)
def test_a_set_is_refused_before_any_job(
    recipe: Recipe, tmp_path: Path, name: str, change: str | tuple[str, str], sentence: str
) -> None:
    for path in (SETS / "bridge").iterdir():
        (tmp_path / path.name).write_text(path.read_text())
    assert {path.stem for path in tmp_path.iterdir()} == {*PROMPTS, Path(RULES).stem}
    assert not list(mistakes_of_set(recipe, tmp_path))
    file = tmp_path / name
    text = change if isinstance(change, str) else file.read_text().replace(*change)
    assert text != file.read_text()
    file.write_text(text)
    load_multi_hop_prompts.cache_clear()
    (found,) = mistakes_of_set(recipe, tmp_path)
    assert re.search(sentence, found) and found.startswith("synthesis.multi_hop.prompts: ")


def mistakes_of_set(recipe: Recipe, folder: Path) -> Iterator[str]:
    return (
        text for text in mistakes(with_hops(recipe, prompts=str(folder))) if "multi_hop" in text
    )


def test_the_plan_counts_them(recipe: Recipe) -> None:
    few, many = (
        {
            usage.step: usage
            for usage in expected_usage(with_hops(recipe, samples=count), "smollm2", 200)
        }
        for count in (100, 200)
    )
    steps = (hops.FIRST, hops.SECOND, hops.DESCRIBED, "check")
    assert [step for step in few if step in steps] == list(steps)
    for step in steps:
        assert many[step].requests == 2 * few[step].requests > 0
        assert many[step].prompt_tokens == pytest.approx(2 * few[step].prompt_tokens, rel=0.01)
    (offered,) = (synthesised(with_hops(recipe, samples=count), "multi_hop") for count in (100,))
    assert offered.rows == CHAINS.kept * 100
    assert not set(steps) & {usage.step for usage in expected_usage(recipe, "smollm2", 200)}


def test_a_mixture_of_them_waits_for_them_in_the_plan(recipe: Recipe) -> None:
    content = with_hops(recipe).model_dump(mode="json")
    source = {"kind": "synthesised", "generator": "smollm2", "samples": "multi_hop"}
    content["mixtures"]["full"]["entries"]["hops"] = {"source": source, "epochs": 1}
    site = load_site(Path(__file__).parents[2] / "config.yaml")
    planned = Recipe.model_validate(content)
    assert not list(mistakes(planned))
    steps = {step.name: step for step in Planner(planned, site, TWO_CORES).steps()}
    made = steps["multi-hop questions smollm2"]
    assert made.requests > 0 and made.part == "synthesis"
    mixtures = [step for name, step in steps.items() if name.startswith("mixture full ")]
    assert mixtures and all(made.name in step.after for step in mixtures)
    content["mixtures"]["full"]["entries"]["hops"]["source"]["family"] = "answer"
    with pytest.raises(ValueError, match="family"):
        Recipe.model_validate(content)


def test_every_kind_of_samples_is_named_wherever_they_are_counted() -> None:
    kinds = {
        name
        for name, field in Synthesis.model_fields.items()
        if any(issubclass(section, SampleKind) for section in sections_of(field.annotation))
    }
    offered = get_args(SynthesisedSamples.model_fields["samples"].annotation)
    counted = {*get_args(SynthesisStep)} - {"instructions"}
    assert kinds == {*MADE} == {*MADE_BY} == {*offered} == counted
    assert {*MADE_BY.values(), "instructions"} == {*STEPS_ASKED}
    assert {f"{step} {{generator}}" for step in MADE_BY.values()} < {*SHOWN.values()}
