"""Questions on long documents and summaries of them, to fine-tune on (ProLong, section 5 and appendix B.5).

A question is written after one piece of a document and asked twice: of a long stretch of the document around
the piece, and of passages drawn from the whole document, the piece among them. A summary is made of the
summaries of its pieces, as often as that takes. Requests and layouts are drawn from the set's lists.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Literal

from selflong.llm import Answer
from selflong.recipe.document_prompts import DocumentPrompts, load_document_prompts
from selflong.recipe.synthesis import DocumentTasks
from selflong.synthesis.agent import Agent, Setting, each, together, trouble, with_agent
from selflong.synthesis.assembly import (
    Fitted,
    Layout,
    asked_of,
    fit,
    message,
    take,
    under_headings,
)
from selflong.synthesis.chunks import Piece, pack, split, whole
from selflong.synthesis.documents import DocumentDraw, SampleShard
from selflong.synthesis.instructions import GIVEN_UP
from selflong.synthesis.pairs import read_pair
from selflong.synthesis.quality import find_fault
from selflong.synthesis.randomness import sample_ids
from selflong.synthesis.statistics import KEPT, Tally
from selflong.synthesis.summaries import CUT, read_summary
from selflong.synthesis.summaries import KEPT as WHOLE
from selflong.synthesis.target_lengths import draw_length

SOURCE = "document_tasks"
ATTEMPTS = 4
"""Documents that are tried for a question or a summary before it is given up."""
NO_ROOM = "no room for a piece"
NOT_JOINED = "summaries too long to join"
TOO_LONG = "answer beyond its reserve"

Task = Literal["question", "summary"]
Row = dict[str, Any]


@dataclass(frozen=True)
class _Plan:
    """A question or a summary to be."""

    sample_id: str
    task: Task


@dataclass(frozen=True)
class _Document:
    """A document in pieces that follow each other without a gap, and the piece that it was drawn for."""

    id: str
    pieces: list[str]
    tokens: list[int]
    """Of each piece, the trained model's."""
    chosen: int


def document_tasks(*, setting: Setting, files: SampleShard) -> None:
    """Write the samples of a shard.

    A call that gives no sample is repeated with another document, ATTEMPTS times at most.
    """
    plans = list(_plans(setting, files.shard))
    tally, draw = Tally(), DocumentDraw(files.documents, files.token_counts)

    async def work(agent: Agent) -> list[Row]:
        return await _make_all(agent, plans, draw)

    rows = with_agent(setting, tally, work, expected_samples=len(plans))
    files.write(rows, tally)


def _section(setting: Setting) -> DocumentTasks:
    section = setting.synthesis.document_tasks
    assert section is not None
    return section


def _prompts(setting: Setting) -> DocumentPrompts:
    return load_document_prompts(_section(setting).prompts)


def _plans(setting: Setting, shard: int) -> Iterator[_Plan]:
    section, generator = _section(setting), setting.generator_name
    counts: dict[Task, int] = {"question": section.questions, "summary": section.summaries}
    for task, count in counts.items():
        for sample in sample_ids(generator, task, count, section.shards, shard):
            yield _Plan(sample, task)


async def _make_all(agent: Agent, plans: Sequence[_Plan], draw: DocumentDraw) -> list[Row]:
    """Rows in the order of the plans."""
    made: dict[str, list[Row]] = {}
    setting = agent.setting
    for attempt in range(ATTEMPTS):
        missing = [plan for plan in plans if plan.sample_id not in made]
        drawn = {
            plan: draw.row_of_long(
                setting.random(plan.sample_id, "document", attempt),
                _section(setting).minimum_tokens,
            )
            for plan in missing
        }
        texts = draw.read(drawn.values())

        async def make(
            plan: _Plan, attempt: int = attempt, texts: Any = texts, drawn: Any = drawn
        ) -> None:
            found = await asyncio.to_thread(_cut, setting, plan, attempt, texts[drawn[plan]])
            rows = await (_ask if plan.task == "question" else _summarise)(
                agent, plan, attempt, found
            )
            if rows:
                made[plan.sample_id] = rows
                agent.made(1)

        await each(agent, missing, make)
    if len(made) < len(plans):
        agent.tally.add(SOURCE, GIVEN_UP, rows=len(plans) - len(made))
    return [row for plan in plans for row in made.get(plan.sample_id, [])]


