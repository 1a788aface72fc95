"""The whole workflow against a real server: what it writes, and that the cache alone makes it again."""

import itertools
from pathlib import Path

import polars as pl
import pytest

from selflong.formats import (
    ANSWERS,
    DOCUMENTS,
    DROPS,
    INSTRUCTIONS,
    RETRIEVED,
    SAMPLES,
    SUMMARIES,
    read_parquet,
    table,
    write_parquet,
)
from selflong.job import UserError
from selflong.llm import Endpoint
from selflong.recipe.recipe import Recipe
from selflong.synthesis.agent import Setting
from selflong.synthesis.answers import long_input
from selflong.synthesis.backtranslation import long_output
from selflong.synthesis.documents import SampleShard
from selflong.synthesis.instructions import write_instructions
from selflong.tokens import Tokenizer

Corpus = tuple[list[Path], list[Path]]


def retrieve_everything(instructions: Path, corpus: Corpus, output: Path) -> None:
    """All documents for every instruction, those of its seed document's speech first."""
    documents = pl.concat([read_parquet(path, DOCUMENTS) for path in corpus[0]])
    counts = dict(pl.concat([pl.read_parquet(path) for path in corpus[1]]).iter_rows())
    rows = []
    for row in read_parquet(instructions, INSTRUCTIONS).iter_rows(named=True):
        speech = row["seed_document_id"].rpartition("-")[0]
        ids = sorted(documents["id"], key=lambda each: not each.startswith(speech))
        rows.append(
            {
                "sample_id": row["sample_id"],
                "document_ids": ids,
                "scores": [1.0] * len(ids),
                "tokens": [counts[each] for each in ids],
            }
        )
    write_parquet(table(rows, RETRIEVED), output, RETRIEVED)


def synthesise(setting: Setting, corpus: Corpus, folder: Path) -> Path:
    documents, counts = corpus
    instructions = folder / "instructions.parquet"
    write_instructions(
        setting=setting,
        shard=0,
        documents=documents,
        token_counts=counts,
        instructions=instructions,
        drops=folder / "drops-1.parquet",
        usage=folder / "usage-1.json",
    )
    retrieve_everything(instructions, corpus, folder / "retrieved.parquet")
    long_input(
        setting=setting,
        instructions=instructions,
        earlier=[],
        retrieved=folder / "retrieved.parquet",
        documents=documents,
        summaries=folder / "summaries.parquet",
        answers=folder / "answers.parquet",
        samples=folder / "long_input.parquet",
        drops=folder / "drops-2.parquet",
        usage=folder / "usage-2.json",
    )
    outputs = [folder / name for name in ("long_output.parquet", "drops-3.parquet", "usage-3.json")]
    long_output(setting=setting, files=SampleShard(0, documents, counts, *outputs))
    return folder


