"""The generator as the workflow sees it: one prompt in, one answer out, with its seed and its provenance."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from selflong.job import UserError
from selflong.llm import (
    Answer,
    Budget,
    Cache,
    Client,
    Endpoint,
    Refusal,
    Request,
    Result,
    chat,
    completion,
    run,
)
from selflong.llm.controls import without_controls
from selflong.recipe.prompts import Prompt, PromptSet, load_prompt_set
from selflong.recipe.recipe import Recipe
from selflong.recipe.synthesis import Generator, Synthesis
from selflong.synthesis.randomness import random_of, seed_of
from selflong.synthesis.statistics import Tally
from selflong.tokens import Tokenizer

logger = logging.getLogger(__name__)

TOO_LONG = "refused by the server"
FAILED = "failed"
_SAMPLES_AT_ONCE_PER_SLOT = 2

_FIELD = "text"
_FORMAT = {
    "type": "json_schema",
    "json_schema": {
        "name": "written",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {_FIELD: {"type": "string"}},
            "required": [_FIELD],
            "additionalProperties": False,
        },
    },
}

T = TypeVar("T")
S = TypeVar("S")


@dataclass(frozen=True)
class Setting:
    """What a job of the synthesis works with.

    counter: the tokenizer that counts the generator's tokens (chunks, its context).
    target: the trained model's, which counts a sample's length.
    cache: folder of the answered requests; an interrupted job goes on from there.
    digest: of the part of the recipe that the samples depend on, for their provenance.
    """

    recipe: Recipe
    digest: str
    generator_name: str
    endpoint: Endpoint
    cache: Path
    counter: Tokenizer
    target: Tokenizer
    budget: Budget | None = None

    @property
    def synthesis(self) -> Synthesis:
        if self.recipe.synthesis is None:
            raise UserError(f"recipe {self.recipe.name}: section synthesis is missing: add it")
        return self.recipe.synthesis

    @property
    def generator(self) -> Generator:
        return self.recipe.generators[self.generator_name]

    @property
    def prompts(self) -> PromptSet:
        """What the generator is asked with."""
        return load_prompt_set(self.generator.prompts)

    def random(self, *names: object) -> Random:
        """Random numbers that depend on the recipe's seed and `names` alone."""
        return random_of(self.recipe.seed, *names)


