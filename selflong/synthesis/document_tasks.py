"""Questions on long documents and summaries of them, to fine-tune on (ProLong, section 5 and appendix B.5).

A question is written after one piece of a document and asked twice: of a long stretch of the document around
the piece, and of passages drawn from the whole document, the piece among them. A summary is made of the
summaries of its pieces, as often as that takes. Requests and layouts are drawn from the set's lists.
"""

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from string import Template
from typing import Any, Literal

from selflong.llm import Answer, Result
from selflong.recipe.document_prompts import DocumentPrompts, load_document_prompts
from selflong.recipe.synthesis import DocumentTasks
from selflong.synthesis.agent import Agent, Setting, each, together, trouble, with_agent
from selflong.synthesis.assembly import message
from selflong.synthesis.chunks import Piece, pack, split
from selflong.synthesis.documents import DocumentDraw, SampleShard
from selflong.synthesis.instructions import GIVEN_UP
from selflong.synthesis.quality import TRUNCATED, find_fault, find_instruction
from selflong.synthesis.randomness import sample_ids
from selflong.synthesis.statistics import KEPT, Tally
from selflong.synthesis.summaries import CUT, read_summary
from selflong.synthesis.summaries import KEPT as WHOLE
from selflong.synthesis.target_lengths import draw_length

SOURCE = "document_tasks"
ATTEMPTS = 4
"""Documents that are tried for a question or a summary before it is given up."""
UNREADABLE = "no question and answer"
NO_ROOM = "no room for a piece"
NOT_JOINED = "summaries too long to join"
TOO_LONG = "answer beyond its reserve"

_REPLY = re.compile(
    r"^\W*question\s*:[\s*]*(.+?)\s*^\W*answer\s*:[\s*]*(.+)",
    re.IGNORECASE | re.MULTILINE | re.DOTALL,
)

Task = Literal["question", "summary"]
Row = dict[str, Any]
Layout = Callable[[Sequence[int]], list[dict[str, Any]]]
"""Pieces, by their places in the document -> the question that holds them."""


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
    # The rest at a document's end can be a few words.
    longest = max(end - start for start, end in spans)
    whole = [place for place, (start, end) in enumerate(spans) if 2 * (end - start) >= longest]
    pieces = [text[start:end] for start, end in spans]
    chosen = setting.random(plan.sample_id, "piece", attempt).choice(whole)
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


def read_pair(result: Result, piece: str) -> tuple[tuple[str, str] | None, str]:
    """Question and answer in a reply after reading `piece`, or None and the reason."""
    if not isinstance(result, Answer):
        return None, trouble(result)
    if result.finish_reason != "stop":
        return None, TRUNCATED
    found = _REPLY.search(result.text)
    if found is None:
        return None, UNREADABLE
    question, reason = find_instruction(replace(result, text=found[1]), piece)
    return ((question, found[2].strip()), "") if question else (None, reason)


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
        laid_out = _layout(document, layout, words, heading, random.random())
        length = draw_length(_section(setting).lengths, random)
        reply = message("assistant", ("response", answer))
        rows.append(
            _fitted(setting, plan, family, document, places, laid_out, reply, length, provenance)
        )
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
    document: _Document, layout: str, words: Mapping[str, str], heading: str | None, seed: float
) -> Layout:
    """heading: of a passage; None where the pieces are one text."""
    before, after = (Template(part).substitute(words) for part in layout.split("$document"))

    def lay_out(places: Sequence[int]) -> list[dict[str, Any]]:
        parts: list[tuple[str, str]] = []
        if heading is None:
            parts.append(
                ("document", "".join(document.pieces[place] for place in sorted(places)).strip())
            )
        else:
            for number, place in enumerate(Random(seed).sample(places, len(places)), 1):
                title = Template(heading).substitute(number=number)
                parts.append(("prompt", f"\n\n{title}\n" if number > 1 else f"{title}\n"))
                parts.append(("document", document.pieces[place].strip()))
        whole = [("prompt", before), *parts, ("prompt", after)]
        return [message("user", *((kind, text) for kind, text in whole if text))]

    return lay_out


def _taken(document: _Document, places: Sequence[int], room: int) -> list[int]:
    """The first places whose pieces have at most `room` tokens together; one at least."""
    taken: list[int] = []
    total = 0
    for place in places:
        total += document.tokens[place]
        if taken and total > room:
            break
        taken.append(place)
    return taken


def _fitted(
    setting: Setting, plan: _Plan, family: str, document: _Document, places: Sequence[int],
    lay_out: Layout, reply: dict[str, Any], length: int, provenance: Row,
) -> Row | None:  # fmt: skip
    """The sample with as many of the first places as `length` tokens hold; None where not one does."""
    taken = _taken(document, places, length)
    while taken:
        messages = [*lay_out(taken), reply]
        tokens = len(setting.target.render(messages).ids)
        if tokens <= length:
            return _row(setting, plan, family, document, messages, tokens, provenance)
        # Words beside the pieces, and tokens that join at their seams.
        taken.pop()
    return None


# ------------------------------------------------------------------------------------- summaries


async def _summarise(agent: Agent, plan: _Plan, attempt: int, document: _Document) -> list[Row]:
    """The sample of a summary; none, counted, where there is no usable one."""
    setting, section, rules = agent.setting, _section(agent.setting), _prompts(agent.setting).rules
    random = setting.random(plan.sample_id, "summary", attempt)
    layout = random.choice(rules.summary_layouts)
    words = {"request": random.choice(rules.summary_requests)}
    length = draw_length(section.lengths, random)
    lay_out = _layout(document, layout, words, None, 0.0)
    room = length - section.summary_tokens - setting.target.count(layout + words["request"])
    places = around(len(document.pieces), document.chosen, random)
    taken = sorted(_taken(document, places, room))
    pieces = [Piece(f"{document.id}#{place}", document.pieces[place]) for place in taken]
    text, fault, provenance = await _recursive(agent, f"{plan.sample_id}/{attempt}", pieces)
    if fault:
        agent.tally.add(SOURCE, fault)
        return []
    messages = [*lay_out(taken), message("assistant", ("response", text))]
    tokens = len((await asyncio.to_thread(setting.target.render, messages)).ids)
    if tokens > length:
        agent.tally.add(SOURCE, TOO_LONG, tokens)
        return []
    return _counted(agent, [_row(setting, plan, "summary", document, messages, tokens, provenance)])


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
    setting: Setting, plan: _Plan, family: str, document: _Document, messages: list[dict[str, Any]],
    tokens: int, provenance: Row,
) -> Row:  # fmt: skip
    return {
        "sample_id": f"{plan.sample_id}:{family}",
        "kind": "short",  # the loss is that of conversations: on responses alone
        "source": setting.generator_name,
        "family": family,
        "messages": messages,
        "document_ids": [document.id],
        "tokens": tokens,
        "provenance": provenance,
    }


def _counted(agent: Agent, rows: Sequence[Row | None]) -> list[Row]:
    """Those that there are; the tally knows of the others."""
    kept = [row for row in rows if row is not None]
    for row in kept:
        agent.tally.add(SOURCE, KEPT, row["tokens"])
    if len(kept) < len(rows):
        agent.tally.add(SOURCE, NO_ROOM, rows=len(rows) - len(kept))
    return kept
