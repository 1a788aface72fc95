"""A byte that changes in what a run made is noticed, by the next job or by `snakemake verify`."""

import json
import random
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from selflong import formats
from selflong.formats import publish, read_parquet, write_json, write_parquet, write_text
from selflong.integrity import ENDING, beside, check_inputs, damaged, recorded
from selflong.job import UserError
from selflong.recipe.loading import load_recipe, load_site
from selflong.recipe.recipe import Recipe
from selflong.results import download_folder, results_of
from selflong.run.run import Run
from selflong.verify import verify
from tests.hub_server import HubServer, serve

REPOSITORY = Path(__file__).parents[1]
SCHEMA = {"id": pl.String, "value": pl.Float64}


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def make(folder: Path, name: str) -> Path:
    """An output as stages make them; the file to damage."""
    rng = np.random.default_rng(1)
    if name == "folder":
        with publish(folder / "packed") as partial:
            partial.mkdir()
            np.save(partial / "input_ids.npy", rng.integers(0, 9, 400))
            write_json([1], partial / "vocabulary.json")
        return folder / "packed" / "input_ids.npy"
    path = folder / name
    if name.endswith(".parquet"):
        values = rng.random(50)
        frame = pl.DataFrame({"id": [str(value) for value in values], "value": values})
        write_parquet(frame, path, SCHEMA)
    else:
        write_text("some text\n", path)
    return path


@pytest.mark.parametrize("name", ["rows.parquet", "text.md", "folder"])
def test_no_flipped_bit_goes_unnoticed(tmp_path: Path, name: str) -> None:
    path = make(tmp_path, name)
    made = tmp_path / "packed" if name == "folder" else path
    check_inputs([made])
    size = 8 * path.stat().st_size
    for bit in random.Random(1).sample(range(size), 40):
        flip(path, bit)
        with pytest.raises(UserError, match="is not what was made") as mistake:
            check_inputs([made])
        assert str(mistake.value).startswith(f"{path} ")
        flip(path, bit)
    check_inputs([made])


def test_a_folder_tells_what_is_gone(tmp_path: Path) -> None:
    path = make(tmp_path, "folder")
    path.unlink()
    assert list(damaged(recorded(tmp_path))) == [
        f"{path} is gone since it was made: remove {path.parent}, and start again"
    ]


def test_a_file_that_is_made_again_has_its_new_digest(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for text in ("one", "two"):
        write_text(text, path)
        check_inputs([path])
    with pytest.raises(RuntimeError), publish(path) as partial:
        partial.write_text("half")
        raise RuntimeError
    check_inputs([path])
    assert {file.name for file in tmp_path.iterdir()} == {"file", beside(path).name}


def test_what_nobody_recorded_is_no_damage(tmp_path: Path) -> None:
    (tmp_path / "own.jsonl").write_text("{}")
    check_inputs([tmp_path, tmp_path / "own.jsonl", tmp_path / "nothing"])


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": ', "null"])
def test_a_damaged_record_is_one_sentence(tmp_path: Path, text: str) -> None:
    path = make(tmp_path, "text.md")
    beside(path).write_text(text)
    with pytest.raises(UserError, match=f"{ENDING} is damaged"):
        check_inputs([path])


def test_a_job_looks_at_the_smallest_files_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    write_text("s", small)
    write_text("l" * 100, large)
    monkeypatch.setattr("selflong.integrity.CHEAP_BYTES", 50)
    large.write_text("x" * 100)
    check_inputs([large, small])
    small.write_text("x")
    with pytest.raises(UserError, match="small is not"):
        check_inputs([large, small])


def test_the_copy_of_a_recipe_is_compared_with_its_name(
    laptop: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = Run(laptop, load_site(REPOSITORY / "config.yaml"))
    run.environment.write_copies()
    variables = run.environment.variables()
    for name, load in (("RECIPE", load_recipe), ("SITE", load_site)):
        path = Path(variables[f"SELFLONG_{name}"])
        whole = path.read_text()
        path.write_text(whole.replace("laptop", "laptap"))
        with pytest.raises(UserError, match="was changed after the run began"):
            load(path)
        run.environment.write_copies()
        assert path.read_text() == whole
        load(path)


def test_verify_names_every_damaged_file(
    laptop: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    site = load_site(REPOSITORY / "config.yaml")
    weights = {"kind": "hub", "repository": "owner/model", "revision": "main"}
    content = json.loads(laptop.model_dump_json())
    content["models"]["base"]["weights"] = weights
    recipe = Recipe.model_validate(content)
    root = results_of(recipe, site).root
    files = [make(root / "tables", "text.md"), make(root, "rows.parquet"), make(root, "folder")]
    (download,) = Run(recipe, site).inputs.downloads.values()
    folder = download_folder(site, download.name)
    hub = HubServer("owner/model", {"config.json": b"{}"}, kind="models")
    with serve(hub):
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        from selflong.hub import download_model

        files += download_model(download, folder, "HF_TOKEN")
    assert verify(recipe=recipe, site=site).startswith("4 files of ")
    for path in files:
        flip(path, 3)
    with pytest.raises(UserError) as mistakes:
        verify(recipe=recipe, site=site)
    said = str(mistakes.value).splitlines()
    assert {line.partition(" is not ")[0] for line in said} == {str(path) for path in files}


@pytest.mark.parametrize("content", [b"", b"PAR1", b"garbage" * 50])
def test_garbage_in_place_of_parquet_names_the_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "rows.parquet"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"rows\.parquet is no readable parquet file"):
        read_parquet(path, SCHEMA)


def test_a_cut_or_damaged_parquet_file_is_refused_or_right(tmp_path: Path) -> None:
    path = make(tmp_path, "rows.parquet")
    whole, frame = path.read_bytes(), read_parquet(path, SCHEMA)
    rng = random.Random(2)
    for _ in range(60):
        damage = bytearray(whole)
        for _ in range(rng.randint(1, 8)):
            damage[rng.randrange(len(damage))] = rng.randrange(256)
        path.write_bytes(bytes(damage[: rng.choice([len(damage), rng.randrange(len(damage))])]))
        try:
            found = formats.read_parquet(path, SCHEMA)
        except UserError as mistake:
            assert str(path) in str(mistake)
        else:
            assert found.schema == frame.schema
