"""A glob means the same for the hub's files and for a folder's."""

from pathlib import Path

import pytest

from selflong.globs import matches, matching_files

FILES = [
    "a.parquet",
    "data/b.parquet",
    "data/deep/c.parquet",
    "data/d.json",
    ".hidden/e.parquet",
    ".f.parquet",
]
PATTERNS = {
    "*.parquet": ["a.parquet", "data/b.parquet", "data/deep/c.parquet"],
    "data/*.parquet": ["data/b.parquet", "data/deep/c.parquet"],
    "**/*.parquet": ["a.parquet", "data/b.parquet", "data/deep/c.parquet"],
    "data/**": ["data/b.parquet", "data/d.json", "data/deep/c.parquet"],
    "data/d.json": ["data/d.json"],
    "../*": [],
    "/etc/*": [],
    "": [],
    "[": [],
}


@pytest.mark.parametrize("pattern, expected", PATTERNS.items())
def test_both_find_the_same(tmp_path: Path, pattern: str, expected: list[str]) -> None:
    for name in FILES:
        path = tmp_path / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "outside.parquet").touch()
    folder = tmp_path / "folder"
    found = [path.relative_to(folder).as_posix() for path in matching_files(folder, pattern)]
    assert found == expected == sorted(name for name in FILES if matches(name, pattern))


def test_links_are_followed_once(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.parquet").touch()
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "round").symlink_to(folder)
    assert matching_files(folder, "*.parquet") == [folder / "linked" / "a.parquet"]
