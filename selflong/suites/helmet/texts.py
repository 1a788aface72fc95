"""HELMET brings its own texts, which are not known here: they lie in the checkout that the site names."""

from collections.abc import Iterator
from pathlib import Path

from selflong.suites.helmet.section import Helmet


def texts(suite: Helmet, download: Path | None) -> Iterator[tuple[str, str]]:
    """None."""
    return iter(())
