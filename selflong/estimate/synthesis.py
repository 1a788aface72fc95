"""Requests, tokens and money of a generator, by the rule that asks for them."""

from dataclasses import dataclass

from selflong.estimate.data_stages import documents
from selflong.estimate.usage import expected_usage
from selflong.recipe.recipe import Recipe
from selflong.recipe.site import RemoteServing, Serving
from selflong.recipe.synthesis import Generator

RULES = {
    "instructions": ("instruction",),
    "answers": ("summary", "answer", "follow-up", "closed book"),
    "long outputs": ("back-translation",),
    "document tasks": ("question", "book summary"),
    "multi-hop questions": ("first question", "second question", "description", "check"),
}
"""Step of the estimate -> steps of the synthesis."""


@dataclass(frozen=True)
class Usage:
    """What is asked of an endpoint."""

    requests: int
    prompt_tokens: int
    completion_tokens: int

    def usd(self, generator: Generator, serving: Serving | None = None) -> float:
        """Price of the tokens; 0 where the generator has none."""
        if generator.price is None:
            return 0.0
        usd = generator.price.usd(self.prompt_tokens, self.completion_tokens)
        by_batches = serving.batch if isinstance(serving, RemoteServing) else None
        return usd if by_batches is None else by_batches.price_share * usd


def usage(recipe: Recipe, generator: str) -> dict[str, Usage]:
    """Usage of each of RULES."""
    assert recipe.synthesis is not None
    corpus = documents(recipe.corpora[recipe.synthesis.corpus])
    expected = expected_usage(recipe, generator, corpus.tokens / corpus.rows)
    steps = {step.step: step for step in expected}
    asked = {
        rule: [steps[name] for name in names if name in steps] for rule, names in RULES.items()
    }
    return {
        rule: Usage(
            sum(step.requests for step in found),
            sum(step.prompt_tokens for step in found),
            sum(step.completion_tokens for step in found),
        )
        for rule, found in asked.items()
        if found
    }
