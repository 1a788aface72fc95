"""The real download code against a hub that cuts, damages, limits and refuses."""

import hashlib
import logging
import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from selflong.hub import RECORD, download_files, download_model, recorded
from selflong.integrity import ENDING
from selflong.job import UserError
from selflong.recipe.section import Download
from tests.hub_server import COMMIT, SIGNATURE, HubServer, listed, serve

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


def files_in(folder: Path) -> list[str]:
    """Beside the digests of what was published."""
    found = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ENDING]
    return sorted(str(path.relative_to(folder)) for path in found)


def check(hub: HubServer, folder: Path, paths: list[Path]) -> None:
    assert [str(path.relative_to(folder)) for path in paths] == [
        "sample/0.parquet",
        "sample/1.parquet",
    ]
    for path in paths:
        assert path.read_bytes() == hub.files[str(path.relative_to(folder))]
    assert files_in(folder) == [RECORD, *(str(path.relative_to(folder)) for path in paths)]


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


def test_killed_download_keeps_the_files_that_came_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, long_shards: dict[str, bytes]
) -> None:
    hub = HubServer(REPOSITORY, long_shards, cut_after=10_500_000, cuts=100)
    with serve(hub):
        use(hub, monkeypatch)
        script = (
            "import sys; from pathlib import Path; from selflong.hub import download_files;"
            f"download_files({REPOSITORY!r}, 'main', 'sample/*', Path(sys.argv[1]), 'X', kind='dataset')"
        )
        child = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)])
        deadline = time.monotonic() + 60
        while not (tmp_path / "sample/1.parquet").exists() or hub.cuts == 100:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        child.kill()  # while the long file goes on after the cut
        assert child.wait() != 0
        assert not (tmp_path / "sample/0.parquet").exists()
        hub.log.clear()
        hub.cuts = 0
        check(hub, tmp_path, download(hub, tmp_path))
        assert len(hub.bodies()) == 1


def test_damaged_file_is_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(HubServer(REPOSITORY, shards(), damaged=1)) as hub:
        use(hub, monkeypatch)
        check(hub, tmp_path, download(hub, tmp_path))


def test_damaged_file_is_never_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(HubServer(REPOSITORY, shards(), damaged=1000)) as hub:
        use(hub, monkeypatch)
        with pytest.raises(UserError, match=r"another hash than the hub lists, so it was not kept"):
            download(hub, tmp_path)
    assert not [name for name in files_in(tmp_path) if name.endswith((".parquet", RECORD))]


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


@pytest.mark.parametrize("token", ["hf_secret\nX-Other: 1", "“hf_secret”", "hf secret"])
def test_a_token_that_can_be_none_is_one_sentence_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv(VARIABLE, token)
    with pytest.raises(UserError, match=f"{VARIABLE} holds a character that no key has") as caught:
        download(HubServer(REPOSITORY, shards(), url="http://127.0.0.1:1"), tmp_path)
    assert "secret" not in str(caught.value)


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
        with pytest.raises(UserError, match=r"no file matches '\*.jsonl'; correct `files`"):
            download(hub, tmp_path, "*.jsonl")


def test_hub_that_does_not_answer_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(HubServer(REPOSITORY, shards())) as hub:
        use(hub, monkeypatch)
    monkeypatch.setattr("selflong.hub.PATIENCE", 2)
    with pytest.raises(UserError, match="the connection to the hub broke"):
        download(hub, tmp_path)


NAMES = [
    "a/../../outside.parquet",
    "a/./b",
    "a//b",
    "/etc/passwd",
    "a\0b",
    "a\nb",
    "n" * 300,
    "a\\b",
    "\ud800",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_is_no_file_inside_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    weights = Download("owner/encoder", "main")
    with serve(HubServer("owner/encoder", {name: content(2000)}, kind="models")) as hub:
        use(hub, monkeypatch)
        with pytest.raises(UserError, match="no name of a file inside of a repository") as error:
            download_model(weights, tmp_path / "folder", VARIABLE)
    assert "\n" not in str(error.value)
    assert files_in(tmp_path) == []


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
        weights = Download("owner/encoder", "main")
        download_model(weights, tmp_path, VARIABLE)
    came = set(files_in(tmp_path))
    assert came == {"config.json", "model.safetensors", "1_Pooling/config.json", RECORD}


def test_a_file_that_is_a_folder_too_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(HubServer(REPOSITORY, {"a": b"x", "a/b/c": b"y"})) as hub:
        use(hub, monkeypatch)
        with pytest.raises(UserError, match="lists 'a' as a file and as a folder"):
            download(hub, tmp_path, "*")


LISTINGS = [
    [{"type": "file"}],
    [{"type": "file", "path": 3, "size": 1, "oid": "x"}],
    [{"type": "file", "path": "a", "size": -1, "oid": "x"}],
    [{"type": "file", "path": "a", "size": "many", "oid": "x"}],
    [None],
    {"error": "x"},
    "text",
    3,
]


@pytest.mark.parametrize("listing", LISTINGS, ids=str)
def test_a_listing_that_cannot_be_read_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listing: object
) -> None:
    with serve(HubServer(REPOSITORY, shards(), tree=listing)) as hub:
        use(hub, monkeypatch)
        with pytest.raises(UserError, match=r"the listing of .* cannot be read: is it a hub\?"):
            download(hub, tmp_path)


