"""What the synthesis of a recipe will ask of a generator: requests and tokens by step, before anything runs.

The lengths are those that the samples will have, since they are drawn from the recipe's seed. What only the
documents and the model decide is set by the means below, for each kind of prompt set: those of `question` are
of runs of the laptop recipe, whose generator is a small one; those of `task` of the study in docs/prompts.md,
whose generator has 1.5B parameters. A larger one is asked again less often.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from selflong.recipe.document_prompts import load_document_prompts
from selflong.recipe.multi_hop_prompts import load_multi_hop_prompts
from selflong.recipe.prompts import Prompt, PromptRules, PromptSet, load_prompt_set
from selflong.recipe.recipe import Recipe
from selflong.recipe.synthesis import DocumentTasks, LongOutput, MultiHop, Synthesis
from selflong.synthesis.instructions import plan_instructions
from selflong.synthesis.target_lengths import sample_lengths

CHARACTERS_PER_TOKEN = 4.75
TURN_TOKENS = 5
"""What a chat template adds to a message."""
FILLED_SEED_CHUNK = 0.85
"""Tokens of a seed chunk over the most that it may have."""
UNFILLED = 0.15
"""Of what is left of a sample where the next document may not fit: a document that is too long is passed over
for shorter ones, of which retrieval gives some to spare."""
FILLED_EXCERPT = 0.6
"""The same for an excerpt: the rest at a document's end is a part of a chunk."""
FILLED_CHUNK = 0.85
CALLS_PER_QUESTION = 1.2
"""Replies without a question and an answer are asked for again; assumed, as FILLED_REPLY is."""
FILLED_REPLY = 0.6
"""Tokens of a reply on a document over the most that it may have."""


@dataclass(frozen=True)
class Chains:
    """What a generator does on the way to a question over two documents, of each sample that is asked for."""

    firsts: float
    """First questions that are asked for."""
    seconds: float
    descriptions: float
    checks: float
    """Questions that are asked to check them."""
    pieces: float
    """Of documents that all these together read."""
    kept: float
    """Samples that are made."""


CHAINS = Chains(3.0, 2.0, 1.5, 4.0, 3.5, 0.9)
"""Assumed for a model that follows instructions; docs/prompts.md says what one of 1.5B parameters does."""
PAIR_TOKENS = 40
"""Of a reply with a question and its answer."""
ANSWER_TOKENS = 6
"""Of an answer that is a name or a number."""


@dataclass(frozen=True)
class Means:
    """What a generator does with the prompts of a set."""

    calls_per_instruction: float
    """Answers that are no instruction, or repeat one, are asked for again."""
    calls_per_instruction_of_a_family: float
    """The same where an instruction must have the form of its family."""
    found_of_a_family: float
    """Of the samples, those that then find one at all."""
    calls_per_document: float
    """The same for instructions to write a document."""
    instruction_tokens: int
    writing_tokens: int
    """Of an answer that is to be an instruction to write, all that follows it included."""
    filled_summary: float
    """Tokens of a summary over the most that it may have."""
    kept_of_summaries: float
    """Of their tokens, what is read further: cut ones end with their last whole sentence."""
    filled_answer: float
    """Tokens of an answer over the most that it may have."""


MEANS = {
    "question": Means(1.95, 2.75, 0.9, 2.0, 35, 50, 0.86, 0.87, 0.73),
    "task": Means(1.5, 1.5, 1.0, 1.2, 90, 150, 0.6, 0.9, 0.6),
}
"""By what a set asks for."""


@dataclass(frozen=True)
class StepUsage:
    """Requests of one step, and their tokens by the generator's tokenizer."""

    step: str
    requests: int
    prompt_tokens: int
    completion_tokens: int


