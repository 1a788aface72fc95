"""Note which documents of a corpus's shard pass its filters, and which share text with an evaluation."""

from pathlib import Path

from selflong.launcher import launch
from selflong.corpus.select import scan
from selflong.corpus.stretches import SOURCE_FILE
from selflong.recipe.recipe import Recipe
from selflong.tokens import Tokenizer, load_tokenizer


def source_files(sources: list[Path]) -> list[Path]:
    """What tells the files of each collected folder."""
    return [folder / SOURCE_FILE for folder in sources]


def loaded(recipe: Recipe, tokenizer: Path) -> Tokenizer:
    """The tokenizer of a folder, with the recipe's date."""
    return load_tokenizer(tokenizer, recipe.chat_date)


if __name__ == "__main__":
    launch(
        scan,
        sources=source_files,
        corpus=lambda recipe, corpus: recipe.corpora[corpus],
        parts=lambda recipe, corpus: recipe.corpora[corpus].shards,
        seed=lambda recipe: recipe.seed,
        tokenizer=loaded,
    )
