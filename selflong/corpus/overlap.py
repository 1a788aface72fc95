"""Which documents share a run of words with an evaluation's own sources (questions, haystacks)."""

from pathlib import Path

import polars as pl

from selflong.formats import CORPUS_OVERLAPS, EVALUATION_TEXTS, read_parquet, table
from selflong.similarity import OverlapIndex


class EvaluationTexts:
    """The texts of the recipe's evaluation, ready to be looked for in documents."""

    def __init__(self, path: Path, ngram: int) -> None:
        """`path` holds EVALUATION_TEXTS; documents are compared in runs of `ngram` words."""
        self._texts = read_parquet(path, EVALUATION_TEXTS)
        self._index = OverlapIndex(self._texts["text"], ngram)

    def overlaps(self, documents: pl.DataFrame) -> pl.DataFrame:
        """CORPUS_OVERLAPS of documents (columns source, id and text): a row for each text shared with."""
        rows = [
            {
                "source": source,
                "document_id": document,
                "suite": self._texts["suite"][hit.index],
                "name": self._texts["name"][hit.index],
                "shared_ngrams": hit.shared,
                "share": hit.share,
                "excerpt": hit.excerpt,
            }
            for source, document, text in documents.select("source", "id", "text").iter_rows()
            for hit in self._index.overlaps(text)
        ]
        return table(rows, CORPUS_OVERLAPS)
