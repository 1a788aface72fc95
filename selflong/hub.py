"""Files and models of the Hugging Face hub at one commit, each checked by size and hash.

huggingface_hub's own download brings a file and goes on where its connection broke; here the commit is fixed
for all files, what came is compared with the hub's listing, and a file that differs is fetched once more and
never accepted. Files that are whole stay, also when the job is killed. The hub is huggingface.co unless
HF_ENDPOINT names a mirror.
"""

import fnmatch
import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

import httpx2
from huggingface_hub import HfApi, hf_hub_download, is_offline_mode
from huggingface_hub.errors import (
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import disable_progress_bars
from huggingface_hub.utils import logging as hub_logging

from selflong.formats import file_sha256, remove, write_json
from selflong.globs import matches
from selflong.job import UserError
from selflong.keys import read_key
from selflong.progress import Progress
from selflong.recipe.section import Download

log = logging.getLogger(__name__)

Kind = Literal["dataset", "model"]
T = TypeVar("T")

RECORD = ".download.json"
"""In the folder of a download: the commit that was read, and the hash of every file."""
HUB = "https://huggingface.co"
PARALLEL_FILES = 4
ATTEMPTS = 2  # of a whole file whose hash differs
PATIENCE = 5  # failures in a row
LONGEST_WAIT = 60.0  # seconds
LONGEST_NAME = 200  # bytes of a file's name, to which huggingface_hub and a work folder add

# Weights in formats that nothing here reads; a repository holds each format whole.
OTHER_FORMATS = (
    "*.bin",
    "*.h5",
    "*.msgpack",
    "*.onnx",
    "*.ot",
    "*.pt",
    "*.pth",
    "*.gguf",
    "*.tflite",
)
OTHER_FOLDERS = ("onnx/*", "openvino/*", "original/*", "coreml/*")


def hub_endpoint() -> str:
    """Address of the hub; UserError where HF_ENDPOINT is none."""
    given = os.environ.get("HF_ENDPOINT", HUB)
    try:
        parts = urlsplit(given)
        whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        whole = False
    if whole:
        return given.rstrip("/")
    raise UserError(
        "HF_ENDPOINT is set and holds no address of a hub: unset it, or give one that begins with https://"
    )


@dataclass(frozen=True)
class _Repository:
    """A repository of the hub, and how it is opened."""

    name: str
    revision: str
    kind: Kind
    token_variable: str

    @property
    def page(self) -> str:
        return f"{HUB}/{'datasets/' if self.kind == 'dataset' else ''}{self.name}"

    @property
    def endpoint(self) -> str:
        """UserError where HF_ENDPOINT is no address."""
        return hub_endpoint()

    @property
    def token(self) -> str | Literal[False]:
        """False, not None, lest a token is taken from elsewhere; UserError where it can be none."""
        return read_key(self.token_variable) or False


def download_files(
    repository: str, revision: str, pattern: str, folder: Path, token_variable: str, kind: Kind,
    present: Path | None = None,
) -> list[Path]:  # fmt: skip
    """Download the files of `repository` that match the glob `pattern` into `folder`; their paths, sorted.

    The access token is read from the environment variable `token_variable`; without it nothing but public
    repositories opens. Where `present` holds the same files of the same commit, their paths there are given
    and nothing comes. Raises UserError when the hub refuses, cannot be reached, or serves something else
    than it lists.
    """
    found = _download(
        _Repository(repository, revision, kind, token_variable),
        folder,
        lambda path: matches(path, pattern),
        present,
    )
    if not found:
        raise UserError(f"{repository} at {revision}: no file matches {pattern!r}; correct `files`")
    return found


def download_model(
    model: Download, folder: Path, token_variable: str, present: Path | None = None
) -> list[Path]:
    """Download a model's folder: configuration, tokenizer, modules, and its weights in safetensors.

    Where the download is without weights, these stay away.
    """

    def wanted(path: str) -> bool:
        return _belongs_to_model(path) and (model.weights or not path.endswith(".safetensors"))

    repository = _Repository(model.repository, model.revision, "model", token_variable)
    return _download(repository, folder, wanted, present)


def recorded(folder: Path) -> dict[str, Any]:
    """What a download's own file says of it; nothing where there is none, or it is damaged."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, RecursionError, ValueError):
        return {}
    return record if _is_record(record) else {}


def _is_record(record: Any) -> bool:
    """Whether it has the form of `_record`."""
    if not isinstance(record, dict) or not isinstance(record.get("files"), dict):
        return False
    texts = [record.get(key) for key in ("repository", "kind", "revision", "commit")]
    return all(isinstance(text, str) for text in texts) and all(
        _is_safe(name) and isinstance(listed, dict) and isinstance(listed.get("bytes"), int)
        for name, listed in record["files"].items()
    )


def damaged_files(folder: Path) -> Iterator[str]:
    """A sentence for each file of a download that is not what the hub listed."""
    if (folder / RECORD).exists() and not recorded(folder):
        yield f"{folder / RECORD} is damaged: remove {folder}, and start again"
    for name, listed in recorded(folder).get("files", {}).items():
        path = folder / name
        if not path.is_file():
            yield f"{path} is gone since it was downloaded: remove {folder}, and start again"
        elif not _is_whole(path, listed):
            yield f"{path} is not what the hub listed: remove {folder}, and start again"


def _listed(file: RepoFile) -> dict[str, Any]:
    """What a record says of a file: its size and SHA-256, of a small one git's blob hash."""
    return {
        "bytes": file.size,
        **({"sha256": file.lfs.sha256} if file.lfs else {"git_blob": file.blob_id}),
    }


def _is_whole(path: Path, listed: dict[str, Any]) -> bool:
    """Whether size and hash are the listed ones."""
    if path.stat().st_size != listed["bytes"]:
        return False
    if "sha256" in listed:
        return file_sha256(path) == listed["sha256"]
    return _git_blob(path) == listed.get("git_blob")


def _git_blob(path: Path) -> str:
    content = path.read_bytes()
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False)
    return blob.hexdigest()