class Agent:
    """Asks the generator and counts, by step, what that took."""

    def __init__(self, setting: Setting, client: Client, tally: Tally) -> None:
        self.setting = setting
        self.tally = tally
        self._client = client

    async def ask(
        self, prompt: Prompt, max_tokens: int, step: str, name: str, **values: str
    ) -> tuple[Result, dict[str, Any]]:
        """The result of one call, and its provenance; `name` says what the call is for."""
        seed = seed_of(self.setting.recipe.seed, name, step)
        result = await self._client.ask(self._request(prompt, max_tokens, seed, **values))
        self._count(step, result)
        return result, self.provenance(prompt, seed, [result.key])

    async def ask_alone(
        self, prompt: Prompt, max_tokens: int, step: str, name: str, **values: str
    ) -> tuple[Result, dict[str, Any]]:
        """As `ask`, where nothing may be said around the answer: it comes as JSON where the endpoint can."""
        if not self.setting.endpoint.takes_schemas:
            return await self.ask(prompt, max_tokens, step, name, **values)
        seed = seed_of(self.setting.recipe.seed, name, step)
        request = self._request(prompt, max_tokens, seed, **values)
        request = replace(request, body={**request.body, "response_format": _FORMAT})
        result = await self._client.ask(request)
        self._count(step, result)
        if isinstance(result, Answer):
            result = replace(result, text=_field(result.text))
        return result, self.provenance(prompt, seed, [result.key])

    def made(self, samples: int) -> None:
        """Tell the progress that so many more samples are done, kept or not."""
        self._client.progress.made += samples

    def provenance(self, prompt: Prompt, seed: int, keys: list[str]) -> dict[str, Any]:
        """The struct formats.PROVENANCE."""
        endpoint = self.setting.endpoint
        return {
            "recipe_digest": self.setting.digest,
            "prompt": prompt.name,
            "prompt_sha256": prompt.sha256,
            "prompt_set_sha256": prompt.set_sha256,
            "model": self.setting.generator.model,
            "model_revision": endpoint.identity,
            "server": endpoint.server,
            "server_version": endpoint.server_version,
            "seed": seed,
            "request_keys": keys,
        }

    def prompt_tokens(self, prompt: Prompt, **values: str) -> int:
        """Tokens of a call before its answer, with the generator's chat template."""
        return len(self._ids(self._messages(prompt, **values)))

    def _request(self, prompt: Prompt, max_tokens: int, seed: int, **values: str) -> Request:
        """Token ids, where the endpoint takes them: only the template's are control tokens among them."""
        sampling = self.setting.generator.sampling
        parameters = {
            "max_tokens": max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": seed,
        }
        messages = self._messages(prompt, **values)
        if self.setting.endpoint.takes_token_ids:
            ends = list(self.setting.counter.end_ids)
            return completion(self._ids(messages), stop_token_ids=ends, **parameters)
        return chat(messages, **parameters)

    def _messages(self, prompt: Prompt, **values: str) -> list[dict[str, str]]:
        """The chat; where the server reads it as text, what is filled in can open no turn of its own."""
        if not self.setting.endpoint.takes_token_ids:
            escape = self.setting.counter.escape
            values = {name: without_controls(escape(text)) for name, text in values.items()}
        return prompt.messages(**values)

    def _ids(self, messages: list[dict[str, str]]) -> list[int]:
        parts = [
            {"role": turn["role"], "parts": [{"kind": "prompt", "text": turn["content"]}]}
            for turn in messages
        ]
        return self.setting.counter.render(parts, add_generation_prompt=True).ids.tolist()

    def _count(self, step: str, result: Result) -> None:
        if isinstance(result, Answer):
            self.tally.use(step, result.prompt_tokens, result.completion_tokens)
        else:
            logger.warning("%s: %s", step, result.reason)


def _field(text: str) -> str:
    """What stands in the one field of an answer in JSON; the whole text where it is none."""
    try:
        return str(json.loads(text)[_FIELD])
    except (ValueError, LookupError, TypeError):
        return text


def trouble(result: Result) -> str:
    """Why a result is no answer, in the words of the statistics."""
    return TOO_LONG if isinstance(result, Refusal) else FAILED


def with_agent(
    setting: Setting, tally: Tally, work: Callable[[Agent], Awaitable[T]], expected_samples: int
) -> T:
    """Run `work` with an agent whose cache is open."""

    async def connected() -> T:
        with Cache(setting.cache) as cache:
            client = Client(
                setting.endpoint,
                cache,
                budget=setting.budget,
                count=setting.counter.count,
                expected_samples=expected_samples,
            )
            async with client:
                return await work(Agent(setting, client, tally))

    return run(connected())


async def each(agent: Agent, items: Iterable[S], work: Callable[[S], Awaitable[T]]) -> list[T]:
    """`work` on every item, a bounded number at once, so that memory does not grow with their number.

    After a mistake no other item is begun.
    """
    places = asyncio.Semaphore(_SAMPLES_AT_ONCE_PER_SLOT * agent.setting.endpoint.slots)
    mistakes: list[Exception] = []

    async def one(item: S) -> T:
        async with places:
            if mistakes:
                raise mistakes[0]
            try:
                return await work(item)
            except Exception as mistake:
                mistakes.append(mistake)
                raise

    return await together([one(item) for item in items])


async def together(works: Sequence[Awaitable[T]]) -> list[T]:
    """The results of all; or a mistake, alone, and when all have ended: answers on their way are paid for."""
    outcomes = await asyncio.gather(*works, return_exceptions=True)
    results: list[T] = []
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
        results.append(outcome)
    return results
