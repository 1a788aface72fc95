"""Questions over two documents, in the middle of others (multi-hop; composed as MuSiQue's, arXiv 2108.00573).

A name on a page of one document is asked for, a page of another document is found that says the name, and
what it tells of it is asked for in a question that does not say the name. Such pages are found by looking for
the names in all texts: that takes no encoder and no index, one pass over the corpus for all names of a
shard, as reading the drawn documents does; and a page that is found so does say the name, which is what
the composed question rests on.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from string import Template
from typing import Any

from selflong.formats import HOPS, table, write_parquet
from selflong.synthesis.agent import Agent, Setting, each, with_agent
from selflong.synthesis.assembly import asked_of, fit, message, under_headings
from selflong.synthesis.chunks import split, whole
from selflong.synthesis.documents import DocumentDraw, SampleShard
from selflong.synthesis.hops import (
    SECOND,
    SOURCE,
    Chain,
    Hop,
    Page,
    check,
    compose,
    first_hop,
    prompts_of,
    second_hop,
    section_of,
)
from selflong.synthesis.instructions import GIVEN_UP
from selflong.synthesis.randomness import sample_ids
from selflong.synthesis.short_answers import says
from selflong.synthesis.statistics import KEPT, Tally
from selflong.synthesis.target_lengths import draw_length

ATTEMPTS = 8
"""Pairs of documents that are tried for a sample before it is given up."""
NO_ROOM = "no room for two documents"
NOBODY_SAYS_IT = "no other document says the bridge"
WORDS_AROUND = 128
"""Tokens for a sample's request, headings and chat template, beside its question and its answer."""
_PASSED_OVER = 20
"""Documents that do not fit any more, one after the other, before a sample is full."""

Row = dict[str, Any]


@dataclass(frozen=True)
class _Plan:
    """A sample to be."""

    sample_id: str
    length: int
    longest: int
    """Tokens of a document in it: each of the two has half of the room."""


def multi_hop(*, setting: Setting, files: SampleShard, hops: Path) -> None:
    """Write the samples of a shard, and what each question was composed of (HOPS)."""
    plans = list(_plans(setting, files.shard))
    tally, draw = Tally(), DocumentDraw(files.documents, files.token_counts)

    async def work(agent: Agent) -> dict[str, Chain]:
        return await _find_chains(agent, plans, draw)

    found = with_agent(setting, tally, work, expected_samples=len(plans))
    chains = {plan: found[plan.sample_id] for plan in plans if plan.sample_id in found}
    if len(chains) < len(plans):
        tally.add(SOURCE, GIVEN_UP, rows=len(plans) - len(chains))
    rows = list(_samples(setting, chains, draw, tally))
    parts = [_parts(row["sample_id"], found[row["sample_id"]]) for row in rows]
    write_parquet(table(parts, HOPS), hops, HOPS)
    files.write(rows, tally)


