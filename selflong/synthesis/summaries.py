"""Recursive query-focused summaries (section 3.1, step 3): chunk by chunk until they fit the answerer."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from selflong.llm import Answer
from selflong.synthesis.agent import Agent, Setting, together, trouble
from selflong.synthesis.assembly import HEADING
from selflong.synthesis.briefs import Brief
from selflong.synthesis.chunks import JOINT, Chunk, Piece, document_pieces, pack

KEPT, IRRELEVANT, CUT, FAILED = "kept", "irrelevant", "cut", "failed"
SOURCE = "chunks"
# The agent was asked to write this word alone. Small models add to it, say it of each document, or name
# documents of which they tell nothing.
_IRRELEVANT = re.compile(r"\W*irrelevant\b", re.IGNORECASE)
_EMPTY_LINE = re.compile(
    r"^[^\w\n]*(?:(?:document \d+[^\w\n]*)+(?:irrelevant)?|irrelevant)[^\w\n]*$\n?", re.I | re.M
)
_SENTENCE_END = re.compile(r"[.!?][\"')\]]*(?=\s|$)")


@dataclass(frozen=True)
class Task:
    """An instruction whose answer is on its way."""

    sample_id: str
    values: Mapping[str, str]
    """What prompts are filled with: the instruction, and the form and length that it asks for."""
    answer_tokens: int
    """The most of its answer."""
    closing: str | None
    """Said after the instruction in the sample alone: form and length are nothing to retrieve or note by."""

    @property
    def instruction(self) -> str:
        return self.values["instruction"]

    @property
    def request(self) -> str:
        """What the sample asks."""
        if self.closing is None:
            return self.instruction
        return self.instruction + ("\n\n" if "\n" in self.instruction else " ") + self.closing

    @classmethod
    def of_row(cls, row: Mapping[str, Any], setting: Setting) -> "Task":
        """Of a row of formats.INSTRUCTIONS."""
        brief = Brief.of_row(row)
        values = brief.values(setting.prompts.rules) | {"instruction": row["instruction"]}
        tokens = brief.answer_tokens(setting.synthesis.needed_long_input)
        return cls(row["sample_id"], values, tokens, row["closing"])


@dataclass
class Summarised:
    """What is left of a sample's documents for the answerer, and every summary on the way."""

    texts: list[str] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    depth: int = 0
    """Levels of summaries: 1 where each chunk was read once."""
    tokens: dict[str, int] = field(default_factory=dict)
    """Of the chunk behind each summary, by the generator's tokenizer."""


async def summarise(agent: Agent, task: Task, documents: Sequence[tuple[str, str]]) -> Summarised:
    """Summarise `documents`, (id, text) each in the order of the sample, for the task.

    Every chunk ends as kept, irrelevant, cut or failed; `cut` are summaries that ended early, at their limit
    of tokens or by the provider's filter (used up to their last whole sentence), and those that still did not
    fit at the greatest depth (left out).
    """
    limits = agent.setting.synthesis.needed_long_input
    counter = agent.setting.counter
    heading = HEADING if agent.setting.prompts.rules.numbered_documents else ""
    pieces = await asyncio.to_thread(
        document_pieces, documents, limits.chunk_tokens, counter, heading.lstrip()
    )
    done = Summarised()
    while done.depth < limits.maximum_depth:
        chunks = await asyncio.to_thread(pack, pieces, limits.chunk_tokens, counter)
        if done.depth > 0 and len(chunks) == len(pieces):
            break  # nothing can be joined, so another level would not be shorter
        pieces = await _level(agent, task, chunks, done)
        done.depth += 1
        if _fits(agent, task, pieces):
            break
    done.texts = [piece.text for piece in _fitting(agent, task, pieces, done)]
    agent.tally.add("depth", str(done.depth))
    for row in done.rows:
        source = f"{SOURCE} at depth {row['depth']}"
        agent.tally.add(source, row["status"], done.tokens[row["summary_id"]])
    return done


async def _level(
    agent: Agent, task: Task, chunks: Sequence[Chunk], done: Summarised
) -> list[Piece]:
    """One summary of each chunk; what matters is given on."""
    names = [f"{task.sample_id}/{done.depth}/{index:04}" for index in range(len(chunks))]
    rows = await together(
        [
            _summary(agent, task, name, chunk, done.depth)
            for name, chunk in zip(names, chunks, strict=True)
        ]
    )
    for name, chunk in zip(names, chunks, strict=True):
        done.tokens[name] = agent.setting.counter.count(chunk.text)
    done.rows.extend(rows)
    return [Piece(row["summary_id"], row["text"]) for row in rows if row["status"] in (KEPT, CUT)]


async def _summary(agent: Agent, task: Task, name: str, chunk: Chunk, depth: int) -> dict[str, Any]:
    limits = agent.setting.synthesis.needed_long_input
    result, provenance = await agent.ask(
        agent.setting.prompts.summary(depth),
        limits.summary_tokens,
        "summary",
        name,
        text=chunk.text.strip(),
        **task.values,
    )
    if isinstance(result, Answer):
        text, status = read_summary(result.text, result.finish_reason)
    else:
        text, status = trouble(result), FAILED
    return {
        "summary_id": name,
        "sample_id": task.sample_id,
        "parents": chunk.parents,
        "depth": depth,
        "text": text,
        "status": status,
        "provenance": provenance,
    }


def read_summary(text: str, finish_reason: str) -> tuple[str, str]:
    """Text and status of what the agent said about a chunk."""
    text = text.strip()
    if not text and finish_reason != "stop":
        return f"nothing was said ({finish_reason})", FAILED
    rest = _EMPTY_LINE.sub("", text).strip()
    if not rest or _IRRELEVANT.match(text):
        return text, IRRELEVANT
    text = rest
    if finish_reason == "stop":
        return text, KEPT
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    return (text[: ends[-1]] if ends else text), CUT


def _fits(agent: Agent, task: Task, pieces: Sequence[Piece]) -> bool:
    room = agent.setting.generator.context_tokens - task.answer_tokens
    notes = JOINT.join(piece.text for piece in pieces)
    prompt = agent.setting.prompts["answer"]
    return agent.prompt_tokens(prompt, notes=notes, **task.values) <= room


def _fitting(agent: Agent, task: Task, pieces: list[Piece], done: Summarised) -> list[Piece]:
    """The first pieces that fit the answerer; the others are marked as cut."""
    fitting = list(pieces)
    rows = {row["summary_id"]: row for row in done.rows}
    while fitting and not _fits(agent, task, fitting):
        row = rows[fitting.pop().parent]
        row["status"] = CUT
        agent.tally.add(SOURCE, "left out at the greatest depth", rows=1)
    return fitting
