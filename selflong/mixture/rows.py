"""Every row of a mixture as it was prepared, and what is decided about it."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from selflong.formats import read_parquet, table
from selflong.mixture.rendered_sources import ROWS, ROWS_FILE, Task
from selflong.recipe.mixture import Mixture


@dataclass
class Rows:
    """Every row of every source, in the order of the recipe."""

    entries: list[str]
    """Of each task, as the kinds."""
    kinds: list[str]
    task: np.ndarray
    prepared: np.ndarray
    """Whether a row has tokens."""
    place: np.ndarray
    """Position among the prepared rows of its task."""
    sample_ids: pl.Series
    tokens: np.ndarray
    loss_tokens: np.ndarray
    documents: pl.Series
    """Tokens of each document in a row."""
    keys: pl.Series
    reasons: np.ndarray
    """Object: why a row is left out, None while it is not."""
    counts: np.ndarray
    """How often a row is taken."""
    packed: np.ndarray
    """Its tokens in all sequences together."""
    packed_loss: np.ndarray
    """Those of them that the loss counts."""

    def remaining(self) -> np.ndarray:
        return np.flatnonzero(self.reasons == None)  # noqa: E711 - elementwise

    def frame(self) -> pl.DataFrame:
        names = pl.Series(self.entries, dtype=pl.String)
        return pl.DataFrame(
            {
                "source": names.gather(self.task),
                "tokens": self.tokens,
                "reason": pl.Series(self.reasons.tolist(), dtype=pl.String),
                "count": self.counts,
                "packed": self.packed,
                "packed_loss": self.packed_loss,
            }
        )


def gather(tasks: list[Task], mixture: Mixture) -> Rows:
    frames = [read_parquet(task.folder / ROWS_FILE, ROWS) for task in tasks]
    whole = pl.concat(frames) if frames else table([], ROWS)
    prepared = [frame["reason"].is_null().to_numpy() for frame in frames]
    return Rows(
        entries=[task.entry for task in tasks],
        kinds=[mixture.entries[task.entry].source.samples_kind for task in tasks],
        prepared=np.concatenate([np.empty(0, bool), *prepared]),
        task=np.repeat(np.arange(len(tasks)), [len(frame) for frame in frames]),
        place=np.concatenate([[], *(np.cumsum(mask) - 1 for mask in prepared)]).astype(np.int64),
        sample_ids=whole["sample_id"],
        tokens=whole["tokens"].to_numpy().copy(),
        loss_tokens=whole["loss_tokens"].fill_null(0).to_numpy().copy(),
        documents=whole["documents"],
        keys=whole["key"],
        reasons=np.array(whole["reason"].to_list(), dtype=object),
        counts=np.zeros(len(whole), dtype=np.int64),
        packed=np.zeros(len(whole), dtype=np.int64),
        packed_loss=np.zeros(len(whole), dtype=np.int64),
    )