ODD = [
    *(None, True, -1, 2**70, 1e308, "", "..", "a/../b", "n" * 300, "\ud800", "\n", [], {}, [None]),
    {"oid": 3, "size": "x"},
]


def test_a_mutated_listing_is_refused_in_a_sentence_or_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selflong.hub.PATIENCE", 1)
    hub = HubServer(REPOSITORY, {"a.parquet": content(2000), "b/c.parquet": b"small"})
    rng = random.Random(1)
    with serve(hub):
        use(hub, monkeypatch)
        for number in range(60):
            entries = [listed(name, body) for name, body in hub.files.items()]
            entry = rng.choice(entries)
            holder = rng.choice([entry, entry.get("lfs", entry)])
            holder[rng.choice(list(holder))] = rng.choice(ODD)
            hub.tree = entries
            folder = tmp_path / "inside" / str(number)
            try:
                paths = download(hub, folder, "*")
            except UserError as mistake:
                assert str(mistake).startswith(REPOSITORY), str(mistake)
                assert "\n" not in str(mistake)
            else:
                for path in paths:
                    assert path.read_bytes() == hub.files[str(path.relative_to(folder))]
    assert {path.name for path in tmp_path.iterdir()} == {"inside"}


def test_the_record_names_the_commit_and_every_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(HubServer(REPOSITORY, shards())) as hub:
        use(hub, monkeypatch)
        download(hub, tmp_path, "*.parquet")
    record = recorded(tmp_path)
    assert (record["revision"], record["commit"]) == ("main", COMMIT)
    hashes = {path: entry["sha256"] for path, entry in record["files"].items()}
    expected = {path: body for path, body in shards().items() if path.endswith(".parquet")}
    assert hashes == {path: hashlib.sha256(body).hexdigest() for path, body in expected.items()}
    assert recorded(tmp_path / "sample") == {}


def test_a_changed_repository_leaves_nothing_of_its_old_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(HubServer(REPOSITORY, shards())) as hub:
        use(hub, monkeypatch)
        download(hub, tmp_path)
        hub.commit = COMMIT[::-1]
        hub.files = {"sample/0.parquet": content(3_000_000, 9), "sample/1.parquet": content(20, 2)}
        check(hub, tmp_path, download(hub, tmp_path))
        assert recorded(tmp_path)["commit"] == COMMIT[::-1]
        del hub.files["sample/1.parquet"]
        download(hub, tmp_path)
    assert files_in(tmp_path) == [RECORD, "sample/0.parquet"]


def test_what_is_there_of_the_same_commit_does_not_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    present, work = tmp_path / "present", tmp_path / "work"

    def again(hub: HubServer) -> list[Path]:
        return download_files(
            hub.repository, "main", "sample/*", work, VARIABLE, kind="dataset", present=present
        )

    with serve(HubServer(REPOSITORY, shards())) as hub:
        use(hub, monkeypatch)
        download(hub, present)
        bodies = hub.bodies()
        check(hub, present, again(hub))
        assert hub.bodies() == bodies
        assert not work.exists()
        hub.commit = COMMIT[::-1]
        check(hub, work, again(hub))


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_an_offline_switch_is_a_sentence_at_once(tmp_path: Path, variable: str) -> None:
    outcome = subprocess.run(
        [sys.executable, "-c", JOB, str(tmp_path), VARIABLE],
        env={**os.environ, variable: "1"},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert outcome.returncode == 2
    assert outcome.stderr.startswith(f"Error: {REPOSITORY} is not downloaded yet")
    assert outcome.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "endpoint", ["", "hub.example", "http://[::1", "http://h:99999", "ftp://h"]
)
def test_an_endpoint_that_is_no_address_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    hub = HubServer(REPOSITORY, {})
    with pytest.raises(UserError, match="HF_ENDPOINT is set and holds no address of a hub"):
        download(hub, tmp_path)


JOB = f"""
import sys
from pathlib import Path
from selflong.hub import download_files
from selflong.job import run
folder, variable = sys.argv[1:]
run(lambda: download_files({REPOSITORY!r}, "main", "sample/*", Path(folder), variable, kind="dataset"))
"""


def test_a_job_logs_no_signed_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = HubServer(REPOSITORY, shards(), cut_after=900_000, reset=True, cuts=1, token=SECRET)
    with serve(hub):
        outcome = subprocess.run(
            [sys.executable, "-c", JOB, str(tmp_path), VARIABLE],
            env={**os.environ, "HF_ENDPOINT": hub.url, VARIABLE: SECRET},
            capture_output=True,
            text=True,
            check=True,
        )
    assert hub.cuts == 0
    assert re.search(r"owner/documents: [\d,]+ of [\d,]+ MB", outcome.stderr)
    for secret in (SIGNATURE, SECRET, "/content/"):
        assert secret not in outcome.stdout + outcome.stderr


def test_a_file_in_place_of_the_folder_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "file"
    folder.write_text("no folder")
    with serve(HubServer(REPOSITORY, shards())) as hub:
        use(hub, monkeypatch)
        with pytest.raises(UserError, match=r"owner/documents: .*: (Not a directory|File exists)"):
            download(hub, folder)
