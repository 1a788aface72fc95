"""A hub on loopback that takes uploads by the hub's protocol and gives them back.

Repositories are made under /api/repos/create; `preupload` says how a file comes (large ones by Git LFS:
batch, one PUT or several parts, verify) and which blob lies there already; a commit is lines of JSON. What
was committed is read back by information, tree, paths-info and `resolve`.
"""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import ceil
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.hub_server import LARGE, blob_id
from tests.serving import serving

PART = 2**16
"""Bytes of a part of a large upload."""


@dataclass
class Repository:
    """Files of the newest commit."""

    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)
    """What each commit was called."""

    @property
    def commit(self) -> str:
        state = [(name, blob_id(content)) for name, content in sorted(self.files.items())]
        return hashlib.sha1(repr((state, self.commits)).encode()).hexdigest()


@dataclass
class UploadHub:
    """Repositories by `<kind>s/<owner>/<name>`; `log` has method, path and bytes of each request."""

    token: str
    repositories: dict[str, Repository] = field(default_factory=dict)
    stored: dict[str, bytes] = field(default_factory=dict)
    """Large files by SHA-256, committed or not."""
    parts: dict[str, dict[int, bytes]] = field(default_factory=dict)
    pause_after: int | None = None
    """Large files after which the next one is not taken until `resumed`."""
    paused: threading.Event = field(default_factory=threading.Event)
    resumed: threading.Event = field(default_factory=threading.Event)
    log: list[tuple[str, str, int]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    url: str = ""

    def uploads(self) -> list[str]:
        """Paths of the bodies of large files that came, and of commits."""
        return [
            path
            for method, path, _ in self.log
            if method == "PUT" or (method == "POST" and "/commit/" in path)
        ]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: UploadHub

    def log_message(self, *_: object) -> None:
        return

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except ConnectionError:
            self.close_connection = True

    def do_HEAD(self) -> None:
        self._read()

    def do_GET(self) -> None:
        self._read()

    def do_POST(self) -> None:
        self._write()

    def do_PUT(self) -> None:
        self._write()

    # ------------------------------------------------------------------------------------- writing

    def _write(self) -> None:
        hub = self.hub
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if len(body) < length:
            # The client was killed while it sent: what came is no upload.
            self.close_connection = True
            return
        path = unquote(urlsplit(self.path).path)
        if (
            self.command == "PUT"
            and hub.pause_after is not None
            and len(hub.stored) >= hub.pause_after
        ):
            hub.paused.set()
            hub.resumed.wait(60)
            self.close_connection = True
            return
        with hub.lock:
            hub.log.append((self.command, path, len(body)))
            if path.startswith("/store/") or self._may():
                self._take(path, body)
            else:
                self._send(401, b"{}", {"X-Error-Code": "RepoNotFound"})

    def _take(self, path: str, body: bytes) -> None:
        if self.command == "PUT":
            self._store(path, body)
        elif path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif path.endswith("/info/lfs/objects/batch"):
            self._batch(json.loads(body))
        elif path.startswith("/store/complete/"):
            self._complete(path.rpartition("/")[2])
        elif path == "/verify":
            given = json.loads(body)
            whole = len(self.hub.stored[given["oid"]]) == given["size"]
            self._send(200 if whole else 500, b"{}")
        else:
            self._change(path, body)

    def _change(self, path: str, body: bytes) -> None:
        kind, owner, name, action = path.removeprefix("/api/").split("/")[:4]
        repository = self.hub.repositories[f"{kind}/{owner}/{name}"]
        if action == "preupload":
            self._preupload(repository, json.loads(body))
        elif action == "paths-info":
            asked = parse_qs(body.decode())["paths"]
            self._json([_entry(p, repository.files[p]) for p in asked if p in repository.files])
        else:
            assert action == "commit", path
            self._commit(f"{kind}/{owner}/{name}", repository, body)

    def _create(self, asked: dict[str, Any]) -> None:
        key = f"{asked['type']}s/{asked['organization']}/{asked['name']}"
        known = key in self.hub.repositories
        if not known:
            self.hub.repositories[key] = Repository(asked.get("visibility") == "private")
        url = f"{self.hub.url}/{key.removeprefix('models/')}"
        self._json({"url": url, "error": "You already created this repo"}, 409 if known else 200)

    def _preupload(self, repository: Repository, asked: dict[str, Any]) -> None:
        answers = []
        for file in asked["files"]:
            held = repository.files.get(file["path"])
            large = file["size"] >= LARGE
            oid = None if held is None else _sha256(held) if len(held) >= LARGE else blob_id(held)
            mode = "lfs" if large else "regular"
            answer = {"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid}
            answers.append(answer)
        self._json({"files": answers})

    def _batch(self, asked: dict[str, Any]) -> None:
        objects = []
        for item in asked["objects"]:
            oid, size = item["oid"], item["size"]
            answer: dict[str, Any] = {"oid": oid, "size": size}
            if oid not in self.hub.stored:
                upload: dict[str, Any] = {"href": f"{self.hub.url}/store/whole/{oid}"}
                if size > PART:
                    parts = {
                        str(part): f"{self.hub.url}/store/part/{oid}/{part}"
                        for part in range(1, ceil(size / PART) + 1)
                    }
                    upload = {
                        "href": f"{self.hub.url}/store/complete/{oid}",
                        "header": {"chunk_size": str(PART), **parts},
                    }
                answer["actions"] = {"upload": upload, "verify": {"href": f"{self.hub.url}/verify"}}
            objects.append(answer)
        self._json({"transfer": asked["transfers"][-1], "objects": objects})

    def _store(self, path: str, body: bytes) -> None:
        kind, oid, *part = path.removeprefix("/store/").split("/")
        if kind == "part":
            self.hub.parts.setdefault(oid, {})[int(part[0])] = body
        else:
            assert _sha256(body) == oid
            self.hub.stored[oid] = body
        self._send(200, b"", {"ETag": f'"{_sha256(body)[:16]}"'})

    def _complete(self, oid: str) -> None:
        whole = b"".join(content for _, content in sorted(self.hub.parts[oid].items()))
        assert _sha256(whole) == oid
        self.hub.stored[oid] = whole
        self._json({})

    def _commit(self, key: str, repository: Repository, body: bytes) -> None:
        for line in body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "header":
                repository.commits.append(value["summary"])
            elif item["key"] == "file":
                repository.files[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                repository.files[value["path"]] = self.hub.stored[value["oid"]]
            else:
                assert item["key"] == "deletedFile", item["key"]
                del repository.files[value["path"]]
        url = f"{self.hub.url}/{key}/commit/{repository.commit}"
        self._json({"commitUrl": url, "commitOid": repository.commit})

    # ------------------------------------------------------------------------------------- reading

    def _read(self) -> None:
        path = unquote(urlsplit(self.path).path)
        with self.hub.lock:
            self.hub.log.append((self.command, path, 0))
            if not self._may():
                return self._send(401, b"{}", {"X-Error-Code": "RepoNotFound"})
            words = path.strip("/").split("/")
            if words[0] == "api" and words[1] in ("models", "datasets"):
                return self._api(words[1], "/".join(words[2:4]), words[4:])
            kind = words.pop(0) if words[0] == "datasets" else "models"
            repository = self.hub.repositories.get(f"{kind}/{'/'.join(words[:2])}")
            if repository is None or words[2:3] != ["resolve"]:
                return self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
            return self._resolve(repository, "/".join(words[4:]))

    def _api(self, kind: str, name: str, words: list[str]) -> None:
        repository = self.hub.repositories.get(f"{kind}/{name}")
        if repository is None:
            return self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        if words[:1] == ["tree"]:
            recursive = "recursive=true" in self.path.lower()
            return self._json(list(_tree(repository.files, "/".join(words[2:]), recursive)))
        siblings = [{"rfilename": path} for path in repository.files]
        return self._json(
            {
                "id": name, "sha": repository.commit, "siblings": siblings, "tags": [],
                "private": repository.private, "gated": False, "disabled": False, "downloads": 0,
                "likes": 0,
            }
        )  # fmt: skip

    def _resolve(self, repository: Repository, path: str) -> None:
        content = repository.files.get(path)
        if content is None:
            return self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
        headers = {"ETag": f'"{blob_id(content)}"', "X-Repo-Commit": repository.commit}
        wanted = self.headers.get("Range")
        if wanted is None:
            return self._send(200, content, headers)
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        end = min(int(last or len(content)), len(content) - 1)
        headers["Content-Range"] = f"bytes {first}-{end}/{len(content)}"
        return self._send(206, content[int(first) : end + 1], headers)

    def _may(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {self.hub.token}"

    def _json(self, answer: object, status: int = 200) -> None:
        self._send(status, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _entry(path: str, content: bytes) -> dict[str, Any]:
    entry = {"type": "file", "path": path, "size": len(content), "oid": blob_id(content)}
    if len(content) >= LARGE:
        entry["lfs"] = {"oid": _sha256(content), "size": len(content), "pointerSize": 130}
    return entry


def _tree(files: dict[str, bytes], folder: str, recursive: bool) -> Iterator[dict[str, Any]]:
    """What lies in a folder: folders and files."""
    below = {path for path in files if not folder or path.startswith(f"{folder}/")}
    parents = {str(parent) for path in below for parent in PurePosixPath(path).parents}
    for path in sorted(below | parents - {".", folder}):
        is_inside = str(PurePosixPath(path).parent) == (folder or ".")
        if not path.startswith(folder) or not (recursive or is_inside):
            continue
        oid = hashlib.sha1(path.encode()).hexdigest()
        yield (
            _entry(path, files[path])
            if path in files
            else {"type": "directory", "path": path, "oid": oid}
        )


@contextmanager
def serve(hub: UploadHub) -> Iterator[UploadHub]:
    """Serve `hub` on a free loopback port while the block runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    with serving(server):
        yield hub