def _belongs_to_model(path: str) -> bool:
    hidden = path.startswith(".cache/")
    return not hidden and not any(
        fnmatch.fnmatchcase(path, other) for other in OTHER_FORMATS + OTHER_FOLDERS
    )


def _download(
    repository: _Repository, folder: Path, wanted: Callable[[str], bool], present: Path | None
) -> list[Path]:
    disable_progress_bars()
    hub_logging.set_verbosity_error()  # its warnings hold addresses with signatures
    if is_offline_mode():
        raise UserError(
            f"{repository.name} is not downloaded yet, and HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE forbids "
            "it: unset it where Snakemake runs"
        )
    with _refusals_as_sentences(repository, folder):
        commit, listed = _persistently(lambda: _list(repository))
        files = [file for file in listed if wanted(file.path)]
        _check_names(repository, [file.path for file in files])
        record = _record(repository, commit, files)
        if present is not None and _holds(present, record):
            log.info("%s at %s is there already", repository.name, commit)
            return sorted(present / file.path for file in files)
        progress = Progress(repository.name, "MB", round(sum(file.size for file in files) / 1e6))

        def fetch(file: RepoFile) -> Path:
            path = _fetch(repository, commit, file, folder)
            progress.advance(round(file.size / 1e6))
            return path

        with ThreadPoolExecutor(PARALLEL_FILES) as pool:
            paths = sorted(pool.map(fetch, files))
        progress.close()
        _remove_others(folder, paths)
        write_json(record, folder / RECORD)
        return paths


def _list(repository: _Repository) -> tuple[str, list[RepoFile]]:
    """The commit that the revision names, and its files."""
    name, kind = repository.name, repository.kind
    api = HfApi(endpoint=repository.endpoint, token=repository.token)
    try:
        commit = str(api.repo_info(name, revision=repository.revision, repo_type=kind).sha)
        tree = list(api.list_repo_tree(name, revision=commit, repo_type=kind, recursive=True))
        files = [entry for entry in tree if isinstance(entry, RepoFile)]
        readable = all(
            isinstance(file.path, str) and isinstance(file.size, int) and file.size >= 0
            for file in files
        )
    except (AttributeError, LookupError, TypeError, ValueError):
        readable = False
    if not readable or not re.fullmatch("[0-9a-f]{40}", commit):
        raise UserError(
            f"{name}: the listing of {repository.endpoint} cannot be read: is it a hub?"
        )
    return commit, files


def _check_names(repository: _Repository, paths: list[str]) -> None:
    """UserError for a name that leaves the folder or that no file system holds."""
    names = set(paths)
    for path in paths:
        if not _is_safe(path):
            raise UserError(
                f"{repository.name}: lists {path[:80]!r}, which is no name of a file inside of a repository"
            )
        for parent in PurePosixPath(path).parents:
            if str(parent) in names:
                raise UserError(
                    f"{repository.name}: lists {str(parent)!r} as a file and as a folder"
                )


def _is_safe(path: str) -> bool:
    parts = path.split("/")
    printable = path.isprintable() and "\\" not in path
    return printable and all(
        part not in ("", ".", "..") and len(part.encode()) <= LONGEST_NAME for part in parts
    )


def _record(repository: _Repository, commit: str, files: list[RepoFile]) -> dict[str, Any]:
    return {
        "repository": repository.name,
        "kind": repository.kind,
        "revision": repository.revision,
        "commit": commit,
        "files": {file.path: _listed(file) for file in files},
    }