def expected_usage(recipe: Recipe, generator: str, document_tokens: float) -> list[StepUsage]:
    """What `generator` is asked for all samples of the recipe, step by step.

    document_tokens: mean length of the corpus' documents.
    """
    synthesis = recipe.synthesis
    assert synthesis is not None
    context_tokens = recipe.generators[generator].context_tokens
    prompts = load_prompt_set(recipe.generators[generator].prompts)
    asked = _Asked(synthesis, prompts, context_tokens)
    found: list[StepUsage] = []
    if synthesis.long_input is not None:
        filled, reserves = _drawn(recipe, generator, prompts, document_tokens)
        found += [asked.instructions(), *asked.summaries_and_answers(filled, reserves)]
    if synthesis.long_output is not None:
        found.append(asked.back_translations(synthesis.long_output))
    if synthesis.document_tasks is not None:
        found += _document_tasks(synthesis.document_tasks)
    if synthesis.multi_hop is not None:
        found += _multi_hop(synthesis.multi_hop)
    return found


def _drawn(
    recipe: Recipe, generator: str, prompts: PromptSet, document_tokens: float
) -> tuple[list[float], list[float]]:
    """Of each long input the tokens of its documents, and the most of its answer."""
    assert recipe.synthesis is not None
    section = recipe.synthesis.needed_long_input
    plans = [
        plan
        for shard in range(section.shards)
        for plan in plan_instructions(recipe, generator, shard)
    ]
    targets = np.array([plan.target_tokens for plan in plans], dtype=np.float64)
    reserves = np.array([plan.brief.answer_tokens(section) for plan in plans], dtype=np.float64)
    kept = np.array([plan.brief.reserve(section) for plan in plans], dtype=np.float64)
    filled = filled_tokens(targets, kept, prompts.rules, document_tokens)
    return filled.tolist(), reserves.tolist()


def _document_tasks(section: DocumentTasks) -> Iterator[StepUsage]:
    """Of questions on long documents, each written from a piece, and of recursive summaries."""
    prompts = load_document_prompts(section.prompts)
    chunk = FILLED_CHUNK * section.chunk_tokens
    calls = CALLS_PER_QUESTION * section.questions
    reply = FILLED_REPLY * section.reply_tokens
    yield _usage("question", calls, calls * chunk, reply, prompts.question)
    summary = FILLED_REPLY * section.summary_tokens
    read = float(sample_lengths(section.lengths).mean())
    calls = filled = 0.0
    while True:
        chunks = math.ceil(read / chunk)
        calls, filled = calls + chunks, filled + read
        if chunks == 1:
            break
        read = chunks * summary
    samples = section.summaries
    yield _usage("book summary", samples * calls, samples * filled, summary, prompts.summary)


def _multi_hop(section: MultiHop) -> Iterator[StepUsage]:
    """Of questions over two documents, those that the checks drop included."""
    prompts, samples = load_multi_hop_prompts(section.prompts), section.samples
    chunk = FILLED_CHUNK * section.chunk_tokens
    reply = min(section.reply_tokens, PAIR_TOKENS)
    firsts, seconds = samples * CHAINS.firsts, samples * CHAINS.seconds
    yield _usage("first question", firsts, firsts * chunk, reply, prompts.first)
    yield _usage("second question", seconds, seconds * chunk, reply, prompts.second)
    described, checks = samples * CHAINS.descriptions, samples * CHAINS.checks
    yield _usage("description", described, described * reply / 2, reply / 2, prompts.describe)
    read = samples * CHAINS.pieces * chunk + checks * reply
    yield _usage("check", checks, read, min(section.answer_tokens, ANSWER_TOKENS), prompts.answer)


def means(rules: PromptRules) -> Means:
    """Of the kind of prompt set that has these rules."""
    return MEANS[rules.instruction]


def filled_tokens(
    targets: NDArray[np.float64],
    reserves: NDArray[np.float64],
    rules: PromptRules,
    document_tokens: float,
) -> NDArray[np.float64]:
    """Tokens of the documents of samples that may have `targets` tokens each, their answers `reserves`."""
    rooms = np.maximum(0, targets - reserves - means(rules).instruction_tokens)
    return rooms - unfilled(rooms, document_tokens)


