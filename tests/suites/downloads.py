"""A benchmark's files as a hub gives them."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from selflong.hub import download_files
from selflong.recipe.section import Download
from tests.hub_server import HubServer, serve


def parquet(rows: list[dict[str, Any]]) -> bytes:
    """A parquet file of rows."""
    stream = io.BytesIO()
    pl.DataFrame(rows).write_parquet(stream)
    return stream.getvalue()


def download_from_hub(
    download: Download | None, files: Mapping[str, bytes], folder: Path, patch: pytest.MonkeyPatch
) -> Path:
    """The folder of a suite's download after a hub on loopback, which holds `files`, gave it."""
    assert download is not None and download.files is not None
    with serve(HubServer(download.repository, dict(files))) as hub:
        patch.setenv("HF_ENDPOINT", hub.url)
        download_files(
            download.repository, download.revision, download.files, folder, "NO_TOKEN", "dataset"
        )
    return folder