def _holds(folder: Path, record: dict[str, Any]) -> bool:
    """Whether a folder holds a download; of its files only the sizes are compared."""
    paths = {folder / path: file["bytes"] for path, file in record["files"].items()}
    return recorded(folder) == record and all(
        path.is_file() and path.stat().st_size == size for path, size in paths.items()
    )


def _remove_others(folder: Path, paths: list[Path]) -> None:
    """Remove what an earlier commit or an interrupted download left beside the files."""
    keep = set(paths)
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif path not in keep:
            path.unlink()


def _fetch(repository: _Repository, commit: str, file: RepoFile, folder: Path) -> Path:
    path = folder / file.path
    for attempt in range(ATTEMPTS + 1):
        if path.is_file() and _is_whole(path, _listed(file)):
            return path
        remove(path)
        if attempt < ATTEMPTS:
            _persistently(lambda: _transfer(repository, commit, file, folder))
    raise UserError(
        f"{repository.name}: {file.path} arrived {ATTEMPTS} times with another hash than the hub lists, "
        "so it was not kept: a mirror or a proxy on the way serves a damaged copy"
    )


def _transfer(repository: _Repository, commit: str, file: RepoFile, folder: Path) -> None:
    try:
        hf_hub_download(
            repository.name,
            file.path,
            repo_type=repository.kind,
            revision=commit,
            local_dir=folder,
            cache_dir=folder / ".cache",
            endpoint=repository.endpoint,
            token=repository.token,
        )
    except LocalEntryNotFoundError as error:
        raise error.__cause__ or error from None


def _persistently(action: Callable[[], T]) -> T:
    """Repeat `action` while the network or the hub fails it, up to PATIENCE times."""
    for failures in range(1, PATIENCE + 1):
        try:
            return action()
        except (httpx2.TransportError, OSError) as error:
            if not _may_pass(error) or failures == PATIENCE:
                raise
            time.sleep(_wait(error, failures))
    raise AssertionError("unreachable")


def _may_pass(error: Exception) -> bool:
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code == 429 or error.response.status_code >= 500
    # An error with a number is the file system's; without one, a transfer that ended short of its size.
    short = getattr(error, "errno", None) is None and not isinstance(error, FileMetadataError)
    return isinstance(error, httpx2.TransportError) or short


def _wait(error: Exception, failures: int) -> float:
    """Seconds: what the hub asks for, else twice as long each time."""
    asked = (
        error.response.headers.get("Retry-After", "") if isinstance(error, HfHubHTTPError) else ""
    )
    return min(float(asked) if asked.isdigit() else 2.0**failures, LONGEST_WAIT)


@contextmanager
def _refusals_as_sentences(repository: _Repository, folder: Path) -> Iterator[None]:
    name, variable = repository.name, repository.token_variable
    try:
        yield
    except GatedRepoError:
        raise UserError(
            f"{name} is gated: accept its conditions at {repository.page} and set {variable} to an "
            "access token of the account that accepted them"
        ) from None
    except RevisionNotFoundError:
        raise UserError(
            f"{name} has no revision {repository.revision!r}: {repository.page}/commits lists them"
        ) from None
    except RepositoryNotFoundError:
        raise UserError(
            f"{name} cannot be opened: either it does not exist, or it is private and {variable} holds no "
            "valid token that opens it"
        ) from None
    except HfHubHTTPError as error:
        raise UserError(_http_sentence(repository, error.response.status_code)) from None
    except httpx2.HTTPError as error:
        raise UserError(
            f"{name}: the connection to the hub broke and did not come back ({type(error).__name__}); "
            "start again, the files that came whole are kept"
        ) from None
    except FileMetadataError:
        raise UserError(
            f"{name}: {repository.endpoint} does not say which commit and file it serves: is it a hub?"
        ) from None
    except OSError as error:
        if error.errno is None:
            raise UserError(
                f"{name}: a file ended short of its size {PATIENCE} times; start again, the files that came "
                "whole are kept"
            ) from None
        raise UserError(
            f"{name}: {error.filename or folder}: {error.strerror}; what came whole is kept"
        ) from None


def _http_sentence(repository: _Repository, status: int) -> str:
    name, variable = repository.name, repository.token_variable
    if status == 429:
        return (
            f"{name}: the hub still answers 'too many requests' after {PATIENCE} waits; start again later, "
            f"what has come is kept (with {variable} set the limits are higher)"
        )
    if status in (401, 403):
        return f"{name}: the hub refuses the token in {variable} (status {status}); renew it"
    return f"{name}: the hub answers with status {status}; start again later, what has come is kept"
