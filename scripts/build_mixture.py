"""Bring a mixture's samples together and pack them to the length of a stage."""

from pathlib import Path

from selflong.launcher import launch
from selflong.mixture.build import build_mixture
from selflong.recipe.recipe import Recipe
from selflong.tokens import Tokenizer, load_tokenizer


def loaded(recipe: Recipe, tokenizer: Path | None = None) -> Tokenizer | None:
    """The tokenizer of a folder, with the recipe's date; none where the mixture holds no text."""
    return load_tokenizer(tokenizer, recipe.chat_date) if tokenizer else None


if __name__ == "__main__":
    launch(build_mixture, tokenizer=loaded)
