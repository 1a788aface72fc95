"""Long-input samples: an answer from summaries to an instruction, with the raw documents as its input.

Section 3.1, steps 3 and 4. The summaries are kept for audit; no sample trains on them.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from selflong.formats import (
    ANSWERS,
    INSTRUCTIONS,
    RETRIEVED,
    SAMPLES,
    SUMMARIES,
    read_parquet,
    table,
    write_parquet,
)
from selflong.job import UserError
from selflong.llm import Answer
from selflong.similarity import jaccard
from selflong.synthesis.agent import Agent, Setting, each, trouble, with_agent
from selflong.synthesis.assembly import Document, LongSample, assemble, with_answer
from selflong.synthesis.briefs import Brief
from selflong.synthesis.chunks import JOINT
from selflong.synthesis.documents import read_texts
from selflong.synthesis.follow_ups import Ground, Turn, follow_ups
from selflong.synthesis.instructions import are_new
from selflong.synthesis.quality import WORD, facts, find_fault, grounding
from selflong.synthesis.statistics import KEPT, Tally
from selflong.synthesis.summaries import Task, summarise

SOURCE = "long_input"
REPEATED_SHARD = "near-duplicate of an earlier shard"


@dataclass
class _Outcome:
    """What became of one instruction."""

    reason: str
    tokens: int = 0
    sample: dict[str, Any] | None = None
    measures: dict[str, Any] | None = None
    """formats.ANSWERS of a sample that is kept."""
    summaries: list[dict[str, Any]] = field(default_factory=list)


def long_input(
    *,
    setting: Setting,
    instructions: Path,
    earlier: Sequence[Path] = (),
    retrieved: Path,
    documents: Sequence[Path],
    summaries: Path,
    answers: Path,
    samples: Path,
    drops: Path,
    usage: Path,
) -> None:
    """Write the samples (SAMPLES) of a shard, their summaries (SUMMARIES), what they hold (ANSWERS), what
    became of every instruction, document and chunk (DROPS), and the usage.

    instructions, retrieved: the shard's INSTRUCTIONS and RETRIEVED; earlier: INSTRUCTIONS of all shards
    before it, in their order, whose instructions are not asked again; documents: the corpus' shards.
    """
    asked = read_parquet(instructions, INSTRUCTIONS)
    found = read_parquet(retrieved, RETRIEVED)
    _check_same_samples(asked, found, retrieved)
    tally = Tally()
    new = _without_repeats_of(earlier, asked, setting, tally)
    rows = new.join(found, on="sample_id", how="left", maintain_order="left").to_dicts()
    texts = read_texts(documents, {name for row in rows for name in row["document_ids"]})

    async def work(agent: Agent) -> list[_Outcome]:
        async def one(row: dict[str, Any]) -> _Outcome:
            outcome = await _make(agent, row, texts)
            agent.made(1)
            return outcome

        return await each(agent, rows, one)

    outcomes = with_agent(setting, tally, work, expected_samples=len(rows))
    for outcome in outcomes:
        tally.add(SOURCE, outcome.reason, outcome.tokens)
    tally.write(drops, usage)
    all_summaries = [row for outcome in outcomes for row in outcome.summaries]
    write_parquet(table(all_summaries, SUMMARIES), summaries, SUMMARIES)
    measures = [outcome.measures for outcome in outcomes if outcome.measures is not None]
    write_parquet(table(measures, ANSWERS), answers, ANSWERS)
    kept = [outcome.sample for outcome in outcomes if outcome.sample is not None]
    write_parquet(table(kept, SAMPLES), samples, SAMPLES)


def _check_same_samples(asked: pl.DataFrame, found: pl.DataFrame, place: Path) -> None:
    missing = asked.join(found, on="sample_id", how="anti")["sample_id"]
    if len(missing) > 0:
        raise UserError(
            f"{place}: sample {missing[0]!r} is missing: retrieve again for these instructions"
        )


def _without_repeats_of(
    earlier: Sequence[Path], asked: pl.DataFrame, setting: Setting, tally: Tally
) -> pl.DataFrame:
    before = [
        text
        for shard in earlier
        for text in read_parquet(shard, INSTRUCTIONS)["instruction"].to_list()
    ]
    threshold = setting.synthesis.needed_long_input.duplicate_threshold
    new = asked.filter(are_new(asked["instruction"].to_list(), before, threshold))
    if new.height < asked.height:
        tally.add(SOURCE, REPEATED_SHARD, rows=asked.height - new.height)
    return new


async def _make(agent: Agent, row: dict[str, Any], texts: dict[str, str]) -> _Outcome:
    """Assemble, summarise, answer and judge one sample."""
    task = Task.of_row(row, agent.setting)
    sample = await asyncio.to_thread(_assemble, agent, row, task, texts)
    if sample is None:
        return _Outcome("no document fits")
    pairs = [(document.id, document.text) for document in sample.documents]
    summarised = await summarise(agent, task, pairs)
    notes = JOINT.join(summarised.texts)
    if not summarised.texts:
        return _Outcome("no relevant chunk", sample.input_tokens, summaries=summarised.rows)
    result, provenance = await agent.ask(
        agent.setting.prompts["answer"],
        task.answer_tokens,
        "answer",
        task.sample_id,
        notes=notes,
        **task.values,
    )
    if not isinstance(result, Answer):
        return _Outcome(f"answer {trouble(result)}", sample.input_tokens, summaries=summarised.rows)
    reason = await _judge(agent, task, sample, result)
    if reason != KEPT:
        return _Outcome(reason, sample.input_tokens, summaries=summarised.rows)
    ground = Ground(Brief.of_row(row), notes, [document.text for document in sample.documents])
    first = Turn(task, result.text.strip())
    turns = await follow_ups(agent, task.sample_id, ground, first)
    messages, tokens = _conversation(sample, first, turns, row["target_tokens"], agent.setting)
    if tokens > row["target_tokens"]:
        # Only where the generator's tokens are fewer than the trained model's for the same answer.
        return _Outcome("answer beyond its reserve", tokens, summaries=summarised.rows)
    made = {
        "sample_id": task.sample_id,
        "kind": "long_input",
        "source": agent.setting.generator_name,
        "family": row["family"],
        "messages": messages,
        "document_ids": [document.id for document in sample.documents],
        "tokens": tokens,
        "provenance": _with_keys(provenance, turns),
    }
    measures = await asyncio.to_thread(_measures, task, result.text, sample, summarised.texts)
    return _Outcome(KEPT, tokens, made, measures, summarised.rows)


def _conversation(
    sample: LongSample, first: Turn, turns: list[Turn], room: int, setting: Setting
) -> tuple[list[dict[str, Any]], int]:
    """Messages and tokens of the sample; takes the last ones off `turns` while they are beyond `room`."""
    while True:
        further = [(turn.task.request, turn.answer) for turn in turns]
        messages, tokens = with_answer(sample, first.answer, setting.target, further)
        if tokens <= room or not turns:
            return messages, tokens
        turns.pop()


def _with_keys(provenance: dict[str, Any], turns: Sequence[Turn]) -> dict[str, Any]:
    """The provenance with the requests of further turns after that of the answer."""
    keys = [key for turn in turns for key in turn.keys]
    return {**provenance, "request_keys": [*provenance["request_keys"], *keys]}


def _measures(task: Task, answer: str, sample: LongSample, notes: Sequence[str]) -> dict[str, Any]:
    """The row of formats.ANSWERS."""
    documents = [document.text for document in sample.documents]
    new = facts(answer) - facts(task.request)
    return {
        "sample_id": task.sample_id,
        "words": len(answer.split()),
        "content_in_documents": grounding(answer, documents),
        "facts": len(new),
        "facts_in_documents": len(new & _words_of(documents)),
        "facts_in_summaries": len(new & _words_of(notes)),
    }


def _words_of(texts: Sequence[str]) -> set[str]:
    return {word for text in texts for word in WORD.findall(text.lower())}


def _assemble(
    agent: Agent, row: dict[str, Any], task: Task, texts: dict[str, str]
) -> LongSample | None:
    setting = agent.setting
    settings = setting.synthesis.needed_long_input
    ranked = [
        Document(document, texts[document], tokens)
        for document, tokens in _without_repeats(row["document_ids"], row["tokens"])
        if settings.include_seed_document or document != row["seed_document_id"]
    ]
    random = setting.random(row["sample_id"], "order")
    room = row["target_tokens"] - Brief.of_row(row).reserve(settings)
    sample = assemble(task.request, ranked, room, settings, setting.target, random)
    used = sample.documents if sample else []
    agent.tally.add("documents", "used", sum(d.tokens for d in used), len(used))
    left_out = len(ranked) - len(used)
    tokens_left_out = sum(d.tokens for d in ranked) - sum(d.tokens for d in used)
    agent.tally.add("documents", "left out: longer than the rest", tokens_left_out, left_out)
    return sample


def _without_repeats(ids: Sequence[str], tokens: Sequence[int]) -> list[tuple[str, int]]:
    return list(dict(zip(reversed(ids), reversed(tokens), strict=True)).items())[::-1]


async def _judge(agent: Agent, task: Task, sample: LongSample, answer: Answer) -> str:
    """KEPT, or the gate that the answer does not pass."""
    gates = agent.setting.synthesis.gates
    texts = [document.text for document in sample.documents]
    fault = find_fault(answer, task.instruction, texts, gates)
    if fault is not None:
        return fault
    if agent.setting.random(task.sample_id, "closed book").random() >= gates.closed_book_share:
        return KEPT
    twin, _ = await agent.ask(
        agent.setting.prompts["closed_book"],
        task.answer_tokens,
        "closed book",
        task.sample_id,
        **task.values,
    )
    if not isinstance(twin, Answer):
        agent.tally.add("closed book", trouble(twin))
        return KEPT
    same = jaccard(answer.text, twin.text, 1) >= gates.closed_book_similarity
    agent.tally.add("closed book", "same answer" if same else "another answer")
    return "same answer without documents" if same else KEPT
