"""Snakemake or its job killed by SIGKILL in the middle of each stage, and started again alike."""

import shutil

import pytest

from selflong.formats import PREDICTIONS, read_parquet
from tests.workflow.workspace import Workspace, assert_same_weights, kill_and_go_on


@pytest.fixture(scope="module")
def twin(finished: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A copy of the finished run, request caches and all."""
    folder = tmp_path_factory.mktemp("killed") / "run"
    shutil.copytree(finished.folder, folder, symlinks=True)
    return Workspace(folder)


# From the last stage to the first: what an earlier stage made again would make the later ones run again.


def test_predictions_are_the_same_after_a_kill(finished: Workspace, twin: Workspace) -> None:
    target = "evaluation/ruler/base/initial/all.parquet"
    shutil.rmtree(twin.folder / "work/small/evaluation/ruler/base/initial")
    log = "evaluation/ruler/base/initial/all.log"
    again = read_parquet(kill_and_go_on(twin, target, log, "is served"), PREDICTIONS)
    assert again.equals(read_parquet(finished.results / target, PREDICTIONS))


def test_a_stage_killed_in_training_ends_with_the_same_weights(
    finished: Workspace, twin: Workspace
) -> None:
    shutil.rmtree(twin.folder / "work/small/training/full/half")
    log = "training/full/half.log"
    again = kill_and_go_on(twin, "models/full/half", log, ": 1 of", "train_stage.py")
    assert_same_weights(finished.results / "models/full/half", again)


@pytest.mark.parametrize(
    ("target", "log", "job"),
    [
        ("synthesis/smollm2/long_input/0.parquet", "synthesis/smollm2/long_input/0.log", None),
        ("retrieval/minilm/documents/embeddings/0", "retrieval/minilm/documents/embed/0.log", None),
        ("corpus/documents/notes/0.parquet", "corpus/documents/scan/0.log", None),
        ("corpus/documents/notes/1.parquet", "corpus/documents/scan/1.log", "scan_documents.py"),
    ],
)
def test_data_are_the_same_after_a_kill(
    finished: Workspace, twin: Workspace, target: str, log: str, job: str | None
) -> None:
    again = kill_and_go_on(twin, target, log, "", job)
    made = [again, *again.rglob("*")]
    for path in made:
        before = finished.results / target / path.relative_to(again)
        assert path.is_dir() or path.read_bytes() == before.read_bytes(), path
