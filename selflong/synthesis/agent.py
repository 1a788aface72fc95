"""The generator as the workflow sees it: one prompt in, one answer out, with its seed and its provenance."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
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
    Result,
    chat,
    run,
)
from selflong.recipe.recipe import Recipe
from selflong.recipe.synthesis import Generator, Synthesis
from selflong.synthesis.prompting import Prompt
from selflong.synthesis.seeds import random_of, seed_of
from selflong.synthesis.statistics import Tally
from selflong.tokens import Tokenizer

logger = logging.getLogger(__name__)

TOO_LONG = "refused by the server"
FAILED = "failed"
_SAMPLES_AT_ONCE_PER_SLOT = 2

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
        sampling = self.setting.generator.sampling
        seed = seed_of(self.setting.recipe.seed, name, step)
        request = chat(
            prompt.messages(**values),
            max_tokens=max_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            seed=seed,
        )
        result = await self._client.ask(request)
        self._count(step, result)
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
            "model": self.setting.generator.model,
            "model_revision": endpoint.identity,
            "server": endpoint.server,
            "server_version": endpoint.server_version,
            "seed": seed,
            "request_keys": keys,
        }

    def prompt_tokens(self, prompt: Prompt, **values: str) -> int:
        """Tokens of a call before its answer, with the generator's chat template."""
        messages = [
            {"role": turn["role"], "parts": [{"kind": "prompt", "text": turn["content"]}]}
            for turn in prompt.messages(**values)
        ]
        return len(self.setting.counter.render(messages, add_generation_prompt=True).ids)

    def _count(self, step: str, result: Result) -> None:
        if isinstance(result, Answer):
            self.tally.use(step, result.prompt_tokens, result.completion_tokens)
        else:
            logger.warning("%s: %s", step, result.reason)


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
                expected_samples=expected_samples,
            )
            async with client:
                return await work(Agent(setting, client, tally))

    return run(connected())


async def each(agent: Agent, items: Iterable[S], work: Callable[[S], Awaitable[T]]) -> list[T]:
    """`work` on every item, a bounded number at once, so that memory does not grow with their number."""
    places = asyncio.Semaphore(_SAMPLES_AT_ONCE_PER_SLOT * agent.setting.endpoint.slots)

    async def one(item: S) -> T:
        async with places:
            return await work(item)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(item)) for item in items]
    return [task.result() for task in tasks]