@pytest.fixture(scope="module")
def setting(
    recipe: Recipe,
    endpoint: Endpoint,
    smollm2_tokenizer: Tokenizer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Setting:
    cache = tmp_path_factory.mktemp("cache")
    return Setting(
        recipe, "digest", "smollm2", endpoint, cache, smollm2_tokenizer, smollm2_tokenizer
    )


@pytest.fixture(scope="module")
def made(setting: Setting, corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with everything that one run wrote."""
    return synthesise(setting, corpus, tmp_path_factory.mktemp("made"))


def drops(path: Path, source: str) -> dict[str, int]:
    frame = read_parquet(path, DROPS).filter(source=source)
    return dict(frame.select("reason", "rows").iter_rows())


def test_instructions_name_their_chunk_and_prompt(made: Path, corpus: Corpus) -> None:
    rows = read_parquet(made / "instructions.parquet", INSTRUCTIONS)
    texts = dict(
        pl.concat([pl.read_parquet(path) for path in corpus[0]]).select("id", "text").iter_rows()
    )
    assert 0 < len(rows) <= 3
    for row in rows.iter_rows(named=True):
        assert texts[row["seed_document_id"]][row["seed_start"] : row["seed_end"]]
        assert 600 <= row["target_tokens"] <= 800
        assert row["provenance"]["prompt"] == f"instruction_{row['family']}.md"
        assert len(row["provenance"]["request_keys"]) == 1
    assert drops(made / "drops-1.parquet", "instructions")["kept"] == len(rows)


def test_every_character_of_the_documents_is_in_one_chunk(made: Path, corpus: Corpus) -> None:
    """Of the samples whose documents were read, all text is accounted for, status by status."""
    texts = dict(
        pl.concat([pl.read_parquet(path) for path in corpus[0]]).select("id", "text").iter_rows()
    )
    summaries = read_parquet(made / "summaries.parquet", SUMMARIES)
    first = summaries.filter(pl.col("depth") == 0)
    assert len(first) > 0
    for _, group in first.group_by("sample_id"):
        spans: dict[str, list[tuple[int, int]]] = {}
        for parent in group["parents"].explode():
            document, _, span = parent.rpartition("#")
            start, end = map(int, span.split("-"))
            spans.setdefault(document, []).append((start, end))
        for document, parts in spans.items():
            ordered = sorted(parts)
            assert [ordered[0][0], ordered[-1][1]] == [0, len(texts[document])]
            assert all(a[1] == b[0] for a, b in itertools.pairwise(ordered))
    counted = drops(made / "drops-2.parquet", "chunks at depth 0")
    assert sum(counted.values()) == len(first)


def test_summaries_recurse_over_what_was_kept(made: Path) -> None:
    summaries = read_parquet(made / "summaries.parquet", SUMMARIES)
    deeper = summaries.filter(pl.col("depth") > 0)
    assert deeper["depth"].unique().to_list() == [1]
    status = dict(summaries.select("summary_id", "status").iter_rows())
    for row in deeper.iter_rows(named=True):
        assert {status[parent] for parent in row["parents"]} <= {"kept", "cut"}
        assert all(parent.startswith(f"{row['sample_id']}/0/") for parent in row["parents"])


def test_long_inputs_hold_documents_and_their_exact_count(
    made: Path, corpus: Corpus, smollm2_tokenizer: Tokenizer
) -> None:
    asked = read_parquet(made / "instructions.parquet", INSTRUCTIONS)
    targets = dict(asked.select("sample_id", "target_tokens").iter_rows())
    texts = dict(
        pl.concat([pl.read_parquet(path) for path in corpus[0]]).select("id", "text").iter_rows()
    )
    samples = read_parquet(made / "long_input.parquet", SAMPLES)
    for row in samples.iter_rows(named=True):
        user, assistant = row["messages"]
        held = [part["text"] for part in user["parts"] if part["kind"] == "document"]
        assert held == [texts[document] for document in row["document_ids"]]
        assert [part["kind"] for part in assistant["parts"]] == ["response"]
        assert row["tokens"] == len(smollm2_tokenizer.render(row["messages"]).ids)
        assert row["tokens"] <= targets[row["sample_id"]]
    answers = read_parquet(made / "answers.parquet", ANSWERS)
    assert answers["sample_id"].to_list() == samples["sample_id"].to_list()
    assert (answers["facts_in_documents"] <= answers["facts"]).all()
    outcomes = drops(made / "drops-2.parquet", "long_input")
    assert sum(outcomes.values()) == len(asked)
    assert outcomes.get("kept", 0) == len(samples)


def test_long_outputs_answer_with_whole_documents(
    made: Path, corpus: Corpus, smollm2_tokenizer: Tokenizer
) -> None:
    texts = dict(
        pl.concat([pl.read_parquet(path) for path in corpus[0]]).select("id", "text").iter_rows()
    )
    samples = read_parquet(made / "long_output.parquet", SAMPLES)
    assert len(samples) == 2
    for row in samples.iter_rows(named=True):
        (document,) = row["document_ids"]
        assert row["messages"][1]["parts"] == [{"kind": "response", "text": texts[document]}]
        assert row["tokens"] == len(smollm2_tokenizer.render(row["messages"]).ids)
        assert 100 <= smollm2_tokenizer.count(texts[document]) <= 220


def test_the_cache_alone_makes_the_same_files(
    setting: Setting, made: Path, corpus: Corpus, tmp_path: Path
) -> None:
    """Nothing is asked again: the endpoint's address leads nowhere."""
    nowhere = Endpoint(
        base_url="http://127.0.0.1:9",
        api_key="none",
        model=setting.endpoint.model,
        identity=setting.endpoint.identity,
        slots=2,
        context_tokens=setting.endpoint.context_tokens,
        server=setting.endpoint.server,
        server_version=setting.endpoint.server_version,
    )
    again = Setting(
        setting.recipe,
        setting.digest,
        setting.generator_name,
        nowhere,
        setting.cache,
        setting.counter,
        setting.target,
    )
    synthesise(again, corpus, tmp_path)
    names = sorted(path.name for path in made.glob("[!.]*") if path.is_file())
    assert len(names) == 12
    for name in names:
        assert (tmp_path / name).read_bytes() == (made / name).read_bytes(), name


def test_what_an_earlier_shard_has_is_not_asked_again(
    setting: Setting, made: Path, corpus: Corpus, tmp_path: Path
) -> None:
    """One instruction of three stands, but for a letter's case, in an earlier shard."""
    rows = read_parquet(made / "instructions.parquet", INSTRUCTIONS)
    earlier = rows.head(1).with_columns(pl.col("instruction").str.to_uppercase())
    write_parquet(rows.head(0), tmp_path / "first.parquet", INSTRUCTIONS)
    write_parquet(earlier, tmp_path / "second.parquet", INSTRUCTIONS)
    long_input(
        setting=setting,
        instructions=made / "instructions.parquet",
        earlier=[tmp_path / "first.parquet", tmp_path / "second.parquet"],
        retrieved=made / "retrieved.parquet",
        documents=corpus[0],
        **{name: tmp_path / name for name in ("summaries", "answers", "samples", "drops", "usage")},
    )
    outcomes = drops(tmp_path / "drops", "long_input")
    assert outcomes["near-duplicate of an earlier shard"] == 1
    assert sum(outcomes.values()) == len(rows)
    asked = set(read_parquet(tmp_path / "summaries", SUMMARIES)["sample_id"])
    assert asked <= set(rows["sample_id"][1:])


def test_retrieval_for_other_instructions_is_refused(
    setting: Setting, made: Path, corpus: Corpus, tmp_path: Path
) -> None:
    other = read_parquet(made / "retrieved.parquet", RETRIEVED).head(0)
    write_parquet(other, tmp_path / "retrieved.parquet", RETRIEVED)
    with pytest.raises(UserError, match="retrieve again"):
        long_input(
            setting=setting,
            instructions=made / "instructions.parquet",
            retrieved=tmp_path / "retrieved.parquet",
            documents=corpus[0],
            **{
                name: tmp_path / name
                for name in ("summaries", "answers", "samples", "drops", "usage")
            },
        )
