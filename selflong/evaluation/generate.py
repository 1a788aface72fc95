"""Prompts to predictions in one table, through whatever serves the checkpoint."""

import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from selflong.formats import PREDICTIONS, parquet_writer, table
from selflong.job import UserError
from selflong.llm.cache import Cache
from selflong.llm.client import Client, run
from selflong.llm.limits import Budget
from selflong.llm.protocol import COMPLETIONS, Answer, Endpoint, Request, Result, completion
from selflong.llm.protocol import chat as chat_request
from selflong.recipe.models import Chat
from selflong.recipe.section import Precision
from selflong.suites.prompt import Metric, Prompt
from selflong.tokens import Tokenizer

logger = logging.getLogger(__name__)
TOKENS_IN_FLIGHT = 1 << 23
"""Of all requests together: more than the servers' key-value caches hold (131 KB a token of an 8B model)."""
GROUP_CHARACTERS = 1 << 24
"""Of the prompts that are written together."""


def predict(
    suite: str,
    model: str,
    precision: Precision | None,
    prompts: Iterable[Prompt],
    metrics: Callable[[str], Metric | None],
    tokenizer: Tokenizer,
    endpoint: Endpoint,
    cache_folder: Path,
    output: Path,
    longest: int,
    budget: Budget | None = None,
    chat: Chat | None = None,
) -> None:
    """Publish formats.PREDICTIONS of greedy answers, in the order of the prompts, at `output`.

    `metrics` gives the metric of a task; `longest` is the most tokens of a prompt. What was answered stays in
    `cache_folder`: an interrupted job asks only for the rest. Prompts are drawn as the endpoint takes them,
    and written when they are answered: memory does not grow with their number.

    Raises UserError where the endpoint refuses a prompt, after all others were asked, or counts other tokens
    than were sent.
    """
    asking = _Asking(tokenizer, endpoint, chat or Chat())
    requests = asking.requests(prompts)
    concurrency = max(1, min(endpoint.slots, TOKENS_IN_FLIGHT // longest))

    same = {"suite": suite, "model": model, "precision": precision}

    async def ask_everything() -> None:
        with Cache(cache_folder) as cache, parquet_writer(output, PREDICTIONS) as append:
            rows = _Rows(append)
            unanswered: UserError | None = None
            async with Client(
                endpoint, cache, concurrency=concurrency, budget=budget, count=tokenizer.count
            ) as client:
                async for asked, result in asking.ask(client, requests):
                    if isinstance(result, Answer):
                        if endpoint.takes_token_ids:
                            _check_count(suite, asked, result)
                        metric = metrics(asked.prompt.task)
                        assert metric is not None, "what asks prompts scores the answers"
                        rows.add({**same, **_row(asked, result, metric, asking.chat)})
                    elif unanswered is None:
                        unanswered = UserError(
                            f"{suite}: {_name(asked.prompt)} has no answer ({result.reason}): see to "
                            "the server's log and start again"
                        )
            if unanswered is not None:
                raise unanswered
            usage = client.usage
            logger.info(
                "%s: %s prompt tokens were sent, %s of them read",
                model, f"{usage.prompt_tokens:,}", f"{usage.prompt_tokens - usage.cached_tokens:,}",
            )  # fmt: skip
            rows.flush()

    run(ask_everything())


@dataclass(frozen=True)
class _Asked(Request):
    """The request of a prompt."""

    number: int
    prompt: Prompt
    """Without its ids, which take ten times its text."""
    tokens: int
    reasoned: tuple["_Asked", Answer] | None = None
    """What was asked before it, with its answer."""


@dataclass(frozen=True)
class _Asking:
    """How prompts become requests of an endpoint."""

    tokenizer: Tokenizer
    endpoint: Endpoint
    chat: Chat

    def requests(self, prompts: Iterable[Prompt]) -> Iterator[_Asked]:
        for number, given in enumerate(prompts):
            room = given.answer_tokens + self.chat.reasoning_tokens
            prompt = replace(given, answer_tokens=room)
            _check_room(prompt, self.endpoint)
            request = self._request(prompt)
            tokens = len(prompt.ids)
            yield _Asked(request.path, request.body, number, replace(prompt, ids=()), tokens)

    def _request(self, prompt: Prompt) -> Request:
        """Token ids where the endpoint takes them, else the conversation in the endpoint's own template."""
        greedy = {"max_tokens": prompt.answer_tokens, "temperature": 0.0}
        if self.endpoint.takes_token_ids:
            check_bos(prompt, self.tokenizer.bos_id)
            ends = list(self.tokenizer.end_ids)
            return completion(prompt.ids, **greedy, stop_token_ids=ends)
        assert prompt.turns, "the checks of recipe and site turn such suites away"
        messages = [{"role": role, "content": text} for role, text in prompt.turns]
        if self.chat.system_prompt is not None:
            messages.insert(0, {"role": "system", "content": self.chat.system_prompt})
        arguments = self.chat.template_arguments
        # Not of the protocol, but vLLM and SGLang know it.
        template = {"chat_template_kwargs": arguments} if arguments else {}
        return chat_request(messages, **greedy, **template)

    async def ask(
        self, client: Client, requests: Iterable[_Asked]
    ) -> AsyncIterator[tuple[_Asked, Result]]:
        """The last result of each prompt; prompts with something to ask after their answer come last."""
        later: list[_Asked] = []
        async for asked, result in _in_order(client.ask_all(requests)):
            then = asked.prompt.then
            if then is None or not isinstance(result, Answer):
                yield asked, result
                continue
            _, said = told_apart(result.text, self.chat)
            (following,) = self.requests([then(said)])
            later.append(replace(following, number=len(later), reasoned=(asked, result)))
        async for asked, result in _in_order(client.ask_all(later)):
            yield asked, result


def told_apart(text: str, chat: Chat) -> tuple[str | None, str]:
    """A model's reasoning and its answer: None where it does not reason, no answer where it does not end."""
    if chat.reasoning_end is None:
        return None, text
    reasoning, ended, answer = text.partition(chat.reasoning_end)
    return reasoning, answer.lstrip() if ended else ""


async def _in_order(
    results: AsyncIterator[tuple[Request, Result]],
) -> AsyncIterator[tuple[_Asked, Result]]:
    """Results as they come in, each after those of the requests before it."""
    early: dict[int, tuple[_Asked, Result]] = {}
    due = 0
    async for request, result in results:
        assert isinstance(request, _Asked)
        early[request.number] = (replace(request, body={}), result)
        while due in early:
            yield early.pop(due)
            due += 1


class _Rows:
    """Rows of a table, appended to its file a few million characters at a time."""

    def __init__(self, append: Callable[[pl.DataFrame], None]) -> None:
        self._append = append
        self._waiting: list[dict[str, Any]] = []
        self._characters = 0

    def add(self, row: dict[str, Any]) -> None:
        self._waiting.append(row)
        self._characters += len(row["prompt"])
        if self._characters >= GROUP_CHARACTERS:
            self.flush()

    def flush(self) -> None:
        self._append(table(self._waiting, PREDICTIONS))
        self._waiting, self._characters = [], 0


def _row(asked: _Asked, answer: Answer, metric: Metric, chat: Chat) -> dict[str, Any]:
    first, thought = asked.reasoned or (asked, None)
    prompt = first.prompt
    reasoning, said = told_apart(answer.text, chat)
    return {
        "task": prompt.task,
        "length": prompt.length,
        "index": prompt.index,
        "depth": prompt.depth,
        "prompt": prompt.text if asked.path == COMPLETIONS else _words(prompt),
        "prompt_tokens": (thought or answer).prompt_tokens,
        "answers": list(prompt.answers),
        "prediction": said,
        "reasoning": thought.text if thought else reasoning,
        "completion_tokens": answer.completion_tokens
        + (thought.completion_tokens if thought else 0),
        "score": metric(said, prompt.answers),
        "request_key": answer.key,
    }


def _words(prompt: Prompt) -> str:
    """What was said, without the endpoint's template."""
    return "\n\n".join(text for _, text in prompt.turns)


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


def _check_count(suite: str, asked: _Asked, answer: Answer) -> None:
    """A server that adds a BOS of its own is found by its count of the prompt's tokens."""
    if answer.prompt_tokens != asked.tokens:
        raise UserError(
            f"{suite}: {_name(asked.prompt)} was sent with {asked.tokens} tokens, the server read "
            f"{answer.prompt_tokens}: it must take token ids as they are"
        )


def _name(prompt: Prompt) -> str:
    return f"prompt {prompt.index} of {prompt.task} at length {prompt.length}"
