"""Suites that ask a checkpoint for more than it reads, as far as that is known before anything is loaded."""

from collections.abc import Iterator

from selflong.job import UserError
from selflong.llm.serve import checkpoint_context
from selflong.recipe.models import Chat
from selflong.recipe.recipe import Recipe
from selflong.recipe.site import Site
from selflong.recipe.weights import EndpointWeights, Weights
from selflong.run.shapes import config_folders
from selflong.suites.load import supported


def beyond_contexts(recipe: Recipe, site: Site) -> Iterator[tuple[str, str]]:
    """Place and sentence of each checkpoint whose server would turn a suite's prompts away."""
    for name, suite in recipe.suites.items():
        for reference in suite.models if suite.filled else ():
            context = context_of(recipe, site, recipe.resolve(reference))
            model = recipe.models[reference.partition("/")[0]]
            reasoning = (model.chat or Chat()).reasoning_tokens
            asked = supported(suite.asked_of(reference).lengths, model.supports)
            fit = [n for n in asked if context is None or suite.filled * n + reasoning <= context]
            if context is not None and len(fit) < len(asked):
                length = min(set(asked) - set(fit))
                thought = f" and {reasoning:,} of reasoning" if reasoning else ""
                yield (
                    f"suites.{name}.lengths",
                    f"{length:,} tokens{thought} are more than {reference} reads, {context:,}: "
                    + _mend(name, reference, fit),
                )


def _mend(name: str, reference: str, lengths: list[int]) -> str:
    """How a checkpoint is asked at `lengths` alone."""
    if lengths:
        return f"ask it at fewer (suites.{name}.lengths_of: {{{reference}: {lengths}}})"
    return f"leave it out of suites.{name}.models"


def context_of(recipe: Recipe, site: Site, checkpoint: str) -> int | None:
    """Tokens that a checkpoint will read, prompt and answer together; None where only its weights know."""
    start, stage = recipe.start_of(checkpoint), recipe.stage(checkpoint)
    if start is None or stage is None:
        return _of_weights(site, recipe.models[checkpoint.partition("/")[0]].weights)
    before = context_of(recipe, site, start)
    # As a stage sets it (`training.rope.set_rope`).
    return None if before is None else max(before, stage.length)


def _of_weights(site: Site, weights: Weights | None) -> int | None:
    if isinstance(weights, EndpointWeights):
        return weights.context_tokens
    for folder in config_folders(site, weights):
        try:
            return checkpoint_context(folder)
        except (OSError, UserError):
            continue  # whoever loads it says what is wrong
    return None
