"""Instructions that need several documents, each written after a random chunk (section 3.1, step 1)."""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from selflong.formats import INSTRUCTIONS, table, write_parquet
from selflong.llm import Answer
from selflong.recipe.prompts import load_prompt_set
from selflong.recipe.recipe import Recipe
from selflong.similarity import find_duplicates
from selflong.synthesis.agent import Agent, Setting, each, trouble, with_agent
from selflong.synthesis.briefs import Brief, draw_brief
from selflong.synthesis.chunks import split, whole
from selflong.synthesis.documents import DocumentDraw
from selflong.synthesis.quality import find_instruction, find_task
from selflong.synthesis.randomness import random_of, sample_ids
from selflong.synthesis.statistics import KEPT, Tally
from selflong.synthesis.target_lengths import draw_length

logger = logging.getLogger(__name__)

ATTEMPTS = 6
"""Calls with another seed chunk each before a sample is given up."""
DUPLICATE_NGRAM = 3
"""Words that are compared at once."""
SOURCE = "instructions"
NEAR_DUPLICATE = "near-duplicate"
GIVEN_UP = "given up"


@dataclass(frozen=True)
class Plan:
    """A sample to be."""

    sample_id: str
    brief: Brief
    target_tokens: int


@dataclass(frozen=True)
class SeedChunk:
    """A random chunk of a random document."""

    document: str
    start: int
    end: int
    text: str


def plan_instructions(recipe: Recipe, generator: str, shard: int) -> list[Plan]:
    """What is asked for and the length of every sample of a shard, drawn from the recipe's distributions."""
    assert recipe.synthesis is not None
    rules = load_prompt_set(recipe.generators[generator].prompts).rules
    section = recipe.synthesis.needed_long_input
    families, weights = zip(*sorted(section.families.items()), strict=True)
    plans = []
    for sample in sample_ids(generator, "long_input", section.samples, section.shards, shard):
        random = random_of(recipe.seed, sample, "plan")
        family = random.choices(families, weights)[0]
        tokens = draw_length(section.lengths, random)
        plans.append(Plan(sample, draw_brief(rules, section, family, tokens, random), tokens))
    return plans


def write_instructions(
    *,
    setting: Setting,
    shard: int,
    documents: Sequence[Path],
    token_counts: Sequence[Path],
    instructions: Path,
    drops: Path,
    usage: Path,
) -> None:
    """Write the instructions (INSTRUCTIONS) of a shard, what became of every call (DROPS), and the usage.

    documents: the corpus' shards; token_counts: TOKEN_COUNTS of each. Seed documents are such that the sample
    has room for the whole of them. A call whose answer is no instruction, or nearly one that the shard
    already has, is repeated with another seed chunk, ATTEMPTS times at most. What other shards have is not
    known yet: `long_input` drops what an earlier one has.
    """
    plans = plan_instructions(setting.recipe, setting.generator_name, shard)
    tally = Tally()
    draw = DocumentDraw(documents, token_counts)

    async def work(agent: Agent) -> list[dict[str, Any]]:
        return await _write_all(agent, plans, draw)

    rows = with_agent(setting, tally, work, expected_samples=len(plans))
    if len(rows) < len(plans):
        logger.warning("%d of %d samples have no instruction", len(plans) - len(rows), len(plans))
        tally.add(SOURCE, GIVEN_UP, rows=len(plans) - len(rows))
    tally.write(drops, usage)
    write_parquet(table(rows, INSTRUCTIONS), instructions, INSTRUCTIONS)


async def _write_all(agent: Agent, plans: list[Plan], draw: DocumentDraw) -> list[dict[str, Any]]:
    """Rows in the order of the plans; those that found no instruction are missing."""
    written: dict[str, dict[str, Any]] = {}
    for attempt in range(ATTEMPTS):
        missing = [plan for plan in plans if plan.sample_id not in written]
        chunks = _seed_chunks(agent.setting, draw, missing, attempt)

        async def write(plan: Plan, attempt: int = attempt, chunks: Any = chunks) -> Any:
            return await _write(agent, plan, attempt, chunks[plan.sample_id])

        # Judged in the order of the plans, so that the same answers give the same rows.
        rows = [row for row in await each(agent, missing, write) if row is not None]
        new = _without_duplicates(agent, list(written.values()), rows)
        written.update((row["sample_id"], row) for row in new)
        agent.made(len(new))
    return [written[plan.sample_id] for plan in plans if plan.sample_id in written]