def _cut(setting: Setting, plan: _Plan, attempt: int, document: tuple[str, str]) -> _Document:
    name, text = document
    spans = split(text, _section(setting).chunk_tokens, setting.counter)
    pieces = [text[start:end] for start, end in spans]
    chosen = setting.random(plan.sample_id, "piece", attempt).choice(whole(spans))
    return _Document(name, pieces, setting.target.count_many(pieces).tolist(), chosen)


# ------------------------------------------------------------------------------------- questions


async def _ask(agent: Agent, plan: _Plan, attempt: int, document: _Document) -> list[Row]:
    """The two samples of a question; none, counted, where there is no usable one."""
    piece = document.pieces[document.chosen].strip()
    result, provenance = await agent.ask(
        _prompts(agent.setting).question,
        _section(agent.setting).reply_tokens,
        "question",
        f"{plan.sample_id}/{attempt}",
        chunk=piece,
    )
    pair, fault = read_pair(result, piece)
    if pair is not None and isinstance(result, Answer):
        answer = replace(result, text=pair[1])
        fault = find_fault(answer, pair[0], [piece], agent.setting.synthesis.gates) or ""
    if pair is None or fault:
        agent.tally.add(SOURCE, fault)
        return []
    made = await asyncio.to_thread(_both, agent, plan, document, pair, provenance)
    return _counted(agent, made)


def _both(
    agent: Agent, plan: _Plan, document: _Document, pair: tuple[str, str], provenance: Row
) -> list[Row | None]:
    setting, rules = agent.setting, _prompts(agent.setting).rules
    question, answer = pair
    rows = []
    for family, requests, order in (
        ("question", rules.question_requests, around),
        ("passages", rules.passage_requests, among),
    ):
        random = setting.random(plan.sample_id, family)
        layout = random.choice(rules.question_layouts)
        words = {"request": random.choice(requests), "question": question}
        heading = random.choice(rules.passage_headings) if family == "passages" else None
        places = order(len(document.pieces), document.chosen, random)
        laid_out = _layout(document, layout, words, heading, random.random(), answer)
        length = draw_length(_section(setting).lengths, random)
        fitted = fit(places, document.tokens, laid_out, length, setting.target)
        row = _row(setting, plan, family, document, fitted, provenance) if fitted else None
        rows.append(row)
    return rows


def around(count: int, place: int, random: Random) -> list[int]:
    """All of `count` places, `place` first; the first ones always follow each other without a gap."""
    left, right = place - 1, place + 1
    share = random.random()
    order = [place]
    while left >= 0 or right < count:
        if right >= count or (left >= 0 and random.random() < share):
            order.append(left)
            left -= 1
        else:
            order.append(right)
            right += 1
    return order


def among(count: int, place: int, random: Random) -> list[int]:
    """All of `count` places, `place` first and the others by chance."""
    others = [other for other in range(count) if other != place]
    return [place, *random.sample(others, len(others))]


def _layout(
    document: _Document, layout: str, words: Mapping[str, str], heading: str | None, seed: float,
    reply: str,
) -> Layout:  # fmt: skip
    """heading: of a passage; None where the pieces are one text. reply: the answer that is trained on."""

    def lay_out(places: Sequence[int]) -> list[dict[str, Any]]:
        if heading is None:
            text = "".join(document.pieces[place] for place in sorted(places)).strip()
            parts = [("document", text)]
        else:
            shuffled = Random(seed).sample(places, len(places))
            parts = under_headings(heading, [document.pieces[place] for place in shuffled])
        return [asked_of(layout, words, parts), message("assistant", ("response", reply))]

    return lay_out


