"""Files and models of the Hugging Face hub at a pinned revision, each checked by size and hash.

`huggingface_hub` does the transfer: it goes on where a connection broke and waits where the hub asks to.
What it fetched is compared with the hub's own listing; a file that differs is fetched once more, and never
accepted. The hub is huggingface.co unless HF_ENDPOINT names a mirror.
"""

import fnmatch
import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Literal

import httpx2
from huggingface_hub import HfApi
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile

from selflong.formats import file_sha256
from selflong.job import UserError
from selflong.recipe import HubWeights

log = logging.getLogger(__name__)

Kind = Literal["dataset", "model"]

PARALLEL_FILES = 4
ATTEMPTS = 2  # of a whole file; what breaks off within one is resumed by huggingface_hub

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


def download_files(
    repository: str, revision: str, pattern: str, folder: Path, token_variable: str, kind: Kind
) -> list[Path]:
    """Download the files of `repository` that match the glob `pattern` into `folder`; their paths, sorted.

    The access token is read from the environment variable `token_variable`; without it nothing but public
    repositories opens. Raises UserError when the hub refuses, cannot be reached, or serves something else
    than it lists.
    """
    return _download(
        repository,
        revision,
        folder,
        token_variable,
        kind,
        lambda path: fnmatch.fnmatchcase(path, pattern),
        repr(pattern),
    )


def download_model(weights: HubWeights, folder: Path, token_variable: str) -> None:
    """Download a model's folder: configuration, tokenizer, modules, and its weights in safetensors."""
    _download(
        weights.repository,
        weights.revision,
        folder,
        token_variable,
        "model",
        _belongs_to_model,
        "a model's configuration or safetensors",
    )


def _belongs_to_model(path: str) -> bool:
    return not any(fnmatch.fnmatchcase(path, other) for other in OTHER_FORMATS + OTHER_FOLDERS)


def _download(
    repository: str,
    revision: str,
    folder: Path,
    token_variable: str,
    kind: Kind,
    wanted: Callable[[str], bool],
    what: str,
) -> list[Path]:
    api = HfApi(
        endpoint=os.environ.get("HF_ENDPOINT"), token=os.environ.get(token_variable) or False
    )
    with _refusals_as_sentences(repository, revision, kind, token_variable):
        commit = str(api.repo_info(repository, revision=revision, repo_type=kind).sha)
        listing = api.list_repo_tree(repository, revision=commit, repo_type=kind, recursive=True)
        files = [entry for entry in listing if isinstance(entry, RepoFile) and wanted(entry.path)]
        if not files:
            raise UserError(f"{repository} at {revision}: no file matches {what}")
        fetch = partial(_fetch, api, repository, commit, kind, folder)
        with ThreadPoolExecutor(PARALLEL_FILES) as pool:
            return sorted(pool.map(fetch, files))


def _fetch(
    api: HfApi, repository: str, commit: str, kind: Kind, folder: Path, file: RepoFile
) -> Path:
    path = folder / file.path
    for attempt in range(ATTEMPTS):
        if path.exists() and _is_whole(path, file):
            return path
        if attempt > 0:
            log.warning(
                "%s: size or hash differs from the hub's listing; fetching it again", file.path
            )
        api.hf_hub_download(
            repository,
            file.path,
            revision=commit,
            repo_type=kind,
            local_dir=folder,
            force_download=path.exists(),
        )
    if _is_whole(path, file):
        return path
    path.unlink()
    raise UserError(
        f"{repository}: {file.path} arrived {ATTEMPTS} times with another size or hash than the hub "
        "lists, so it was not kept: the mirror or a proxy on the way serves a damaged copy"
    )


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
def _refusals_as_sentences(
    repository: str, revision: str, kind: Kind, token_variable: str
) -> Iterator[None]:
    page = f"https://huggingface.co/{'datasets/' if kind == 'dataset' else ''}{repository}"
    try:
        yield
    except GatedRepoError:
        raise UserError(
            f"{repository} is gated: accept its conditions at {page} and set {token_variable} to an "
            "access token of the account that accepted them"
        ) from None
    except RevisionNotFoundError:
        raise UserError(
            f"{repository} has no revision {revision!r}: {page}/commits lists them"
        ) from None
    except RepositoryNotFoundError:
        raise UserError(
            f"{repository} cannot be opened: either it does not exist, or it is private and "
            f"{token_variable} holds no token that opens it"
        ) from None
    except HfHubHTTPError as error:
        raise UserError(_http_sentence(repository, error, token_variable)) from None
    except (httpx2.HTTPError, OSError) as error:
        raise UserError(
            f"{repository}: the connection to the hub broke and did not come back "
            f"({type(error).__name__}); start again, whole files are kept"
        ) from None


def _http_sentence(repository: str, error: HfHubHTTPError, token_variable: str) -> str:
    status = error.response.status_code
    if status == 429:
        return (
            f"{repository}: the hub still answers 'too many requests' after several waits; start again "
            f"later, whole files are kept (with {token_variable} set the limits are higher)"
        )
    if status in (401, 403):
        return f"{repository}: the hub refuses the token in {token_variable} (status {status}); renew it"
    return f"{repository}: the hub answers with status {status}; start again later, whole files are kept"
