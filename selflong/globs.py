"""One meaning of a glob, for the hub's files and for those of a folder.

It is the hub's own, fnmatch over the whole path (https://huggingface.co/docs/huggingface_hub/guides/download):
`*` crosses folders, so that `*.parquet` names data/a.parquet too. `**/` may also stand for no folder at all.
"""

import fnmatch
import os
from pathlib import Path, PurePosixPath


def matches(path: str, pattern: str) -> bool:
    """Whether a glob names a path below a folder; hidden files and folders are never named."""
    if any(part.startswith(".") for part in PurePosixPath(path).parts):
        return False
    patterns = {pattern, pattern.replace("**/", "")}
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)


def matching_files(folder: Path, pattern: str) -> list[Path]:
    """The files below `folder`, links followed, that a glob names; sorted."""
    found = []
    seen = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        paths = (Path(place, name) for name in names)
        found += [path for path in paths if matches(path.relative_to(folder).as_posix(), pattern)]
    return sorted(path for path in found if path.is_file())
