"""A server on loopback that speaks the Hugging Face hub's protocol, and fails on demand.

What it answers follows the hub: repository information and tree under /api, `resolve` with ETag and
X-Repo-Commit, large files by a redirect to content addresses with X-Linked-Size and X-Linked-Etag, range
requests there, X-Error-Code on refusals.
"""

import hashlib
import json
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.serving import serving

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SIGNATURE = "asignaturethatopensthefile"
LARGE = 1024  # bytes from which a file is stored by its SHA-256


def blob_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def listed(name: str, content: bytes) -> dict[str, Any]:
    """A file as the hub lists it."""
    entry = {"type": "file", "path": name, "size": len(content), "oid": blob_id(content)}
    if len(content) >= LARGE:
        sha256 = hashlib.sha256(content).hexdigest()
        return {**entry, "lfs": {"oid": sha256, "size": len(content), "pointerSize": 130}}
    return entry


@dataclass
class HubServer:
    """What the hub holds and how it misbehaves; `log` has the path and range of every request."""

    repository: str
    files: dict[str, bytes]
    kind: str = "datasets"
    commit: str = COMMIT
    """What `main` names."""
    tree: object = None
    """Answered in place of the listing of `files`."""
    token: str | None = None
    """Bearer token that opens the repository."""
    gated: bool = False
    """Whether the refusal says that conditions must be accepted."""
    cut_after: int | None = None
    """Bytes of a large file's body after which the connection is cut."""
    reset: bool = False
    """Whether a cut is a TCP reset instead of an early end."""
    cuts: int = 0
    damaged: int = 0
    """How many answers with a large file's body have a wrong byte."""
    ignores_ranges: bool = False
    too_many: dict[str, int] = field(default_factory=dict)
    """Start of a path -> how many of its requests get 429."""
    log: list[tuple[str, str | None]] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)
    url: str = ""
    contents: str = ""
    """As the hub's own, another host."""

    def bodies(self) -> Counter[str]:
        """How often the body of each large file was asked for."""
        return Counter(path for path, _ in self.log if path.startswith("/content/"))

    def take(self, name: str) -> bool:
        """Whether one more of a counted misbehaviour is due."""
        with self.lock:
            left = getattr(self, name)
            setattr(self, name, max(left - 1, 0))
            return bool(left > 0)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: HubServer

    def log_message(self, *_: object) -> None:
        return

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        hub = self.hub
        path = unquote(urlsplit(self.path).path)
        with hub.lock:
            hub.log.append((path, self.headers.get("Range")))
            hub.tokens.add(self.headers.get("Authorization"))
        prefix = f"/{hub.kind}" if hub.kind == "datasets" else ""
        if self._is_limited(path):
            self._send(429, b"slow down", {"Retry-After": "0"}, with_body)
        elif path.startswith("/content/"):
            self._content(path.removeprefix("/content/"), with_body)
        elif hub.token is not None and self.headers.get("Authorization") != f"Bearer {hub.token}":
            code = "GatedRepo" if hub.gated else "RepoNotFound"
            self._send(401, b"{}", {"X-Error-Code": code}, with_body)
        elif path == f"/api/{hub.kind}/{hub.repository}/revision/main" or path.endswith(hub.commit):
            self._api(path, with_body)
        elif path.startswith(start := f"{prefix}/{hub.repository}/resolve/{hub.commit}/"):
            self._resolve(path.removeprefix(start), with_body)
        elif path.startswith(f"/api/{hub.kind}/{hub.repository}/"):
            self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"}, with_body)
        else:
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"}, with_body)

    def _is_limited(self, path: str) -> bool:
        with self.hub.lock:
            for start, left in self.hub.too_many.items():
                if path.startswith(start) and left > 0:
                    self.hub.too_many[start] = left - 1
                    return True
        return False

    def _api(self, path: str, with_body: bool) -> None:
        hub = self.hub
        if "/tree/" not in path:
            answer: object = {"id": hub.repository, "sha": hub.commit, "siblings": []}
        elif hub.tree is not None:
            answer = hub.tree
        else:
            answer = [listed(name, content) for name, content in hub.files.items()]
        body = json.dumps(answer).encode()
        self._send(200, body, {"Content-Type": "application/json"}, with_body)

    def _resolve(self, name: str, with_body: bool) -> None:
        content = self.hub.files.get(name)
        if content is None:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"}, with_body)
        elif len(content) < LARGE:
            headers = {"ETag": f'"{blob_id(content)}"', "X-Repo-Commit": self.hub.commit}
            self._send(200, content, headers, with_body)
        else:
            sha256 = hashlib.sha256(content).hexdigest()
            headers = {
                "Location": f"{self.hub.contents}/content/{sha256}?X-Amz-Signature={SIGNATURE}",
                "X-Linked-Size": str(len(content)),
                "X-Linked-Etag": f'"{sha256}"',
                "X-Repo-Commit": self.hub.commit,
            }
            self._send(302, b"", headers, with_body)

    def _content(self, sha256: str, with_body: bool) -> None:
        hub = self.hub
        by_hash = {hashlib.sha256(content).hexdigest(): content for content in hub.files.values()}
        body = by_hash[sha256]
        status, headers = 200, {"ETag": f'"{sha256}"', "Accept-Ranges": "bytes"}
        wanted = self.headers.get("Range")
        if wanted is not None and not hub.ignores_ranges:
            start = int(wanted.removeprefix("bytes=").partition("-")[0])
            status = 206
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
            body = body[start:]
        if hub.take("damaged"):
            body = bytes([body[0] ^ 1]) + body[1:]
        self._send(status, body, headers, with_body)

    def _send(self, status: int, body: bytes, headers: dict[str, str], with_body: bool) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if not with_body:
            return
        limit = self.hub.cut_after
        is_content = self.path.startswith("/content/")
        if is_content and limit is not None and len(body) > limit and self.hub.take("cuts"):
            self.wfile.write(body[:limit])
            self.wfile.flush()
            self._cut()
        else:
            self.wfile.write(body)

    def _cut(self) -> None:
        if self.hub.reset:
            time.sleep(1)  # a reset discards what the other side has not read yet
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close_connection = True


@contextmanager
def serve(hub: HubServer) -> Iterator[HubServer]:
    """Serve `hub` on a free loopback port while the block runs."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    hub.contents = f"http://localhost:{server.server_address[1]}"
    with serving(server):
        yield hub
