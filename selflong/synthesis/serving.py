"""A job of the synthesis with its generator at hand: served as the site says, stopped when the job ends."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from selflong.llm.limits import budget_of
from selflong.llm.protocol import Endpoint
from selflong.llm.serve import llama_cpp_ids, serve
from selflong.recipe.prompts import load_prompt_set
from selflong.recipe.recipe import Recipe
from selflong.recipe.site import Site
from selflong.recipe.synthesis import Generator
from selflong.recipe.weights import FolderWeights, GgufWeights, HubWeights
from selflong.synthesis.agent import Setting
from selflong.tokens import Tokenizer, load_tokenizer


@contextmanager
def served_setting(
    recipe: Recipe,
    site: Site,
    generator_name: str,
    *,
    digest: str,
    work: Path,
    log: Path,
    target: Path,
    counter: Path,
    download: Path | None = None,
) -> Iterator[Setting]:
    """Serve a generator for the length of the block.

    work: keeps the answered requests. log: the server's own output. target, counter: tokenizer folders of
    the trained model and of the generator. download: folder of the generator's weights, from the hub.
    """
    generator = recipe.generators[generator_name]
    serving = site.generators[generator_name]
    weights = generator.weights
    if isinstance(weights, HubWeights):
        assert download is not None
        weights = FolderWeights(kind="folder", path=download)
    with serve(
        serving,
        weights,
        name=generator.model,
        log=log,
        context_tokens=generator.context_tokens,
        price=generator.price,
    ) as endpoint:
        counting = load_tokenizer(counter, recipe.chat_date)
        takes_token_ids = endpoint.takes_token_ids and _is_own(counting, generator, endpoint)
        yield Setting(
            recipe=recipe,
            digest=digest,
            generator_name=generator_name,
            endpoint=replace(endpoint, takes_token_ids=takes_token_ids),
            cache=work / "requests",
            counter=counting,
            target=load_tokenizer(target, recipe.chat_date),
            budget=budget_of(serving),
        )


def _is_own(counter: Tokenizer, generator: Generator, endpoint: Endpoint) -> bool:
    """Whether the tokenizer that counts is the generator's own, so that its ids mean the same to it."""
    if not isinstance(generator.weights, GgufWeights):
        return generator.tokenizer is None
    turns = [
        {"role": role, "parts": [{"kind": "prompt", "text": text}]}
        for role, text in load_prompt_set(generator.prompts)["summary"].turns
    ]
    ids = counter.render(turns, add_generation_prompt=True).ids.tolist()
    return llama_cpp_ids(endpoint, counter.decode(ids)) == ids
