"""A file server on the loopback interface that misbehaves as told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@dataclass
class Server:
    """What the next requests are answered with, and what they asked."""

    address: str
    content: bytes = b""
    etag: str | None = '"one"'
    modified: str | None = None
    ranges: bool = True
    length: bool = True
    content_type: str = "application/octet-stream"
    status: int = 200
    location: str | None = None
    cuts: list[int] = field(default_factory=list)
    """After so many bytes the connection is closed; one entry a request, none left serves all."""
    failures: int = 0
    """So many requests are answered with 503 first."""
    stall: threading.Event | None = None
    """Waited for after half of the content."""
    asked: list[dict[str, str]] = field(default_factory=list)
    """Headers of all requests."""


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            server.asked.append({**self.headers, "path": self.path})
            if server.failures:
                server.failures -= 1
                self._head(503, {"Retry-After": "0", "Content-Length": "0"})
            elif server.location and self.path != "/moved":
                self._head(302, {"Location": server.location, "Content-Length": "0"})
            elif server.status != 200:
                self._head(server.status, {"Content-Length": "0"})
            else:
                self._serve()

        def _serve(self) -> None:
            start, total = 0, len(server.content)
            asked, condition = self.headers.get("Range"), self.headers.get("If-Range")
            if server.ranges and asked and condition in (None, server.etag, server.modified):
                start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= total > 0:
                self._head(416, {"Content-Range": f"bytes */{total}", "Content-Length": "0"})
                return
            headers = {
                "Content-Type": server.content_type,
                "ETag": server.etag,
                "Last-Modified": server.modified,
            }
            if server.length:
                headers["Content-Length"] = str(total - start)
            if start:
                headers["Content-Range"] = f"bytes {start}-{total - 1}/{total}"
            self._head(206 if start else 200, headers)
            body = server.content[start:]
            if server.stall:
                self.wfile.write(body[: len(body) // 2])
                self.wfile.flush()
                server.stall.wait(30)
                body = body[len(body) // 2 :]
            self.wfile.write(body[: server.cuts.pop(0)] if server.cuts else body)

        def _head(self, status: int, headers: dict[str, str | None]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                if value is not None:
                    self.send_header(name, value)
            self.end_headers()

    return Handler


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    told = Server("")
    http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(told))
    told.address = f"http://127.0.0.1:{http.server_port}/file.zip"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield told
    if told.stall:
        told.stall.set()
    http.shutdown()
    http.server_close()
    thread.join()
