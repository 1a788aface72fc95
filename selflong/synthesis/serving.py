"""A job of the synthesis with its generator at hand: served as the site says, stopped when the job ends."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selflong.llm.limits import Budget
from selflong.llm.serve import serve
from selflong.recipe.recipe import Recipe
from selflong.recipe.site import RemoteServing, Site
from selflong.recipe.weights import FolderWeights, HubWeights
from selflong.synthesis.agent import Setting
from selflong.tokens import load_tokenizer


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
    budget = None
    if isinstance(serving, RemoteServing):
        budget = Budget(tokens=serving.budget_tokens, usd=serving.budget_usd)
    with serve(
        serving,
        weights,
        name=generator.model,
        log=log,
        context_tokens=generator.context_tokens,
        price=generator.price,
    ) as endpoint:
        yield Setting(
            recipe=recipe,
            digest=digest,
            generator_name=generator_name,
            endpoint=endpoint,
            cache=work / "requests",
            counter=load_tokenizer(counter, recipe.chat_date),
            target=load_tokenizer(target, recipe.chat_date),
            budget=budget,
        )
