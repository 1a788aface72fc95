"""RULER samples by task, length and convention."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from selflong.evaluation.ruler.aggregation import CommonWordsTask, FrequentWordsTask
from selflong.evaluation.ruler.needles import NeedleTask
from selflong.evaluation.ruler.questions import QuestionTask
from selflong.evaluation.ruler.sizing import largest_that_fits
from selflong.evaluation.ruler.sources import Sources
from selflong.evaluation.ruler.tasks import NEEDLE_TASKS, TASKS, Convention, Task
from selflong.evaluation.ruler.tracing import TracingTask
from selflong.evaluation.ruler.units import Encoder, Tokens
from selflong.formats import TokenRole
from selflong.job import UserError


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
    if convention != "ruler_exact":
        raise UserError(f"convention: {convention} is not built yet; name ruler_exact")
    encoder = Encoder(tokenizer)
    if not encoder.adds_up:
        raise UserError(
            "the tokenizer joins text over spaces; RULER prompts need one that does not"
        )
    generator = _make_task(task, encoder, sources, length)
    frame = _make_frame(tokenizer, chat)
    budget = length - generator.generation_tokens - len(frame)
    for index in range(count):
        rng = np.random.default_rng([seed, TASKS.index(task), length, index])
        draw = generator.draw(rng, index, max(0, budget))
        size = largest_that_fits(draw.tokens, budget, draw.guess, draw.smallest)
        if size is None:
            needed = length - budget + draw.tokens(draw.smallest)
            raise UserError(
                f"lengths: {length} tokens are too few for {task}, whose sample {index} takes at "
                f"least {needed}"
            )
        body = draw.body(size)
        ids = [
            *frame.before.tolist(),
            *body.message.ids.tolist(),
            *frame.after.tolist(),
            *(encoder.encode(body.answer_prefix).tolist() if answer_prefix else []),
        ]
        yield RulerSample(
            task=task,
            convention=convention,
            length=length,
            index=index,
            prompt_ids=ids,
            prompt=body.message.text,
            answer_prefix=body.answer_prefix if answer_prefix else "",
            answers=body.answers,
            depths=body.depths,
            tokens=len(ids),
            generation_tokens=generator.generation_tokens,
            fill=(len(ids) + generator.generation_tokens) / length,
        )


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
            return QuestionTask(encoder, sources.squad)
        case _:
            return QuestionTask(encoder, sources.hotpotqa)


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
