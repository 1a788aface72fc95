"""The real download code against a hub that cuts, damages, limits and refuses."""

import logging
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from selflong.hub import download_files, download_model
from selflong.job import UserError
from selflong.recipe.weights import HubWeights
from tests.hub_server import HubServer, serve

REPOSITORY = "owner/documents"
VARIABLE = "HUB_TEST_TOKEN"
SECRET = "hf_averysecrettoken"


def content(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def shards() -> dict[str, bytes]:
    return {
        "sample/0.parquet": content(3_000_000, 1),
        "sample/1.parquet": content(200_000, 2),
        "README.md": b"documents",
        "data/2.parquet": content(5_000, 3),
    }


def download(hub: HubServer, folder: Path, pattern: str = "sample/*.parquet") -> list[Path]:
    return download_files(hub.repository, "main", pattern, folder, VARIABLE, kind="dataset")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


def use(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.url)


@pytest.fixture
def long_shards() -> dict[str, bytes]:
    """A shard of more than two of the 10 MB pieces that huggingface_hub writes at once."""
    return {**shards(), "sample/0.parquet": content(24_000_000, 1)}


def check(hub: HubServer, folder: Path, paths: list[Path]) -> None:
    assert [str(path.relative_to(folder)) for path in paths] == [
        "sample/0.parquet",
        "sample/1.parquet",
    ]
    for path in paths:
        assert path.read_bytes() == hub.files[str(path.relative_to(folder))]
    assert sorted(path for path in folder.rglob("*") if path.is_file()) == paths


def test_only_matching_files_come_and_whole_ones_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(HubServer(REPOSITORY, shards())) as hub:
        use(hub, monkeypatch)
        check(hub, tmp_path, download(hub, tmp_path))
        first = hub.bodies()
        check(hub, tmp_path, download(hub, tmp_path))
        assert hub.bodies() == first
        assert max(first.values()) == 1


@pytest.mark.parametrize("reset", [False, True])
def test_cut_transfer_goes_on_where_it_broke(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, long_shards: dict[str, bytes], reset: bool
) -> None:
    hub = HubServer(REPOSITORY, long_shards, cut_after=10_500_000, reset=reset, cuts=2)
    with serve(hub):
        use(hub, monkeypatch)
        check(hub, tmp_path, download(hub, tmp_path))
    starts = [int(wanted[6:-1]) for path, wanted in hub.log if wanted and "content" in path]
    assert len(starts) == 2
    assert min(starts) >= 10_000_000


def test_server_without_ranges_starts_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, long_shards: dict[str, bytes]
) -> None:
    hub = HubServer(REPOSITORY, long_shards, cut_after=10_500_000, cuts=1, ignores_ranges=True)
    with serve(hub):
        use(hub, monkeypatch)
        check(hub, tmp_path, download(hub, tmp_path))


def test_killed_download_keeps_what_has_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, long_shards: dict[str, bytes]
) -> None:
    hub = HubServer(REPOSITORY, long_shards, cut_after=10_500_000, cuts=1)
    with serve(hub):
        use(hub, monkeypatch)
        script = (
            "import sys; from pathlib import Path; from selflong.hub import download_files;"
            f"download_files({REPOSITORY!r}, 'main', 'sample/*', Path(sys.argv[1]), 'X', kind='dataset')"
        )
        child = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)])
        partial = tmp_path / "sample/0.parquet.partial"
        deadline = time.monotonic() + 60
        while not (partial.exists() and partial.stat().st_size >= 10_000_000):
            assert time.monotonic() < deadline
            time.sleep(0.005)
        child.kill()  # in the pause after the cut
        assert child.wait() != 0
        have = partial.stat().st_size
        hub.log.clear()
        check(hub, tmp_path, download(hub, tmp_path))
    assert f"bytes={have}-" in [wanted for _, wanted in hub.log]


def test_damaged_file_is_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(HubServer(REPOSITORY, shards(), damaged=1)) as hub:
        use(hub, monkeypatch)
        check(hub, tmp_path, download(hub, tmp_path))


