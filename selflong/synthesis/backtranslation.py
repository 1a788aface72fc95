"""Long-output samples: a writing instruction back-translated from its target, a document (section 3.1)."""

import hashlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import polars as pl

from selflong.formats import TOKEN_COUNTS, read_parquets
from selflong.llm import Answer
from selflong.recipe.synthesis import LongOutput
from selflong.synthesis.agent import Agent, Setting, each, trouble, with_agent
from selflong.synthesis.assembly import message
from selflong.synthesis.chunks import split
from selflong.synthesis.documents import SampleShard, read_texts
from selflong.synthesis.quality import (
    boilerplate_share,
    find_instruction,
    find_task,
    is_truncated,
)
from selflong.synthesis.randomness import sample_ids
from selflong.synthesis.statistics import KEPT, Tally
from selflong.tokens import Tokenizer

SOURCE = "long_output"
_READ_AHEAD = 2
_GAP = "\n\n[...]\n\n"
_ROUNDING = 50  # words


@dataclass(frozen=True)
class _Candidate:
    sample_id: str
    document: str
    text: str


def long_output(*, setting: Setting, files: SampleShard) -> None:
    """Write the samples of a shard.

    No two shards use the same document. Where documents fall out, others take their place, so that the
    recipe's number is reached while there are documents.
    """
    section, name = setting.synthesis.needed_long_output, setting.generator_name
    wanted = len(sample_ids(name, SOURCE, section.samples, section.shards, files.shard))
    tally = Tally()
    eligible = _eligible(setting, files.shard, files.token_counts, tally)
    supply = _Supply(setting, eligible, files.documents, tally)

    async def work(agent: Agent) -> list[dict[str, Any]]:
        async def one(candidate: _Candidate) -> dict[str, Any] | None:
            row = await _make(agent, candidate)
            agent.made(row is not None)
            return row

        made: list[dict[str, Any]] = []
        while candidates := supply.take(wanted - len(made)):
            made.extend(row for row in await each(agent, candidates, one) if row is not None)
        return made

    rows = with_agent(setting, tally, work, expected_samples=wanted)
    if len(rows) < wanted:
        tally.add(SOURCE, "no document left", rows=wanted - len(rows))
    files.write(rows, tally)


def _eligible(
    setting: Setting, shard: int, token_counts: Sequence[Path], tally: Tally
) -> list[str]:
    """Documents of the shard that have the right length, in random order; the order of the files and of
    their rows does not matter."""
    section = setting.synthesis.needed_long_output
    counts = read_parquets(token_counts, TOKEN_COUNTS)
    fits = pl.col("tokens").is_between(section.minimum_tokens, section.maximum_tokens)
    ids = counts.filter(fits)["id"].to_list()
    mine = sorted(
        (place, document)
        for place, document in (
            (_place(setting.recipe.seed, document), document) for document in ids
        )
        if place % section.shards == shard
    )
    outside = counts.filter(~fits)["tokens"]
    tally.add("documents", "too short or too long", int(outside.sum()), len(outside))
    return [document for _, document in mine]


def _place(seed: int, document: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}/{document}".encode(), digest_size=8).digest())


class _Supply:
    """Documents that pass the rules, read a few at a time."""

    def __init__(
        self, setting: Setting, names: Sequence[str], documents: Sequence[Path], tally: Tally
    ) -> None:
        self._setting = setting
        self._names = deque(names)
        self._documents = documents
        self._tally = tally
        self._ready: deque[_Candidate] = deque()

    def take(self, wanted: int) -> list[_Candidate]:
        """The next documents, `wanted` at most; none when all were taken."""
        while len(self._ready) < wanted and self._names:
            few = min(len(self._names), _READ_AHEAD * (wanted - len(self._ready)))
            self._judge([self._names.popleft() for _ in range(few)])
        return [self._ready.popleft() for _ in range(min(wanted, len(self._ready)))]

    def _judge(self, names: list[str]) -> None:
        texts = read_texts(self._documents, names)
        for name in names:
            reason = unfit(texts[name], self._setting.synthesis.needed_long_output)
            if reason is not None:
                self._tally.add("documents", reason)
            else:
                sample = f"{self._setting.generator_name}:{SOURCE}:{name}"
                self._ready.append(_Candidate(sample, name, texts[name]))


def unfit(text: str, section: LongOutput) -> str | None:
    """Why a document is no good target; None where it is."""
    if boilerplate_share(text) > section.maximum_boilerplate_share:
        return "boilerplate"
    if section.drop_truncated and is_truncated(text):
        return "truncated"
    return None


async def _make(agent: Agent, candidate: _Candidate) -> dict[str, Any] | None:
    """The sample of one document; None, counted, where its answer is no instruction."""
    setting, section = agent.setting, agent.setting.synthesis.needed_long_output
    shown = excerpt(candidate.text, section.excerpt_tokens, setting.counter)
    prompt, rules = setting.prompts["back_translation"], setting.prompts.rules
    values = {}
    if rules.shapes:
        shape = setting.random(candidate.sample_id, "shape").choice(list(rules.shapes.values()))
        values["shape"] = shape
    result, provenance = await agent.ask_alone(
        prompt,
        section.instruction_tokens,
        "back-translation",
        candidate.sample_id,
        excerpt=shown,
        **values,
    )
    if not isinstance(result, Answer):
        agent.tally.add(SOURCE, trouble(result))
        return None
    if rules.instruction == "task":
        instruction, reason = find_task(result, shown, values.values())
    else:
        instruction, reason = find_instruction(result, shown, prompt.example_names)
    if instruction is None:
        agent.tally.add(SOURCE, reason)
        return None
    random = setting.random(candidate.sample_id, "length hint")
    if random.random() < section.length_hint_share:
        hint = length_hint(candidate.text, random.choice(rules.length_hints))
        instruction += f"\n\n{hint}" if "\n" in instruction else f" {hint}"
    messages = [
        message("user", ("prompt", instruction)),
        message("assistant", ("response", candidate.text)),
    ]
    tokens = len(setting.target.render(messages).ids)
    agent.tally.add(SOURCE, KEPT, tokens)
    return {
        "sample_id": candidate.sample_id,
        "kind": SOURCE,
        "source": setting.generator_name,
        "family": "back_translation",
        "messages": messages,
        "document_ids": [candidate.document],
        "tokens": tokens,
        "provenance": provenance,
    }


def excerpt(text: str, limit: int, tokenizer: Tokenizer) -> str:
    """The whole document, or its beginning and its end within `limit` tokens."""
    if tokenizer.count(text) <= limit:
        return text
    room = limit - tokenizer.count(_GAP)
    beginning = split(text, max(1, 2 * room // 3), tokenizer)[0]
    end = split(text, max(1, room // 3), tokenizer)[-1]
    return text[slice(*beginning)].strip() + _GAP + text[slice(*end)].strip()


def length_hint(text: str, sentence: str) -> str:
    """`sentence` with the document's length for $words, rounded as a person would."""
    words = max(1, round(len(text.split()) / _ROUNDING)) * _ROUNDING
    return Template(sentence).substitute(words=f"{words:,}")
