"""Requests and tokens that a generator needs for the recipe's samples."""

from dataclasses import dataclass

import numpy as np

from selflong.plan.data import BYTES_PER_TOKEN, long_output_mean, sample_lengths
from selflong.recipe import Generator, Synthesis
from selflong.synthesis.prompting import load_prompt

TEMPLATE_TOKENS = 40
"""Of a chat template around one user message."""
ATTEMPTS = 1.15
"""Calls for one instruction: some answers are none, or near-duplicates."""
WRITTEN = {"instruction": 0.45, "summary": 0.6, "answer": 0.6}
"""Of the largest answer allowed, how much is written on average."""
RELEVANT = 0.7
"""Of the chunks, those that are not judged irrelevant."""
FILLED = 0.93
"""Of a chunk's limit: a cut falls on a sentence's end."""


@dataclass(frozen=True)
class Usage:
    """What is asked of an endpoint."""

    requests: float = 0.0
    prompt_tokens: float = 0.0
    completion_tokens: float = 0.0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.requests + other.requests,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
        )

    def usd(self, generator: Generator) -> float:
        if generator.price is None:
            return 0.0
        prompt = self.prompt_tokens * generator.price.prompt
        return (prompt + self.completion_tokens * generator.price.completion) / 1e6


def _prompt_tokens(name: str) -> float:
    return load_prompt(name).characters / BYTES_PER_TOKEN + TEMPLATE_TOKENS


def instructions(synthesis: Synthesis) -> Usage:
    """One call for each sample and a share of repeats."""
    section = synthesis.long_input
    weights = section.families
    template = sum(
        weight * _prompt_tokens(f"instruction_{family}") for family, weight in weights.items()
    ) / sum(weights.values())
    requests = section.samples * ATTEMPTS
    return Usage(
        requests,
        requests * (template + section.seed_chunk_tokens * FILLED),
        requests * section.instruction_tokens * WRITTEN["instruction"],
    )


def _level(pieces: np.ndarray, text: np.ndarray, synthesis: Synthesis) -> tuple[Usage, np.ndarray]:
    """Usage of one level of summaries over `text` tokens in `pieces` chunks each, and what they leave."""
    section = synthesis.long_input
    written = section.summary_tokens * WRITTEN["summary"]
    instruction = section.instruction_tokens * WRITTEN["instruction"]
    calls = float(pieces.sum())
    prompt = float(text.sum()) + calls * (_prompt_tokens("summary") + instruction)
    return Usage(calls, prompt, calls * written), pieces * RELEVANT * written


def answers(synthesis: Synthesis, generator: Generator) -> Usage:
    """Summaries, level by level until they fit the answerer's window, and one answer a sample."""
    section = synthesis.long_input
    instruction = section.instruction_tokens * WRITTEN["instruction"]
    lengths = sample_lengths(section.lengths)
    text = np.maximum(0.0, lengths - section.answer_tokens - instruction)
    room = generator.context_tokens - section.answer_tokens - instruction - _prompt_tokens("answer")
    total = Usage()
    waiting = np.ones(len(text), dtype=bool)
    for _ in range(section.maximum_depth):
        pieces = np.ceil(text[waiting] / (section.chunk_tokens * FILLED))
        usage, text[waiting] = _level(pieces, text[waiting], synthesis)
        total += usage
        waiting &= text > room
        if not waiting.any():
            break
    notes = np.minimum(text, room)
    per_answer = instruction + _prompt_tokens("answer")
    total += Usage(
        len(text),
        float(notes.sum()) + len(text) * per_answer,
        len(text) * section.answer_tokens * WRITTEN["answer"],
    )
    closed = synthesis.gates.closed_book_share * len(text)
    total += Usage(
        closed,
        closed * (instruction + _prompt_tokens("closed_book")),
        closed * section.answer_tokens * WRITTEN["answer"],
    )
    scale = section.samples / len(text)
    return Usage(
        total.requests * scale, total.prompt_tokens * scale, total.completion_tokens * scale
    )


def long_outputs(synthesis: Synthesis) -> Usage:
    """One back-translation a sample, from as much of the document as the generator is shown."""
    section = synthesis.long_output
    mean = long_output_mean(section.minimum_tokens, section.maximum_tokens)
    excerpt = min(mean, section.excerpt_tokens)
    return Usage(
        section.samples,
        section.samples * (excerpt + _prompt_tokens("back_translation")),
        section.samples * section.instruction_tokens * WRITTEN["instruction"],
    )
