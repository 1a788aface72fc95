"""What the synthesis of a recipe will ask of a generator: requests and tokens by step, before anything runs.

The lengths are those that the samples will have, since they are drawn from the recipe's seed. What only the
documents and the model decide is set by the shares below, which were measured on the laptop recipe.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from selflong.recipe import Recipe, Synthesis
from selflong.synthesis.instructions import plan_instructions
from selflong.synthesis.prompting import Prompt, load_prompt

CHARACTERS_PER_TOKEN = 4.75
TURN_TOKENS = 5
"""What a chat template adds to a message."""
CALLS_PER_INSTRUCTION = 1.87
"""Answers that are no instruction, or repeat one, are asked for again."""
CALLS_PER_DOCUMENT = 1.5
INSTRUCTION_TOKENS = 31
FILLED_SEED_CHUNK = 0.85
"""Tokens of a seed chunk over the most that it may have."""
FILLED_LENGTH = 0.75
"""Tokens of a sample's documents over the room that its length leaves for them, where documents are long."""
FILLED_CHUNK = 0.85
FILLED_SUMMARY = 0.82
FILLED_ANSWER = 0.65


@dataclass(frozen=True)
class StepUsage:
    """Requests of one step, and their tokens by the generator's tokenizer."""

    step: str
    requests: int
    prompt_tokens: int
    completion_tokens: int


def expected_usage(recipe: Recipe, generator: str) -> list[StepUsage]:
    """What `generator` is asked for all long inputs and long outputs of the recipe, step by step."""
    assert recipe.synthesis is not None
    lengths = [
        plan.target_tokens
        for shard in range(recipe.synthesis.long_input.shards)
        for plan in plan_instructions(recipe, generator, shard)
    ]
    context_tokens = recipe.generators[generator].context_tokens
    return [
        _instructions(recipe.synthesis),
        *_summaries_and_answers(recipe.synthesis, context_tokens, lengths),
        _back_translations(recipe.synthesis),
    ]


def _usage(step: str, calls: float, filled_in: float, completion: float, prompt: str) -> StepUsage:
    """filled_in: tokens of all calls together beside the prompt itself; completion: of one call."""
    own = calls * _prompt_tokens(load_prompt(prompt))
    return StepUsage(step, round(calls), round(own + filled_in), round(calls * completion))


def _prompt_tokens(prompt: Prompt) -> float:
    return prompt.characters / CHARACTERS_PER_TOKEN + TURN_TOKENS * (len(prompt.turns) + 1)


def _instructions(synthesis: Synthesis) -> StepUsage:
    section = synthesis.long_input
    calls = CALLS_PER_INSTRUCTION * section.samples
    chunk = FILLED_SEED_CHUNK * section.seed_chunk_tokens
    # The families' prompts are of one length.
    return _usage("instruction", calls, calls * chunk, INSTRUCTION_TOKENS, "instruction_synthesis")


def _summaries_and_answers(
    synthesis: Synthesis, context_tokens: int, lengths: list[int]
) -> Iterator[StepUsage]:
    section = synthesis.long_input
    summary = FILLED_SUMMARY * section.summary_tokens
    window = context_tokens - section.answer_tokens - _prompt_tokens(load_prompt("answer"))
    calls = read = notes = 0.0
    for length in lengths:
        room = length - section.answer_tokens - INSTRUCTION_TOKENS
        tokens = FILLED_LENGTH * max(room, 0)
        for _ in range(section.maximum_depth):
            chunks = math.ceil(tokens / (FILLED_CHUNK * section.chunk_tokens))
            calls += chunks
            read += tokens
            tokens = chunks * summary
            if tokens <= window:
                break
        notes += min(tokens, window)
    yield _usage("summary", calls, read + calls * INSTRUCTION_TOKENS, summary, "summary")
    samples, answer = len(lengths), FILLED_ANSWER * section.answer_tokens
    yield _usage("answer", samples, notes + samples * INSTRUCTION_TOKENS, answer, "answer")
    twins = synthesis.gates.closed_book_share * samples
    yield _usage("closed book", twins, twins * INSTRUCTION_TOKENS, answer, "closed_book")


def _back_translations(synthesis: Synthesis) -> StepUsage:
    section = synthesis.long_output
    calls = CALLS_PER_DOCUMENT * section.samples
    mean = (section.minimum_tokens * section.maximum_tokens) ** 0.5
    shown = min(mean, section.excerpt_tokens)
    return _usage("back-translation", calls, calls * shown, INSTRUCTION_TOKENS, "back_translation")
