"""Prompts as token ids to predictions in one table, through whatever serves the checkpoint."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from selflong.formats import PREDICTIONS, table
from selflong.job import UserError
from selflong.llm.client import answers
from selflong.llm.protocol import Answer, Endpoint, Request, completion
from selflong.tokens import Tokenizer

Metric = Callable[[str, Sequence[str]], float]
"""Score from 0 to 1 of a prediction against its answers."""


@dataclass(frozen=True)
class Prompt:
    """One question to a checkpoint."""

    task: str
    length: int
    """Asked for, as the suite counts it."""
    index: int
    ids: Sequence[int]
    """What the model reads: template, BOS where the model has one, and answer prefix included."""
    text: str
    """The same as text, for whoever reads the predictions."""
    answers: tuple[str, ...]
    answer_tokens: int
    """Most tokens of the answer."""
    depth: float | None = None


def predict(
    suite: str,
    model: str,
    prompts: Iterable[Prompt],
    metrics: Callable[[str], Metric],
    tokenizer: Tokenizer,
    endpoint: Endpoint,
    cache_folder: Path,
) -> pl.DataFrame:
    """formats.PREDICTIONS of greedy answers, in the order of the prompts.

    `metrics` gives the metric of a task. What was answered stays in `cache_folder`: an interrupted job asks
    only for the rest. Prompts are drawn as the endpoint takes them.

    Raises UserError where the endpoint refuses a prompt or counts other tokens than were sent.
    """
    asked: list[Prompt] = []
    sent: list[int] = []

    def requests() -> Iterator[Request]:
        for prompt in prompts:
            check_bos(prompt, tokenizer.bos_id)
            _check_room(prompt, endpoint)
            asked.append(replace(prompt, ids=()))  # a million ids take a hundred times their text
            sent.append(len(prompt.ids))
            yield completion(
                prompt.ids,
                max_tokens=prompt.answer_tokens,
                temperature=0.0,
                stop_token_ids=list(tokenizer.end_ids),
            )

    results, _ = answers(endpoint, cache_folder, requests())
    rows = []
    for prompt, tokens, result in zip(asked, sent, results, strict=True):
        if not isinstance(result, Answer):
            raise UserError(
                f"{suite}: {_name(prompt)} has no answer ({result.reason}): see to the server's log "
                "and start again"
            )
        _check_count(suite, prompt, tokens, result)
        rows.append(
            {
                "suite": suite,
                "model": model,
                "task": prompt.task,
                "length": prompt.length,
                "index": prompt.index,
                "depth": prompt.depth,
                "prompt": prompt.text,
                "prompt_tokens": tokens,
                "answers": list(prompt.answers),
                "prediction": result.text,
                "completion_tokens": result.completion_tokens,
                "score": metrics(prompt.task)(result.text, prompt.answers),
                "request_key": result.key,
            }
        )
    return table(rows, PREDICTIONS)


def check_bos(prompt: Prompt, bos_id: int | None) -> None:
    """UserError unless the prompt begins with exactly one BOS, or with none where the model has none.

    Later on the same token is no mistake: ChatML's BOS also opens every message, and text never
    becomes a control token.
    """
    if bos_id is None:
        return
    leading = next((i for i, token in enumerate(prompt.ids) if token != bos_id), len(prompt.ids))
    if leading != 1:
        raise UserError(
            f"{_name(prompt)} begins with {leading} BOS tokens, it must be one: check the chat "
            "template and what adds special tokens"
        )


def _check_room(prompt: Prompt, endpoint: Endpoint) -> None:
    needed = len(prompt.ids) + prompt.answer_tokens
    if needed > endpoint.context_tokens:
        raise UserError(
            f"{_name(prompt)} needs {needed} tokens with its answer, but {endpoint.model} is served "
            f"with {endpoint.context_tokens}: evaluate it at shorter lengths"
        )


def _check_count(suite: str, prompt: Prompt, tokens: int, answer: Answer) -> None:
    """A server that adds a BOS of its own is found by its count of the prompt's tokens."""
    if answer.prompt_tokens != tokens:
        raise UserError(
            f"{suite}: {_name(prompt)} was sent with {tokens} tokens, the server read "
            f"{answer.prompt_tokens}: it must take token ids as they are"
        )


def _name(prompt: Prompt) -> str:
    return f"prompt {prompt.index} of {prompt.task} at length {prompt.length}"
