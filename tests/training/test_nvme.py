"""A node's disk as the place of the optimizer's state: what is asked of it, and what is left on it."""

from pathlib import Path

import pytest

from selflong.job import UserError
from selflong.recipe.site import TrainingSite
from selflong.training import nvme
from selflong.training.launch import run_stage
from selflong.training.layout import Layout
from selflong.training.nvme import check_space, load_async_io, own_folder, remove_locks
from selflong.training.ranks import on_ranks
from tests.training.jobs import make_job, write_model, write_packed


def test_a_folder_is_empty_at_the_start_and_gone_at_the_end(tmp_path: Path) -> None:
    left = tmp_path / "job" / "rank0" / "0_0.tensor.swp"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"of a start that was killed")
    (tmp_path / "another").mkdir()
    with pytest.raises(KeyboardInterrupt), own_folder(tmp_path / "job") as folder:
        assert folder.is_dir() and not list(folder.iterdir())
        (folder / "state").write_bytes(b"new")
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["another"]


def test_a_disk_that_a_node_lacks_is_named_before_ranks_start(tmp_path: Path) -> None:
    write_model(tmp_path / "initial")
    write_packed(tmp_path / "packed", 64, 4)
    disk = tmp_path / "disk"
    job = make_job(tmp_path, 1, Layout(), offload_optimizer=True, offload_nvme=disk)
    with pytest.raises(UserError, match=f"offload_nvme: {disk} is no folder of node"):
        run_stage(job, TrainingSite(ranks_per_node=1), tmp_path / "output")
    assert not disk.exists()


def test_a_disk_that_takes_no_direct_writes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nvme, "BLOCK", 100)  # hardly a disk has blocks of which this is a multiple
    try:
        with own_folder(tmp_path / "job"):
            pytest.skip("the file system of temporary files takes direct writes of any size")
    except UserError as mistake:
        assert "takes no direct writes of 100 bytes" in str(mistake)
    assert not list(tmp_path.iterdir())


def test_a_disk_that_is_too_small_is_refused(tmp_path: Path) -> None:
    check_space(tmp_path, 1000)
    with pytest.raises(UserError, match=r"takes 16000000.0 GB; free some"):
        check_space(tmp_path, 1e15)


def test_a_build_that_was_killed_keeps_nobody_waiting(tmp_path: Path) -> None:
    (tmp_path / "async_io").mkdir()
    for name in ("lock", "async_io.so"):
        (tmp_path / "async_io" / name).touch()
    remove_locks(tmp_path)
    assert [path.name for path in tmp_path.rglob("*.*")] == ["async_io.so"]
    assert not (tmp_path / "async_io" / "lock").exists()


def _without_libaio() -> str:
    from deepspeed.ops.op_builder import AsyncIOBuilder

    AsyncIOBuilder.has_function = lambda *_, **__: False
    try:
        load_async_io()
    except UserError as mistake:
        return str(mistake)
    return ""


def test_without_libaio_the_package_is_named() -> None:
    [sentence] = on_ranks(1, _without_libaio)
    assert "no program can be linked with libaio" in sentence
    assert "install libaio-dev" in sentence and "\n" not in sentence