def unfilled(rooms: NDArray[np.float64], document_tokens: float) -> NDArray[np.float64]:
    """Tokens of a sample that whole documents leave free; of any length up to the room where most documents
    of the corpus are longer."""
    return UNFILLED * np.minimum(document_tokens, rooms)


def _prompt_tokens(prompt: Prompt) -> float:
    return prompt.characters / CHARACTERS_PER_TOKEN + TURN_TOKENS * (len(prompt.turns) + 1)


def _usage(
    step: str, calls: float, filled_in: float, completion: float, prompt: Prompt
) -> StepUsage:
    """filled_in: tokens of all calls together beside the prompt itself; completion: of one call."""
    own = calls * _prompt_tokens(prompt)
    return StepUsage(step, round(calls), round(own + filled_in), round(calls * completion))


@dataclass(frozen=True)
class _Asked:
    """What the workflow asks with one prompt set."""

    synthesis: Synthesis
    prompts: PromptSet
    context_tokens: int
    """Of the generator."""

    @property
    def means(self) -> Means:
        return means(self.prompts.rules)

    @property
    def _gated(self) -> bool:
        """Whether instructions must have the form of their family."""
        return self.synthesis.gates.families

    def instructions(self) -> StepUsage:
        section, mean = self.synthesis.needed_long_input, self.means
        per_instruction = (
            mean.calls_per_instruction_of_a_family if self._gated else mean.calls_per_instruction
        )
        calls = per_instruction * section.samples
        chunk = FILLED_SEED_CHUNK * section.seed_chunk_tokens
        # The families' prompts are of one length.
        prompt = self.prompts.instruction(next(iter(section.families)))
        return _usage("instruction", calls, calls * chunk, mean.instruction_tokens, prompt)

    def summaries_and_answers(
        self, filled: Sequence[float], reserves: Sequence[float]
    ) -> Iterator[StepUsage]:
        """filled: tokens of each sample's documents; reserves: the most of its answer."""
        section, mean = self.synthesis.needed_long_input, self.means
        summary = mean.filled_summary * section.summary_tokens
        prompt = _prompt_tokens(self.prompts["answer"])
        calls = read = notes = 0.0
        for documents, reserve in zip(filled, reserves, strict=True):
            window = self.context_tokens - reserve - prompt
            tokens = documents
            for _ in range(section.maximum_depth):
                chunks = math.ceil(tokens / (FILLED_CHUNK * section.chunk_tokens))
                calls += chunks
                read += tokens
                tokens = chunks * summary * mean.kept_of_summaries
                if tokens <= window:
                    break
            notes += min(tokens, window)
        found = mean.found_of_a_family if self._gated else 1.0
        calls, read, notes = found * calls, found * read, found * notes
        instruction = mean.instruction_tokens
        summaries = read + calls * instruction
        yield _usage("summary", calls, summaries, summary, self.prompts["summary"])
        samples = found * len(filled)
        answer = mean.filled_answer * sum(reserves) / len(reserves)
        turns, read_again = 1 + section.follow_ups, notes + samples * instruction
        yield _usage("answer", turns * samples, turns * read_again, answer, self.prompts["answer"])
        if section.follow_ups:
            # The conversation is longer by a task and an answer with every turn.
            said = turns / 2 * samples * (instruction + answer)
            asked, follow_up = section.follow_ups, self.prompts["follow_up"]
            yield _usage(
                "follow-up", asked * samples, asked * (notes + said), instruction, follow_up
            )
        twins = self.synthesis.gates.closed_book_share * samples
        closed_book = self.prompts["closed_book"]
        yield _usage("closed book", twins, twins * instruction, answer, closed_book)

    def back_translations(self, section: LongOutput) -> StepUsage:
        calls = self.means.calls_per_document * section.samples
        mean = (section.minimum_tokens * section.maximum_tokens) ** 0.5
        shown = min(mean, FILLED_EXCERPT * section.excerpt_tokens)
        written = min(self.means.writing_tokens, section.instruction_tokens)
        prompt = self.prompts["back_translation"]
        return _usage("back-translation", calls, calls * shown, written, prompt)
