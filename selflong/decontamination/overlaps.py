"""What a text shares with the evaluation's own: questions, haystacks, patterns."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from selflong.formats import EVALUATION_TEXTS, read_parquet, table
from selflong.job import UserError
from selflong.similarity import OverlapIndex


class EvaluationTexts:
    """The texts of a recipe's evaluation (formats.EVALUATION_TEXTS), indexed by n-grams of words."""

    def __init__(
        self, path: Path | None, ngram: int, suites: Collection[str] | None = None
    ) -> None:
        """`path` may be None where `suites`, those whose texts count (None: all), are none."""
        if path is None and suites:
            raise UserError(
                f"contamination names the suites {', '.join(suites)}, but there is no file with "
                "the evaluation's texts: give one"
            )
        texts = (
            table([], EVALUATION_TEXTS) if path is None else read_parquet(path, EVALUATION_TEXTS)
        )
        if suites is not None:
            texts = texts.filter(texts["suite"].is_in(list(suites)))
        self._texts = texts
        self._index = OverlapIndex(texts["text"], ngram)

    def hits(self, text: str) -> Iterator[dict[str, Any]]:
        """For each text of the evaluation that shares an n-gram with `text`: which, and how much of it.

        The columns suite, name, shared_ngrams, share and excerpt of formats.CORPUS_OVERLAPS.
        """
        for overlap in self._index.overlaps(text):
            yield {
                "suite": self._texts["suite"][overlap.index],
                "name": self._texts["name"][overlap.index],
                "shared_ngrams": overlap.shared,
                "share": overlap.share,
                "excerpt": overlap.excerpt,
            }
