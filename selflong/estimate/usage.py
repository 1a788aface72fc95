"""What the synthesis of a recipe will ask of a generator: requests and tokens by step, before anything runs.

The lengths are those that the samples will have, since they are drawn from the recipe's seed. What only the
documents and the model decide is set by the shares below, which are means of runs of the laptop recipe, whose
generator is a small one: a larger one is asked again less often.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from selflong.recipe.recipe import Recipe
from selflong.recipe.synthesis import LongInput, Synthesis
from selflong.synthesis.instructions import plan_instructions
from selflong.synthesis.prompting import Prompt, load_prompt

CHARACTERS_PER_TOKEN = 4.75
TURN_TOKENS = 5
"""What a chat template adds to a message."""
CALLS_PER_INSTRUCTION = 1.95
"""Answers that are no instruction, or repeat one, are asked for again."""
CALLS_PER_INSTRUCTION_OF_A_FAMILY = 2.75
"""The same where an instruction must have the form of its family."""
FOUND_OF_A_FAMILY = 0.9
"""Of the samples, those that then find one at all."""
CALLS_PER_DOCUMENT = 2.0
"""The same for instructions to write a document."""
INSTRUCTION_TOKENS = 35
WRITING_TOKENS = 50
"""Of an answer that is to be an instruction to write, what follows its first paragraph included."""
FILLED_SEED_CHUNK = 0.85
"""Tokens of a seed chunk over the most that it may have."""
UNFILLED = 0.15
"""Of what is left of a sample where the next document may not fit: a document that is too long is passed over
for shorter ones, of which retrieval gives some to spare."""
FILLED_EXCERPT = 0.6
"""The same for an excerpt: the rest at a document's end is a part of a chunk."""
FILLED_CHUNK = 0.85
FILLED_SUMMARY = 0.86
WHOLE_SENTENCES = 0.87
"""Of a summary, what the answerer reads: cut ones end with their last whole sentence."""
FILLED_ANSWER = 0.73


@dataclass(frozen=True)
class StepUsage:
    """Requests of one step, and their tokens by the generator's tokenizer."""

    step: str
    requests: int
    prompt_tokens: int
    completion_tokens: int


def expected_usage(recipe: Recipe, generator: str, document_tokens: float) -> list[StepUsage]:
    """What `generator` is asked for all long inputs and long outputs of the recipe, step by step.

    document_tokens: mean length of the corpus' documents.
    """
    assert recipe.synthesis is not None
    section = recipe.synthesis.long_input
    targets = [
        plan.target_tokens
        for shard in range(section.shards)
        for plan in plan_instructions(recipe, generator, shard)
    ]
    filled = filled_tokens(np.array(targets, dtype=np.float64), section, document_tokens).tolist()
    context_tokens = recipe.generators[generator].context_tokens
    return [
        _instructions(recipe.synthesis),
        *_summaries_and_answers(recipe.synthesis, context_tokens, filled),
        _back_translations(recipe.synthesis),
    ]


def filled_tokens(
    targets: NDArray[np.float64], section: LongInput, document_tokens: float
) -> NDArray[np.float64]:
    """Tokens of the documents of samples that may have `targets` tokens each."""
    rooms = np.maximum(0, targets - section.answer_tokens - INSTRUCTION_TOKENS)
    return rooms - unfilled(rooms, document_tokens)


def unfilled(rooms: NDArray[np.float64], document_tokens: float) -> NDArray[np.float64]:
    """Tokens of a sample that whole documents leave free; of any length up to the room where most documents
    of the corpus are longer."""
    return UNFILLED * np.minimum(document_tokens, rooms)


def _usage(step: str, calls: float, filled_in: float, completion: float, prompt: str) -> StepUsage:
    """filled_in: tokens of all calls together beside the prompt itself; completion: of one call."""
    own = calls * _prompt_tokens(load_prompt(prompt))
    return StepUsage(step, round(calls), round(own + filled_in), round(calls * completion))


def _prompt_tokens(prompt: Prompt) -> float:
    return prompt.characters / CHARACTERS_PER_TOKEN + TURN_TOKENS * (len(prompt.turns) + 1)


def _instructions(synthesis: Synthesis) -> StepUsage:
    section = synthesis.long_input
    per_instruction = (
        CALLS_PER_INSTRUCTION_OF_A_FAMILY if synthesis.gates.families else CALLS_PER_INSTRUCTION
    )
    calls = per_instruction * section.samples
    chunk = FILLED_SEED_CHUNK * section.seed_chunk_tokens
    # The families' prompts are of one length.
    return _usage("instruction", calls, calls * chunk, INSTRUCTION_TOKENS, "instruction_synthesis")


def _summaries_and_answers(
    synthesis: Synthesis, context_tokens: int, filled: list[float]
) -> Iterator[StepUsage]:
    """filled: tokens of each sample's documents."""
    section = synthesis.long_input
    summary = FILLED_SUMMARY * section.summary_tokens
    window = context_tokens - section.answer_tokens - _prompt_tokens(load_prompt("answer"))
    calls = read = notes = 0.0
    for documents in filled:
        tokens = documents
        for _ in range(section.maximum_depth):
            chunks = math.ceil(tokens / (FILLED_CHUNK * section.chunk_tokens))
            calls += chunks
            read += tokens
            tokens = chunks * summary * WHOLE_SENTENCES
            if tokens <= window:
                break
        notes += min(tokens, window)
    found = FOUND_OF_A_FAMILY if synthesis.gates.families else 1.0
    calls, read, notes = found * calls, found * read, found * notes
    yield _usage("summary", calls, read + calls * INSTRUCTION_TOKENS, summary, "summary")
    samples, answer = found * len(filled), FILLED_ANSWER * section.answer_tokens
    yield _usage("answer", samples, notes + samples * INSTRUCTION_TOKENS, answer, "answer")
    twins = synthesis.gates.closed_book_share * samples
    yield _usage("closed book", twins, twins * INSTRUCTION_TOKENS, answer, "closed_book")


def _back_translations(synthesis: Synthesis) -> StepUsage:
    section = synthesis.long_output
    calls = CALLS_PER_DOCUMENT * section.samples
    mean = (section.minimum_tokens * section.maximum_tokens) ** 0.5
    shown = min(mean, FILLED_EXCERPT * section.excerpt_tokens)
    written = min(WRITING_TOKENS, section.instruction_tokens)
    return _usage("back-translation", calls, calls * shown, written, "back_translation")
