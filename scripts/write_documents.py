"""Write the documents of a shard that the corpus keeps, and beside them their tokens."""

from pathlib import Path

from selflong.launcher import launch
from selflong.corpus.select import write
from selflong.corpus.stretches import SOURCE_FILE


def source_files(sources: list[Path]) -> list[Path]:
    """What tells the files of each collected folder."""
    return [folder / SOURCE_FILE for folder in sources]


def selected(selection: Path, part: int) -> Path:
    """The shard's file in the folder of the selection."""
    return selection / f"{part}.parquet"


if __name__ == "__main__":
    launch(
        write,
        sources=source_files,
        parts=lambda recipe, corpus: recipe.corpora[corpus].shards,
        selection=selected,
    )
