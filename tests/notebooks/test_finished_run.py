"""The notebook runs from its first cell to its last on a run's files."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.publish.conftest import workspace  # noqa: F401 - a fixture

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "finished_run.ipynb"


def test_it_runs_on_a_finished_run(
    workspace: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SELFLONG_RESULTS", str(workspace / "results" / "laptop"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    outputs = [
        output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs
    ]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2
    assert any("answered" in output.get("text", "") for output in outputs)


def test_it_is_kept_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