def _plans(setting: Setting, shard: int) -> Iterator[_Plan]:
    section = section_of(setting)
    names = sample_ids(setting.generator_name, SOURCE, section.samples, section.shards, shard)
    for name in names:
        length = draw_length(section.lengths, setting.random(name, "length"))
        yield _Plan(name, length, (length - section.reply_tokens - WORDS_AROUND) // 2)


# -------------------------------------------------------------------------------------- questions


async def _find_chains(
    agent: Agent, plans: Sequence[_Plan], draw: DocumentDraw
) -> dict[str, Chain]:
    """Sample -> the question that it was found."""
    found: dict[str, Chain] = {}
    for attempt in range(ATTEMPTS):
        missing = [plan for plan in plans if plan.sample_id not in found]
        firsts = await _first_hops(agent, missing, attempt, draw)
        pages = await asyncio.to_thread(_second_pages, agent, firsts, attempt, draw)

        async def go_on(
            plan: _Plan, attempt: int = attempt, firsts: Any = firsts, pages: Any = pages
        ) -> None:
            name = f"{plan.sample_id}/{attempt}"
            chain = await _chain(agent, name, firsts[plan], pages[plan])
            if chain is not None:
                found[plan.sample_id] = chain
                agent.made(1)

        await each(agent, list(pages), go_on)
    return found


async def _first_hops(
    agent: Agent, plans: Sequence[_Plan], attempt: int, draw: DocumentDraw
) -> dict[_Plan, Hop]:
    setting = agent.setting
    rows = {
        plan: draw.row(
            setting.random(plan.sample_id, "first document", attempt),
            plan.longest,
            "synthesis.multi_hop.lengths.minimum",
        )
        for plan in plans
    }
    texts = await asyncio.to_thread(draw.read, rows.values())

    async def ask(plan: _Plan) -> Hop | None:
        row = rows[plan]
        random = setting.random(plan.sample_id, "first piece", attempt)
        page = await asyncio.to_thread(_page, setting, row, texts[row], random)
        assert page is not None
        return await first_hop(agent, f"{plan.sample_id}/{attempt}", page)

    hops = await each(agent, plans, ask)
    return {plan: hop for plan, hop in zip(plans, hops, strict=True) if hop is not None}


def _second_pages(
    agent: Agent, firsts: Mapping[_Plan, Hop], attempt: int, draw: DocumentDraw
) -> dict[_Plan, Page]:
    """Of each first hop a page of another document that says its answer; those without are counted."""
    setting = agent.setting
    longest: dict[str, int] = {}
    for plan, hop in firsts.items():
        longest[hop.answer] = max(plan.longest, longest.get(hop.answer, 0))
    naming = draw.naming(longest)
    rows: dict[_Plan, int] = {}
    for plan, hop in firsts.items():
        fitting = [
            row
            for row in naming.get(hop.answer, [])
            if row != hop.page.row and draw.tokens[row] <= plan.longest
        ]
        if fitting:
            random = setting.random(plan.sample_id, "second document", attempt)
            rows[plan] = random.choice(fitting)
    texts = draw.read(rows.values())
    pages: dict[_Plan, Page] = {}
    for plan, row in rows.items():
        random = setting.random(plan.sample_id, "second piece", attempt)
        page = _page(setting, row, texts[row], random, firsts[plan].answer)
        if page is not None:
            pages[plan] = page
    if len(pages) < len(firsts):
        agent.tally.add(SECOND, NOBODY_SAYS_IT, rows=len(firsts) - len(pages))
    return pages


def _page(
    setting: Setting, row: int, document: tuple[str, str], random: Random, name: str | None = None
) -> Page | None:
    """A random piece of a document: one that says the name, where one is given; None where none does."""
    identifier, text = document
    spans = split(text, section_of(setting).chunk_tokens, setting.counter)
    pieces = [text[slice(*spans[place])].strip() for place in whole(spans)]
    if name is not None:
        pieces = [piece for piece in pieces if says(piece, name)]
    return Page(row, identifier, text, random.choice(pieces)) if pieces else None


async def _chain(agent: Agent, name: str, first: Hop, page: Page) -> Chain | None:
    """A question over both documents that passes the checks; None, counted, where there is none."""
    second = await second_hop(agent, name, first, page)
    chain = second and await compose(agent, name, first, second)
    if not chain:
        return None
    checked, outcome = await check(agent, name, chain)
    if outcome != KEPT:
        agent.tally.add(SOURCE, outcome)
        return None
    return checked


# ---------------------------------------------------------------------------------------- samples


def _samples(
    setting: Setting, chains: Mapping[_Plan, Chain], draw: DocumentDraw, tally: Tally
) -> Iterator[Row]:
    """The questions among other documents; those that find no room are counted."""
    others = {plan: _others(setting, plan, chain, draw) for plan, chain in chains.items()}
    texts = draw.read({row for rows in others.values() for row in rows})
    for plan, chain in chains.items():
        beside = [
            Page(row, *texts[row], piece="")
            for row in others[plan]
            if _may_stand_beside(chain, texts[row][1])
        ]
        row = _sample(setting, plan, chain, [chain.first.page, chain.second.page, *beside], draw)
        if row is None:
            tally.add(SOURCE, NO_ROOM)
        else:
            tally.add(SOURCE, KEPT, row["tokens"])
            yield row


def _others(setting: Setting, plan: _Plan, chain: Chain, draw: DocumentDraw) -> list[int]:
    """Rows of random documents that fill what the two leave of a sample."""
    random = setting.random(plan.sample_id, "other documents")
    taken = [chain.first.page.row, chain.second.page.row]
    room = 2 * plan.longest - int(draw.tokens[taken].sum())
    passed_over = 0
    while passed_over < _PASSED_OVER:
        row = draw.row(random, plan.longest)
        if row in taken or draw.tokens[row] > room:
            passed_over += 1
            continue
        taken.append(row)
        room -= int(draw.tokens[row])
        passed_over = 0
    return taken[2:]


def _may_stand_beside(chain: Chain, text: str) -> bool:
    """Not where a third document could tell what the second one does."""
    return bool(text.strip()) and not (says(text, chain.bridge) and says(text, chain.answer))


def _sample(
    setting: Setting, plan: _Plan, chain: Chain, pages: Sequence[Page], draw: DocumentDraw
) -> Row | None:
    """pages: the two documents, then those that stand beside them; None where the two do not fit."""
    rules, random = prompts_of(setting).rules, setting.random(plan.sample_id, "sample")
    family, form = random.choice(sorted(rules.forms.items(), key=lambda item: item[0]))
    layout, heading = random.choice(rules.layouts), random.choice(rules.headings)
    words = {"request": random.choice(form.requests), "question": chain.question}
    seed = random.random()

    def shuffled(places: Sequence[int]) -> list[int]:
        return Random(seed).sample(places, len(places))

    def lay_out(places: Sequence[int]) -> list[dict[str, Any]]:
        order = shuffled(places)
        parts = under_headings(heading, (pages[place].text for place in order))
        reply = Template(form.reply).substitute(
            answer=chain.answer,
            entity=chain.bridge,
            first=order.index(0) + 1,
            second=order.index(1) + 1,
        )
        return [asked_of(layout, words, parts), message("assistant", ("response", reply))]

    heading_tokens = setting.target.count(f"\n\n{heading}\n")
    tokens = [int(draw.tokens[page.row]) + heading_tokens for page in pages]
    fitted = fit(range(len(pages)), tokens, lay_out, plan.length, setting.target, least=2)
    if fitted is None:
        return None
    documents = [pages[place].id for place in shuffled(fitted.taken)]
    name = setting.generator_name
    return fitted.row(plan.sample_id, name, family, documents, chain.provenance)


def _parts(sample_id: str, chain: Chain) -> Row:
    """The row of formats.HOPS."""
    hops = (chain.first, chain.second)
    return {
        "sample_id": sample_id,
        "question": chain.question,
        "answer": chain.answer,
        "questions": [hop.question for hop in hops],
        "answers": [hop.answer for hop in hops],
        "document_ids": [hop.page.id for hop in hops],
    }
