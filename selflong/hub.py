"""Files and models of the Hugging Face hub at a pinned revision, each checked by size and hash.

Every transfer goes on where it broke off, within a job and after the job was killed, and waits where the hub
asks to. What came is compared with the hub's own listing; a file that differs is fetched once more, and
never accepted. The hub is huggingface.co unless HF_ENDPOINT names a mirror.
"""

import fnmatch
import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import httpx2
from huggingface_hub import HfApi, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import http_get
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import build_hf_headers, disable_progress_bars

from selflong.formats import file_sha256
from selflong.job import UserError
from selflong.recipe.section import Download

log = logging.getLogger(__name__)

Kind = Literal["dataset", "model"]
T = TypeVar("T")

PARALLEL_FILES = 4
ATTEMPTS = 2  # of a whole file whose hash differs
PATIENCE = 5  # failures in a row, without a byte between them
LONGEST_WAIT = 60.0  # seconds

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


@dataclass(frozen=True)
class _Repository:
    """A repository of the hub, and how it is opened."""

    name: str
    revision: str
    kind: Kind
    token_variable: str

    @property
    def page(self) -> str:
        return f"https://huggingface.co/{'datasets/' if self.kind == 'dataset' else ''}{self.name}"

    @property
    def endpoint(self) -> str | None:
        return os.environ.get("HF_ENDPOINT")

    @property
    def token(self) -> str | Literal[False]:
        """False, not None, lest a token is taken from elsewhere."""
        return os.environ.get(self.token_variable) or False


def download_files(
    repository: str, revision: str, pattern: str, folder: Path, token_variable: str, kind: Kind
) -> list[Path]:
    """Download the files of `repository` that match the glob `pattern` into `folder`; their paths, sorted.

    The access token is read from the environment variable `token_variable`; without it nothing but public
    repositories opens. Raises UserError when the hub refuses, cannot be reached, or serves something else
    than it lists.
    """
    found = _download(
        _Repository(repository, revision, kind, token_variable),
        folder,
        lambda path: fnmatch.fnmatchcase(path, pattern),
    )
    if not found:
        raise UserError(f"{repository} at {revision}: no file matches {pattern!r}; mend `files`")
    return found


def download_model(model: Download, folder: Path, token_variable: str) -> None:
    """Download a model's folder: configuration, tokenizer, modules, and its weights in safetensors."""
    repository = _Repository(model.repository, model.revision, "model", token_variable)
    _download(repository, folder, _belongs_to_model)


def _belongs_to_model(path: str) -> bool:
    return not any(fnmatch.fnmatchcase(path, other) for other in OTHER_FORMATS + OTHER_FOLDERS)


def _download(repository: _Repository, folder: Path, wanted: Callable[[str], bool]) -> list[Path]:
    disable_progress_bars()
    api = HfApi(endpoint=repository.endpoint, token=repository.token)
    with _refusals_as_sentences(repository):
        commit, files = _persistently(lambda: _list(api, repository), lambda: 0)

        def fetch(file: RepoFile) -> Path:
            return _fetch(repository, commit, file, folder)

        with ThreadPoolExecutor(PARALLEL_FILES) as pool:
            return sorted(pool.map(fetch, (file for file in files if wanted(file.path))))


def _list(api: HfApi, repository: _Repository) -> tuple[str, list[RepoFile]]:
    """The commit that the revision names, and its files."""
    name, kind = repository.name, repository.kind
    commit = str(api.repo_info(name, revision=repository.revision, repo_type=kind).sha)
    listing = api.list_repo_tree(name, revision=commit, repo_type=kind, recursive=True)
    return commit, [entry for entry in listing if isinstance(entry, RepoFile)]


def _fetch(repository: _Repository, commit: str, file: RepoFile, folder: Path) -> Path:
    path = folder / file.path
    if not path.resolve().is_relative_to(folder.resolve()):
        raise UserError(
            f"{repository.name}: lists {file.path!r}, which lies outside of a repository"
        )
    if path.exists() and _is_whole(path, file):
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    for _ in range(ATTEMPTS):
        _transfer(repository, commit, file, partial)
        if _is_whole(partial, file):
            partial.replace(path)
            log.info("%s: %s, %d bytes", repository.name, file.path, file.size)
            return path
        partial.unlink()
        log.warning("%s: %s arrived with another hash than listed", repository.name, file.path)
    raise UserError(
        f"{repository.name}: {file.path} arrived {ATTEMPTS} times with another hash than the hub lists, "
        "so it was not kept: a mirror or a proxy on the way serves a damaged copy"
    )


def _transfer(repository: _Repository, commit: str, file: RepoFile, partial: Path) -> None:
    """Append to `partial` what it lacks of the file."""
    url = hf_hub_url(
        repository.name,
        file.path,
        repo_type=repository.kind,
        revision=commit,
        endpoint=repository.endpoint,
    )
    headers = build_hf_headers(token=repository.token)

    def get_rest() -> None:
        with partial.open("ab") as stream:
            if stream.tell() > file.size:
                stream.truncate(0)
            http_get(
                url,
                stream,
                resume_size=stream.tell(),
                headers=headers,
                expected_size=file.size,
                displayed_filename=file.path,
            )

    _persistently(get_rest, lambda: partial.stat().st_size if partial.exists() else 0)


def _persistently(action: Callable[[], T], progress: Callable[[], int]) -> T:
    """Repeat `action` while the network or the hub fails it, up to PATIENCE times without progress."""
    failures = 0
    while True:
        before = progress()
        try:
            return action()
        except (httpx2.TransportError, OSError) as error:
            failures = 1 if progress() > before else failures + 1
            if not _may_pass(error) or failures == PATIENCE:
                raise
            time.sleep(_wait(error, failures))


def _may_pass(error: Exception) -> bool:
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code == 429 or error.response.status_code >= 500
    # An error with a number is the file system's; without one, a transfer that ended short of its size.
    return isinstance(error, httpx2.TransportError) or getattr(error, "errno", None) is None


def _wait(error: Exception, failures: int) -> float:
    """Seconds: what the hub asks for, else twice as long each time."""
    asked = (
        error.response.headers.get("Retry-After", "") if isinstance(error, HfHubHTTPError) else ""
    )
    return min(float(asked) if asked.isdigit() else 2.0**failures, LONGEST_WAIT)


def _is_whole(path: Path, file: RepoFile) -> bool:
    """Whether size and hash are the listed ones: SHA-256 of large files, git's blob hash of small ones."""
    if path.stat().st_size != file.size:
        return False
    if file.lfs is not None:
        return file_sha256(path) == file.lfs.sha256
    content = path.read_bytes()
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False)
    return blob.hexdigest() == file.blob_id


@contextmanager
def _refusals_as_sentences(repository: _Repository) -> Iterator[None]:
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
            "start again, what has come is kept"
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