def test_damaged_file_is_never_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(HubServer(REPOSITORY, shards(), damaged=1000)) as hub:
        use(hub, monkeypatch)
        with pytest.raises(UserError, match=r"another hash than the hub lists, so it was not kept"):
            download(hub, tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_file_that_was_changed_on_disk_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(HubServer(REPOSITORY, shards())) as hub:
        use(hub, monkeypatch)
        paths = download(hub, tmp_path)
        damaged = bytearray(paths[0].read_bytes())
        damaged[10] ^= 1
        paths[0].write_bytes(damaged)
        check(hub, tmp_path, download(hub, tmp_path))


def test_small_file_is_checked_by_its_blob_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(HubServer(REPOSITORY, shards())) as hub:
        use(hub, monkeypatch)
        (path,) = download(hub, tmp_path, "README.md")
        path.write_bytes(b"DOCUMENTS")  # of the same size
        (path,) = download(hub, tmp_path, "README.md")
        assert path.read_bytes() == b"documents"


def test_limits_are_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(HubServer(REPOSITORY, shards(), too_many={"/api": 2, "/content": 1})) as hub:
        use(hub, monkeypatch)
        check(hub, tmp_path, download(hub, tmp_path))


def test_lasting_limit_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(HubServer(REPOSITORY, shards(), too_many={"/api": 10**6})) as hub:
        use(hub, monkeypatch)
        with pytest.raises(UserError, match=r"too many requests.*start again later") as caught:
            download(hub, tmp_path)
    assert "\n" not in str(caught.value)


def test_gated_set_says_what_to_accept_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(HubServer(REPOSITORY, shards(), token=SECRET, gated=True)) as hub:
        use(hub, monkeypatch)
        expected = (
            r"gated: accept its conditions at https://huggingface.co/datasets/owner/documents "
            rf"and set {VARIABLE}"
        )
        with pytest.raises(UserError, match=expected):
            download(hub, tmp_path)
        monkeypatch.setenv(VARIABLE, SECRET)
        check(hub, tmp_path, download(hub, tmp_path))


def test_wrong_token_is_one_sentence_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with serve(HubServer(REPOSITORY, shards(), token="another")) as hub:
        use(hub, monkeypatch)
        monkeypatch.setenv(VARIABLE, SECRET)
        with pytest.raises(UserError, match=f"{VARIABLE} holds no valid token") as caught:
            download(hub, tmp_path)
        assert f"Bearer {SECRET}" in hub.tokens
    assert SECRET not in str(caught.value)
    assert SECRET not in caplog.text


def test_token_is_not_logged_by_a_download_that_breaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    hub = HubServer(REPOSITORY, shards(), token=SECRET, cut_after=900_000, reset=True, cuts=1)
    with serve(hub):
        use(hub, monkeypatch)
        monkeypatch.setenv(VARIABLE, SECRET)
        check(hub, tmp_path, download(hub, tmp_path))
    assert SECRET not in caplog.text


def test_unknown_revision_and_pattern_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(HubServer(REPOSITORY, shards())) as hub:
        use(hub, monkeypatch)
        with pytest.raises(UserError, match="has no revision 'v9'"):
            download_files(REPOSITORY, "v9", "*", tmp_path, VARIABLE, kind="dataset")
        with pytest.raises(UserError, match=r"no file matches '\*.jsonl'; mend `files`"):
            download(hub, tmp_path, "*.jsonl")


def test_hub_that_does_not_answer_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(HubServer(REPOSITORY, shards())) as hub:
        use(hub, monkeypatch)
    monkeypatch.setattr("selflong.hub.PATIENCE", 2)
    with pytest.raises(UserError, match="the connection to the hub broke"):
        download(hub, tmp_path)


def test_file_outside_of_the_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(HubServer(REPOSITORY, {"../outside.parquet": content(2000)})) as hub:
        use(hub, monkeypatch)
        with pytest.raises(UserError, match="lies outside of a repository"):
            download(hub, tmp_path / "folder", "*")
    assert not (tmp_path / "outside.parquet").exists()


def test_model_comes_in_one_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "config.json": b"{}",
        "model.safetensors": content(5000, 4),
        "1_Pooling/config.json": b"{}",
        "pytorch_model.bin": content(5000, 5),
        "onnx/model.onnx": content(5000, 6),
        "original/consolidated.00.pth": content(5000, 7),
    }
    with serve(HubServer("owner/encoder", files, kind="models")) as hub:
        use(hub, monkeypatch)
        weights = HubWeights(kind="hub", repository="owner/encoder", revision="main")
        download_model(weights, tmp_path, VARIABLE)
    came = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert came == {"config.json", "model.safetensors", "1_Pooling/config.json"}
