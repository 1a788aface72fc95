"""RULER samples by task, length and convention."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import count as count_from_zero
from itertools import islice

import numpy as np

from selflong.formats import TokenRole
from selflong.job import UserError
from selflong.suites.ruler.generator.aggregation import CommonWordsTask, FrequentWordsTask
from selflong.suites.ruler.generator.needles import NeedleTask
from selflong.suites.ruler.generator.questions import QuestionTask, load_question_task
from selflong.suites.ruler.generator.reference import (
    CommonWordsReference,
    NeedleReference,
    QuestionReference,
    ReferenceTask,
    Stream,
    frequent_words_bodies,
    reference_bodies,
    stepwise_size,
)
from selflong.suites.ruler.generator.reference_tracing import Tracing2024
from selflong.suites.ruler.generator.segments import Encoder, Tokens
from selflong.suites.ruler.generator.sizing import TooShort, largest_that_fits
from selflong.suites.ruler.generator.sources import Sources
from selflong.suites.ruler.generator.tasks import NEEDLE_TASKS, TASKS, Body, Convention, Task
from selflong.suites.ruler.generator.tracing import TracingTask


@dataclass(frozen=True)
class RulerSample:
    """One prompt; `tokens + generation_tokens` never exceeds `length`."""

    task: str
    convention: str
    length: int
    index: int
    prompt_ids: list[int]
    """All of the prompt: chat template, exactly one BOS where the tokenizer has one, answer prefix."""
    prompt: str
    """Text of the user's message."""
    template: tuple[str, str]
    """Text before the message and after it, control tokens included."""
    answer_prefix: str
    """Stands after the assistant's header; the model continues it."""
    answers: list[str]
    depths: list[float]
    """Share of the context before each thing to be found, from 0 to 1; empty for cwe and fwe."""
    tokens: int
    """Of the prompt."""
    generation_tokens: int
    """Kept free for the answer."""
    fill: float
    """Share of the length that prompt and answer use."""

    @property
    def text(self) -> str:
        """All of the prompt as text."""
        before, after = self.template
        return f"{before}{self.prompt}{after}{self.answer_prefix}"


@dataclass(frozen=True)
class _Frame:
    """Tokens before the user's message, and between it and the answer prefix."""

    before: np.ndarray
    after: np.ndarray

    def __len__(self) -> int:
        return len(self.before) + len(self.after)


def generate_samples(
    task: str,
    length: int,
    count: int,
    *,
    convention: Convention,
    tokenizer: Tokens,
    seed: int,
    sources: Sources,
    chat: bool,
    answer_prefix: bool = True,
) -> Iterator[RulerSample]:
    """The first `count` samples of a RULER task for prompts and answers of `length` tokens together.

    The same arguments give the same samples. Raises UserError for a length below the task's minimum.
    """
    if task not in TASKS:
        raise UserError(f"tasks: {task!r} is no task of RULER; name one of {', '.join(TASKS)}")
    encoder = _load_encoder(tokenizer)
    if not encoder.adds_up:
        raise UserError(
            "the tokenizer joins text over spaces; RULER prompts need one that does not"
        )
    made = _make_task(task, encoder, sources, length)
    frame = _make_frame(tokenizer, chat)
    template = (tokenizer.decode(frame.before), tokenizer.decode(frame.after))
    budget = length - made.generation_tokens - len(frame)
    if convention == "ruler_exact":
        bodies = _exact_bodies(made, [seed, TASKS.index(task), length], max(0, budget))
    else:
        bodies = _reference_bodies(made, encoder, seed, length, len(frame), chat)
    try:
        for index, body in enumerate(islice(bodies, count)):
            prefix = encoder.chain(body.answer_prefix if answer_prefix else "").ids
            ids = np.concatenate([frame.before, body.message.ids, frame.after, prefix]).tolist()
            yield RulerSample(
                task=task,
                convention=convention,
                length=length,
                index=index,
                prompt_ids=ids,
                prompt=body.message.text,
                template=template,
                answer_prefix=body.answer_prefix if answer_prefix else "",
                answers=body.answers,
                depths=body.depths,
                tokens=len(ids),
                generation_tokens=made.generation_tokens,
                fill=(len(ids) + made.generation_tokens) / length,
            )
    except TooShort as short:
        needed = length - budget + short.tokens
        raise UserError(
            f"lengths: {length} tokens are too few for {task}, which needs {needed} for "
            f"sample {short.index}"
        ) from None


def _exact_bodies(task: Task, seed: Sequence[int], budget: int) -> Iterator[Body]:
    """ruler_exact: each sample from a generator of its own, as large as the budget allows."""
    for index in count_from_zero():
        draw = task.draw(np.random.default_rng([*seed, index]), index, budget)
        size = largest_that_fits(draw.tokens, budget, draw.guess, draw.smallest)
        if size is None:
            raise TooShort(index, draw.tokens(draw.smallest))
        yield draw.body(size)


def _reference_bodies(
    task: Task, encoder: Encoder, seed: int, length: int, frame_tokens: int, chat: bool
) -> Iterator[Body]:
    """ruler_2024."""
    stream = Stream(seed)
    budget = length - task.generation_tokens - frame_tokens
    if isinstance(task, FrequentWordsTask):
        # The reference forgets the answer's tokens while it searches.
        limit = length - frame_tokens
        return frequent_words_bodies(task, encoder, stream, limit, length, budget)
    drawn = _make_reference(task, encoder, stream, length, chat)
    return reference_bodies(drawn, stepwise_size(drawn, budget), budget)


def _make_reference(
    task: Task, encoder: Encoder, stream: Stream, length: int, chat: bool
) -> ReferenceTask:
    match task:
        case NeedleTask():
            return NeedleReference(task, encoder, stream, length)
        case CommonWordsTask():
            return CommonWordsReference(task, encoder, stream)
        case QuestionTask():
            return QuestionReference(task, encoder, stream)
        case TracingTask():
            return Tracing2024(encoder, stream, chat)
    raise TypeError(f"no reference for {task}")


@lru_cache(maxsize=2)
def _load_encoder(tokenizer: Tokens) -> Encoder:
    return Encoder(tokenizer)


def _make_task(task: str, encoder: Encoder, sources: Sources, length: int) -> Task:
    if task in NEEDLE_TASKS:
        return NeedleTask(NEEDLE_TASKS[task], encoder, sources)
    match task:
        case "vt":
            return TracingTask(encoder)
        case "cwe":
            return CommonWordsTask(encoder, sources, length)
        case "fwe":
            return FrequentWordsTask(encoder, length)
        case "qa_1":
            return load_question_task(encoder, sources.squad)
        case _:
            return load_question_task(encoder, sources.hotpotqa)


def _make_frame(tokenizer: Tokens, chat: bool) -> _Frame:
    """The template around a message, with one BOS in front."""
    bos = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
    if not chat:
        return _Frame(np.array(bos, dtype=np.int64), np.zeros(0, dtype=np.int64))
    message = {"role": "user", "parts": [{"kind": "prompt", "text": "word"}]}
    rendered = tokenizer.render([message], add_generation_prompt=True)
    inside = np.flatnonzero(rendered.roles == TokenRole.PROMPT)
    before = rendered.ids[: inside[0]]
    if before[:1].tolist() != bos:
        before = np.concatenate([bos, before])
    return _Frame(before, rendered.ids[inside[-1] + 1 :])