def _without_duplicates(
    agent: Agent, written: list[dict[str, Any]], rows: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The rows whose instruction repeats neither a written one nor one before it."""
    threshold = agent.setting.synthesis.needed_long_input.duplicate_threshold
    earlier, texts = ([row["instruction"] for row in group] for group in (written, rows))
    kept = []
    for row, new in zip(rows, are_new(texts, earlier, threshold), strict=True):
        agent.tally.add(SOURCE, KEPT if new else NEAR_DUPLICATE)
        if new:
            kept.append(row)
    return kept


def are_new(texts: Sequence[str], earlier: Sequence[str], threshold: float) -> list[bool]:
    """Whether each instruction repeats neither one of `earlier` nor one before it.

    What comes first stays. So a shard that is given all shards before it drops the same instructions,
    whether or not the shards after it are there.
    """
    if not texts:
        return []
    duplicate_of = find_duplicates([*earlier, *texts], DUPLICATE_NGRAM, threshold)
    return [place < 0 for place in duplicate_of.tolist()[len(earlier) :]]


def _seed_chunks(
    setting: Setting, draw: DocumentDraw, plans: Sequence[Plan], attempt: int
) -> dict[str, SeedChunk]:
    randoms = {
        plan.sample_id: setting.random(plan.sample_id, "seed chunk", attempt) for plan in plans
    }
    section = setting.synthesis.needed_long_input
    room = {
        plan.sample_id: plan.target_tokens
        - section.instruction_tokens
        - plan.brief.reserve(section)
        for plan in plans
    }
    rows = {sample: draw.row(random, room[sample]) for sample, random in randoms.items()}
    texts = draw.read(rows.values())
    limit = section.seed_chunk_tokens
    chunks = {}
    for sample, random in randoms.items():
        document, text = texts[rows[sample]]
        spans = split(text, limit, setting.counter)
        start, end = spans[random.choice(whole(spans))]
        chunks[sample] = SeedChunk(document, start, end, text[start:end])
    return chunks


async def _write(agent: Agent, plan: Plan, attempt: int, chunk: SeedChunk) -> dict[str, Any] | None:
    """The row of one call; None, counted, where its answer is no instruction."""
    prompts, brief = agent.setting.prompts, plan.brief
    prompt, values = prompts.instruction(brief.family), brief.values(prompts.rules)
    if openings := prompts.rules.families[brief.family].openings:
        random = agent.setting.random(plan.sample_id, "opening", attempt)
        values["opening"] = random.choice(openings)
    result, provenance = await agent.ask_alone(
        prompt,
        agent.setting.synthesis.needed_long_input.instruction_tokens,
        "instruction",
        f"{plan.sample_id}/{attempt}",
        chunk=chunk.text.strip(),
        **values,
    )
    if not isinstance(result, Answer):
        agent.tally.add(SOURCE, trouble(result))
        return None
    if prompts.rules.instruction == "task":
        instruction, reason = find_task(result, chunk.text, values.values())
    else:
        marks = prompts.rules.families[brief.family].says
        form = marks if agent.setting.synthesis.gates.families else None
        instruction, reason = find_instruction(result, chunk.text, prompt.example_names, form)
    if instruction is None:
        agent.tally.add(SOURCE, reason)
        return None
    random = agent.setting.random(plan.sample_id, "closing")
    return {
        "sample_id": plan.sample_id,
        "instruction": instruction,
        "closing": brief.closing(instruction, prompts.rules, random),
        "seed_document_id": chunk.document,
        "seed_start": chunk.start,
        "seed_end": chunk.end,
        "target_tokens": plan.target_tokens,
        **asdict(brief),
        "provenance": provenance,
    }
