"""What the training data share with the evaluation's own text: questions, haystacks, patterns."""

from pathlib import Path
from typing import Any

from selflong.formats import EVALUATION_TEXTS, read_parquet
from selflong.job import UserError
from selflong.recipe.mixture import Contamination
from selflong.similarity import OverlapIndex

REASON = "contaminated"


class EvaluationTexts:
    """The texts of the suites that a recipe names (formats.EVALUATION_TEXTS), indexed by n-grams."""

    def __init__(self, path: Path | None, settings: Contamination) -> None:
        self._names: list[tuple[str, str]] = []
        texts: list[str] = []
        if settings.suites:
            if path is None:
                raise UserError(
                    f"contamination names the suites {', '.join(settings.suites)}, but there is no file with "
                    "the evaluation's texts: give one"
                )
            frame = read_parquet(path, EVALUATION_TEXTS)
            for suite, name, text in frame.iter_rows():
                if suite in settings.suites:
                    self._names.append((suite, name))
                    texts.append(text)
        self._index = OverlapIndex(texts, settings.ngram)

    def hits(self, sample_id: str, text: str) -> list[dict[str, Any]]:
        """One row for each text of the evaluation that shares an n-gram with `text`."""
        return [
            {
                "sample_id": sample_id,
                "suite": self._names[overlap.index][0],
                "name": self._names[overlap.index][1],
                "shared_ngrams": overlap.shared,
                "share": overlap.share,
                "excerpt": overlap.excerpt,
            }
            for overlap in self._index.overlaps(text)
        ]
