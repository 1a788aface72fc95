"""What a stage's launcher makes of what earlier starts left."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selflong.formats import PackedFiles, write_json
from selflong.integrity import record_folder
from selflong.recipe.site import TrainingSite
from selflong.training import launch, stage_job
from selflong.training.launch import run_stage
from selflong.training.layout import Layout
from selflong.training.stage_job import MODEL, TrainingJob
from tests.training.jobs import make_job, write_model, write_packed

SITE = TrainingSite(ranks_per_node=1)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    write_model(folder / "initial")
    write_packed(folder / "packed", 64, 4)
    record_folder(folder / "packed")
    return folder


def _job(inputs: Path, folder: Path, **settings: Any) -> TrainingJob:
    return make_job(inputs, 1, Layout(), work=folder / "work", **settings)


def _written(job: TrainingJob) -> Path:
    """What a start leaves that ends when its ranks have written the model."""
    model = job.work / MODEL
    model.mkdir()
    for name in ("model.safetensors", "config.json"):
        (model / name).write_bytes((job.initial / name).read_bytes())
    record_folder(model)
    return model


@pytest.fixture
def no_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A launcher that starts ranks fails."""

    def start(*_: Any) -> None:
        raise AssertionError("ranks were started")

    monkeypatch.setattr(launch, "_run_ranks", start)


@pytest.mark.usefixtures("no_ranks")
def test_a_written_model_is_published_and_stays_under_a_second_name(
    inputs: Path, tmp_path: Path
) -> None:
    job = _job(inputs, tmp_path)
    model = _written(job)
    for name in ("first", "again"):
        run_stage(job, SITE, tmp_path / name)
        for path in model.iterdir():
            assert path.samefile(tmp_path / name / path.name)


@pytest.mark.usefixtures("no_ranks")
def test_where_files_have_one_name_alone_no_second_model_stays(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any) -> None:
        raise OSError

    job = _job(inputs, tmp_path)
    weights = (_written(job) / "model.safetensors").read_bytes()
    monkeypatch.setattr(os, "link", refused)
    run_stage(job, SITE, tmp_path / "model")
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == weights
    assert not (job.work / MODEL).exists()


def _cut(model: Path) -> None:
    with (model / "model.safetensors").open("r+b") as stream:
        stream.truncate(1000)


def _zeroed(model: Path) -> None:
    """As a node's death leaves blocks that had not reached its disk."""
    with (model / "model.safetensors").open("r+b") as stream:
        stream.seek(2000)
        stream.write(bytes(512))


def _gone(model: Path) -> None:
    (model / "config.json").unlink()


@pytest.mark.usefixtures("no_ranks")
@pytest.mark.parametrize("damage", [_cut, _zeroed, _gone])
def test_a_damaged_model_is_trained_again(
    inputs: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    job = _job(inputs, tmp_path)
    damage(_written(job))
    with pytest.raises(AssertionError, match="ranks were started"):
        run_stage(job, SITE, tmp_path / "model")
    assert not (job.work / MODEL).exists()


@pytest.mark.usefixtures("no_ranks")
def test_a_model_without_the_optimizer_that_the_next_stage_needs_is_trained_again(
    inputs: Path, tmp_path: Path
) -> None:
    _written(_job(inputs, tmp_path))
    with pytest.raises(AssertionError, match="ranks were started"):
        run_stage(_job(inputs, tmp_path, keep_optimizer=True), SITE, tmp_path / "model")


def test_what_a_state_depends_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_model(tmp_path / "initial")
    packed = write_packed(tmp_path / "packed", 64, 4)
    record_folder(packed)
    job = _job(tmp_path, tmp_path)
    found = [job.state_digest()]
    for other in ({"layout": Layout(ring=2)}, {"zero_stage": 1}, {"work": tmp_path / "elsewhere"}):
        assert job.model_copy(update=other).state_digest() == found[0]

    def changed() -> bool:
        found.append(job.state_digest())
        return found[-1] not in found[:-1]

    # Other tokens of the same lengths.
    ids = np.load(packed / PackedFiles.INPUT_IDS)
    np.save(packed / PackedFiles.INPUT_IDS, ids[::-1])
    record_folder(packed)
    assert changed()
    write_json({"model_type": "another"}, tmp_path / "initial" / "config.json")
    assert changed()
    monkeypatch.setattr(stage_job, "VERSION", stage_job.VERSION + 1)
    assert changed()
