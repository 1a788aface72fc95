"""The upload of a repository: what lies at the hub already is not sent again, whenever it was interrupted."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import httpx2
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HfHubHTTPError

from selflong.hub import hub_endpoint
from selflong.job import UserError
from selflong.keys import read_key
from selflong.progress import Progress

CARD = "README.md"
KEPT = (".gitattributes",)
"""The hub's own."""
FILES_PER_COMMIT = 64
"""What is committed stays when the next ones are interrupted."""


def upload(
    repository: str, kind: Literal["dataset", "model"], files: Mapping[str, Path], token_variable: str,
    private: bool,
) -> None:  # fmt: skip
    """Make the repository hold just these files (name -> path), its card last.

    A repository that is there keeps its visibility. Raises UserError where the hub refuses.
    """
    token = read_key(token_variable)
    if not token:
        raise UserError(
            f"{token_variable} is not set: publishing needs an access token of the hub that may write"
        )
    api = HfApi(endpoint=hub_endpoint(), token=token)
    with _refusals_as_sentences(repository, token_variable):
        api.create_repo(repository, repo_type=kind, private=private, exist_ok=True)
        there = set(api.list_repo_files(repository, repo_type=kind))
        data = sorted(set(files) - {CARD})
        progress = Progress(repository, "files", len(files))
        for start in range(0, len(data), FILES_PER_COMMIT):
            names = data[start : start + FILES_PER_COMMIT]
            additions = [CommitOperationAdd(name, files[name]) for name in names]
            _commit(api, repository, kind, additions, "Files of the run")
            progress.advance(len(names))
        last = [CommitOperationAdd(CARD, files[CARD])]
        gone = [CommitOperationDelete(name) for name in sorted(there - set(files) - {*KEPT})]
        _commit(api, repository, kind, [*last, *gone], "Card of the run")
        progress.advance()
        progress.close()


def _commit(
    api: HfApi, repository: str, kind: str, operations: Sequence[CommitOperationAdd | CommitOperationDelete],
    message: str,
) -> None:  # fmt: skip
    # It leaves out what has not changed, and makes no commit of nothing.
    api.create_commit(repository, operations, commit_message=message, repo_type=kind)


@contextmanager
def _refusals_as_sentences(repository: str, token_variable: str) -> Iterator[None]:
    try:
        yield
    except HfHubHTTPError as error:
        status = error.response.status_code
        advice = (
            f"does the token in {token_variable} may write there?"
            if status in (401, 403, 404)
            else "start again later, what came is kept"
        )
        raise UserError(f"{repository}: the hub answers with status {status}: {advice}") from None
    except httpx2.HTTPError as error:
        raise UserError(
            f"{repository}: the connection to the hub broke ({type(error).__name__}); start again, what came "
            "is kept"
        ) from None
