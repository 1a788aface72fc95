"""What became of everything that a step read (formats.DROPS), and what its calls used."""

from collections import Counter
from pathlib import Path

from selflong.formats import DROPS, table, write_json, write_parquet

KEPT = "kept"


class Tally:
    """Counts rows and tokens by source and reason, and requests and tokens by step."""

    def __init__(self) -> None:
        self._rows: Counter[tuple[str, str]] = Counter()
        self._tokens: Counter[tuple[str, str]] = Counter()
        self._usage: dict[str, Counter[str]] = {}

    def add(self, source: str, reason: str, tokens: int = 0, rows: int = 1) -> None:
        """Count `rows` rows of `source` under `reason`."""
        self._rows[source, reason] += rows
        self._tokens[source, reason] += tokens

    def use(self, step: str, prompt_tokens: int, completion_tokens: int) -> None:
        """Count an answered request; one that the cache answers counts like the first time."""
        self._usage.setdefault(step, Counter()).update(
            requests=1, prompt_tokens=prompt_tokens, completion_tokens=completion_tokens
        )

    def write(self, drops: Path, usage: Path) -> None:
        """Publish the counts, in the order of their names.

        usage: JSON, step -> {requests, prompt_tokens, completion_tokens}.
        """
        rows = [
            {"source": key[0], "reason": key[1], "rows": count, "tokens": self._tokens[key]}
            for key, count in sorted(self._rows.items())
        ]
        write_parquet(table(rows, DROPS), drops, DROPS)
        write_json({step: dict(counts) for step, counts in self._usage.items()}, usage)