# ------------------------------------------------------------------------------------- summaries


async def _summarise(agent: Agent, plan: _Plan, attempt: int, document: _Document) -> list[Row]:
    """The sample of a summary; none, counted, where there is no usable one."""
    setting, section, rules = agent.setting, _section(agent.setting), _prompts(agent.setting).rules
    random = setting.random(plan.sample_id, "summary", attempt)
    layout = random.choice(rules.summary_layouts)
    words = {"request": random.choice(rules.summary_requests)}
    length = draw_length(section.lengths, random)
    room = length - section.summary_tokens - setting.target.count(layout + words["request"])
    places = around(len(document.pieces), document.chosen, random)
    taken = sorted(take(places, document.tokens, room))
    pieces = [Piece(f"{document.id}#{place}", document.pieces[place]) for place in taken]
    text, fault, provenance = await _recursive(agent, f"{plan.sample_id}/{attempt}", pieces)
    if fault:
        agent.tally.add(SOURCE, fault)
        return []
    messages = _layout(document, layout, words, None, 0.0, text)(taken)
    tokens = len((await asyncio.to_thread(setting.target.render, messages)).ids)
    if tokens > length:
        agent.tally.add(SOURCE, TOO_LONG, tokens)
        return []
    fitted = Fitted(messages, tokens, taken)
    return _counted(agent, [_row(setting, plan, "summary", document, fitted, provenance)])


async def _recursive(agent: Agent, name: str, pieces: Sequence[Piece]) -> tuple[str, str, Row]:
    """The summary of consecutive pieces, what is wrong with it, and the provenance of all its calls."""
    section, prompts = _section(agent.setting), _prompts(agent.setting)
    limit, counter = section.chunk_tokens, agent.setting.counter
    keys: list[str] = []
    depth = 0
    while True:
        chunks = await asyncio.to_thread(pack, pieces, limit, counter)
        if depth > 0 and len(chunks) == len(pieces):
            return "", NOT_JOINED, {}
        prompt = prompts.merge if depth else prompts.summary
        said = await together(
            [
                agent.ask(
                    prompt, section.summary_tokens, "book summary", f"{name}/{depth}/{place:04}",
                    text=chunk.text.strip(),
                )
                for place, chunk in enumerate(chunks)
            ]
        )  # fmt: skip
        texts = []
        for result, provenance in said:
            if not isinstance(result, Answer):
                return "", trouble(result), {}
            text, status = read_summary(result.text, result.finish_reason)
            fault = find_fault(
                replace(result, text=text, finish_reason="stop"),
                text, [piece.text for piece in pieces], agent.setting.synthesis.gates,
            )  # fmt: skip
            if status not in (WHOLE, CUT) or fault is not None:
                return "", fault or status, {}
            texts.append(text)
            keys += provenance["request_keys"]
        if len(texts) == 1:
            return texts[0], "", {**provenance, "request_keys": keys}
        pieces = [Piece(f"{name}/{depth}/{place}", text) for place, text in enumerate(texts)]
        depth += 1


# --------------------------------------------------------------------------------------- samples


def _row(
    setting: Setting, plan: _Plan, family: str, document: _Document, fitted: Fitted, provenance: Row
) -> Row:
    name = f"{plan.sample_id}:{family}"
    return fitted.row(name, setting.generator_name, family, [document.id], provenance)


def _counted(agent: Agent, rows: Sequence[Row | None]) -> list[Row]:
    """Those that there are; the tally knows of the others."""
    kept = [row for row in rows if row is not None]
    for row in kept:
        agent.tally.add(SOURCE, KEPT, row["tokens"])
    if len(kept) < len(rows):
        agent.tally.add(SOURCE, NO_ROOM, rows=len(rows) - len(kept))
    return kept
