"""RULER samples by task, length and convention."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
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
from selflong.suites.ruler.generator.tasks import (
    NEEDLE_TASKS,
    Body,
    Convention,
    Draw,
    Task,
)
from selflong.suites.ruler.generator.tracing import TracingTask
from selflong.suites.ruler.section import RULER_TASKS


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


@dataclass(frozen=True)
class _Asking:
    """A task at a length, and what stands around its messages."""

    task: str
    convention: Convention
    length: int
    made: Task
    encoder: Encoder
    frame: _Frame
    template: tuple[str, str]
    answer_prefix: bool

    @property
    def budget(self) -> int:
        """Tokens of message and answer prefix; below nothing where not even the frame fits."""
        return self.length - self.made.generation_tokens - len(self.frame)

    def sample(self, body: Body, index: int) -> RulerSample:
        """A body within the frame."""
        answer_prefix = body.answer_prefix if self.answer_prefix else ""
        prefix = self.encoder.chain(answer_prefix).ids
        parts = [self.frame.before, body.message.ids, self.frame.after, prefix]
        ids = np.concatenate(parts).tolist()
        return RulerSample(
            task=self.task,
            convention=self.convention,
            length=self.length,
            index=index,
            prompt_ids=ids,
            prompt=body.message.text,
            template=self.template,
            answer_prefix=answer_prefix,
            answers=body.answers,
            depths=body.depths,
            tokens=len(ids),
            generation_tokens=self.made.generation_tokens,
            fill=(len(ids) + self.made.generation_tokens) / self.length,
        )

    def refusal(self, short: TooShort) -> UserError:
        """Of a length below the task's minimum."""
        needed = self.length - self.budget + short.tokens
        return UserError(
            f"lengths: {self.length} tokens are too few for {self.task}, which needs {needed} for "
            f"sample {short.index}"
        )


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
    if task not in RULER_TASKS:
        raise UserError(
            f"tasks: {task!r} is no task of RULER; name one of {', '.join(RULER_TASKS)}"
        )
    encoder = _checked_encoder(tokenizer)
    made = _make_task(task, encoder, sources, length)
    asking = _asking(task, convention, length, made, encoder, chat, answer_prefix)
    if convention == "ruler_exact":
        bodies = _exact_bodies(made, [seed, RULER_TASKS.index(task), length], max(0, asking.budget))
    else:
        bodies = _reference_bodies(made, encoder, seed, length, len(asking.frame), chat)
    yield from _samples(asking, bodies, count)


def generate_shared(
    task: str,
    length: int,
    haystacks: int,
    questions: int,
    *,
    tokenizer: Tokens,
    seed: int,
    sources: Sources,
    chat: bool,
    answer_prefix: bool = True,
) -> Iterator[RulerSample]:
    """Questions about each of `haystacks` haystacks of a needle task, the prompts alike up to the question.

    As ruler_exact, but that a haystack hides a key for each question. Raises UserError likewise.
    """
    spec = NEEDLE_TASKS[task]
    encoder = _checked_encoder(tokenizer)
    made = NeedleTask(replace(spec, keys=max(spec.keys, questions)), encoder, sources)
    asking = _asking(task, "ruler_exact", length, made, encoder, chat, answer_prefix)
    start = [seed, RULER_TASKS.index(task), length]
    bodies = _shared_bodies(made, start, max(0, asking.budget), questions)
    yield from _samples(asking, bodies, haystacks * questions)


def _samples(asking: _Asking, bodies: Iterator[Body], count: int) -> Iterator[RulerSample]:
    """The first `count`; UserError where the length is too short for one."""
    try:
        for index, body in enumerate(islice(bodies, count)):
            yield asking.sample(body, index)
    except TooShort as short:
        raise asking.refusal(short) from None


def _asking(
    task: str,
    convention: Convention,
    length: int,
    made: Task,
    encoder: Encoder,
    chat: bool,
    answer_prefix: bool,
) -> _Asking:
    frame = _make_frame(encoder.tokenizer, chat)
    decode = encoder.tokenizer.decode
    template = (decode(frame.before), decode(frame.after))
    return _Asking(task, convention, length, made, encoder, frame, template, answer_prefix)


def _exact_bodies(task: Task, seed: Sequence[int], budget: int) -> Iterator[Body]:
    """ruler_exact: each sample from a generator of its own, as large as the budget allows."""
    for index in count_from_zero():
        draw = task.draw(np.random.default_rng([*seed, index]), index, budget)
        yield draw.body(_size(draw, budget, index))


def _shared_bodies(
    task: NeedleTask, seed: Sequence[int], budget: int, questions: int
) -> Iterator[Body]:
    """ruler_exact, but so many samples of each haystack, as large as the budget allows for all of them."""
    for haystack in count_from_zero():
        draws = task.draws(np.random.default_rng([*seed, haystack]), budget, questions)
        size = min(_size(draw, budget, haystack * questions) for draw in draws)
        yield from (draw.body(size) for draw in draws)


def _size(draw: Draw, budget: int, index: int) -> int:
    """Of the largest context that fits; TooShort where none does."""
    size = largest_that_fits(draw.tokens, budget, draw.guess, draw.smallest)
    if size is None:
        raise TooShort(index, draw.tokens(draw.smallest))
    return size


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


def _checked_encoder(tokenizer: Tokens) -> Encoder:
    encoder = _load_encoder(tokenizer)
    if not encoder.adds_up:
        raise UserError(
            "the tokenizer joins text over spaces; RULER prompts need one that does not"
        )
    return encoder


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
