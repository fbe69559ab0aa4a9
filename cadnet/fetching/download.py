"""Downloading one large file: resumed after a cut, restarted when it has changed on the server."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from http.client import responses
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from urllib3.exceptions import HTTPError

from cadnet.fetching.sources import FetchError
from cadnet.files import read_json, write_json


class Partial:
    """``<target>.part`` and ``<target>.part.json``, which survive the process."""

    def __init__(self, target: Path, address: str) -> None:
        self._target, self._address = target, address
        self.path = target.with_name(target.name + ".part")
        self._state_path = target.with_name(target.name + ".part.json")
        self._state = self._read_state()
        if self._state.get("address") != address:
            # Bytes of another file must not be appended.
            self.reset()

    @property
    def length(self) -> int:
        """Bytes received so far."""
        return self.path.stat().st_size if self.path.is_file() else 0

    @property
    def total(self) -> int | None:
        """Bytes of the whole file, None when the server did not say."""
        total = self._state.get("total")
        return total if isinstance(total, int) else None

    def headers(self, checked: bool) -> dict[str, str]:
        """Return request headers: for the rest if the file is unchanged, for the whole otherwise.

        Args:
            checked: the result is compared with a published checksum, so the rest may be requested even if
                the server sent no validator.
        """
        validator = self._state.get("validator")
        if self.length == 0 or not (validator or checked):
            return {}
        headers = {"Range": f"bytes={self.length}-"}
        return headers | {"If-Range": validator} if isinstance(validator, str) else headers

    def begin(self, headers: Mapping[str, str], total: int | None) -> None:
        """Record the validator and length of the file whose bytes follow."""
        etag = headers.get("ETag", "")
        # A weak tag does not promise the same bytes (RFC 9110, section 13.1.5).
        strong = etag if etag and not etag.startswith("W/") else None
        validator = strong or headers.get("Last-Modified")
        self._state = {"address": self._address, "validator": validator, "total": total}
        write_json(self._state_path, self._state)

    def reset(self) -> None:
        """Delete the partial file and its state."""
        self.path.unlink(missing_ok=True)
        self._state_path.unlink(missing_ok=True)
        self._state = {}

    def finish(self) -> None:
        """Sync the complete file and rename it to the target."""
        descriptor = os.open(self.path, os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self.path.replace(self._target)
        self._state_path.unlink(missing_ok=True)

    def _read_state(self) -> dict[str, Any]:
        try:
            state = read_json(self._state_path)
        except (FileNotFoundError, ValueError):
            return {}
        return state if isinstance(state, dict) else {}


Report = Callable[[int, int | None], None]
"""Called with the bytes done and the bytes of the whole file, None when unknown."""

_CHUNK_BYTES = 2**16
_SPARE_BYTES = 256 * 2**20
_HOPS = 10
_REDIRECTS = (301, 302, 303, 307, 308)
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+)")
_LONGEST_PAUSE = 60.0


@dataclass(frozen=True)
class Transfer:
    """Timeouts and attempts of a download."""

    connect_seconds: float = 15.0
    silent_seconds: float = 60.0
    """Time without a byte after which a connection counts as cut."""
    attempts: int = 5
    """Failures in a row without a new byte before giving up."""
    pause_seconds: float = 1.0
    """Before the second attempt; doubled for each further one."""
    max_bytes: int = 40 * 2**30


PATIENCE = Transfer()
"""The default."""


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> None:
        """Follow nothing: requests would read the whole response and follow before the target is checked."""


class _CutError(Exception):
    """Worth another attempt."""

    def __init__(self, reason: str, pause: float = 0.0) -> None:
        super().__init__(reason)
        self.pause = pause


def download(
    address: str,
    target: Path,
    *,
    size: int | None = None,
    checked: bool = False,
    transfer: Transfer | None = None,
    report: Report | None = None,
    log: Callable[[str], None] | None = None,
) -> None:
    """Download ``address`` to ``target``, through ``<target>.part``, which a later call resumes.

    Args:
        address: http or https.
        target: file that appears when it is complete.
        size: bytes the file must have, None if unknown.
        checked: the caller compares a published checksum afterwards.
        transfer: timeouts and attempts; None for the defaults.
        report: called with the progress.
        log: called with the reason and time of another attempt.

    Raises:
        FetchError: no connection, an HTTP error, a web page instead of a file, another size, a redirect to an
            unsafe place. What was downloaded stays for the next call.
        OSError: the disk is full or cannot be written.
    """
    transfer = transfer or PATIENCE
    target.parent.mkdir(parents=True, exist_ok=True)
    part, failures = Partial(target, address), 0
    most = part.length
    with _Session() as session:
        while True:
            try:
                _attempt(session, address, part, size, checked, transfer, report)
                break
            except (requests.RequestException, HTTPError, _CutError) as error:
                failures = 1 if part.length > most else failures + 1
                most = max(most, part.length)
                if failures >= transfer.attempts or isinstance(error, ValueError) or _is_forged(error):
                    raise FetchError(
                        f"{address} cannot be downloaded: {_reason(error)}"
                        + (f"; {part.length} bytes are kept to resume" if part.length else "")
                    ) from error
                asked = error.pause if isinstance(error, _CutError) else 0.0
                pause = max(asked, min(transfer.pause_seconds * 2 ** (failures - 1), _LONGEST_PAUSE))
                if log is not None:
                    log(f"{_reason(error)}; retrying in {pause:g} s")
                time.sleep(pause)
    part.finish()


def _attempt(
    session: requests.Session,
    address: str,
    part: Partial,
    size: int | None,
    checked: bool,
    transfer: Transfer,
    report: Report | None,
) -> None:
    # identity: the bytes of the file, not a compressed form.
    headers = {"Accept-Encoding": "identity", **part.headers(checked)}
    with closing(_follow(session, address, headers, transfer)) as response:
        if response.status_code == 416:
            if _content_range(response)[1] != part.length:
                part.reset()
                raise _CutError("the file has changed on the server")
            return
        total = _accept(response, address, part)
        if size is not None and total not in (None, size):
            part.reset()
            raise FetchError(f"{address} has {total} bytes where {size} are published; it is another file")
        limit = min(total or size or transfer.max_bytes, transfer.max_bytes)
        if total is not None and total > limit:
            raise FetchError(f"{address} has {total} bytes, which is more than {transfer.max_bytes} allowed")
        _require_space(address, part, (total or size or 0) - part.length)
        _receive(response, address, part, total, limit, report)
        whole = total or size
        if whole is not None and part.length != whole:
            raise _CutError(f"the connection was cut after {part.length} of {whole} bytes")


def _follow(
    session: requests.Session, address: str, headers: dict[str, str], transfer: Transfer
) -> requests.Response:
    """Follow redirects by hand: each target is checked first, and only the last response is read."""
    current = address
    for _ in range(_HOPS):
        response = session.get(
            current,
            headers=headers,
            stream=True,
            allow_redirects=False,
            timeout=(transfer.connect_seconds, transfer.silent_seconds),
        )
        if response.status_code not in _REDIRECTS or "Location" not in response.headers:
            return response
        response.close()
        location = response.headers["Location"]
        try:
            current = urljoin(current, location)
            scheme = urlsplit(current).scheme
        except ValueError:
            scheme = ""
        if scheme not in ("http", "https") or (scheme == "http" and address.startswith("https:")):
            raise FetchError(f"{address} redirects to {location[:200]!r}, which is not a safe address")
    raise FetchError(f"{address} redirects more than {_HOPS} times")


def _accept(response: requests.Response, address: str, part: Partial) -> int | None:
    """Decide by the headers whether the response resumes or restarts; return the bytes of the whole file."""
    status = response.status_code
    if status == 429 or status >= 500:
        asked = response.headers.get("Retry-After", "")
        raise _CutError(f"HTTP {status}", min(float(asked), _LONGEST_PAUSE) if asked.isdigit() else 0.0)
    if status not in (200, 206):
        raise FetchError(f"{address} responds with HTTP {status} {responses.get(status, '')}".rstrip())
    if response.headers.get("Content-Type", "").lower().startswith("text/html"):
        raise FetchError(f"{address} responds with a web page where a file was expected")
    if status == 206:
        start, total = _content_range(response)
        if start != part.length or (part.total is not None and total != part.total):
            part.reset()
            raise _CutError("the file has changed on the server")
        return total
    part.reset()
    length = response.headers.get("Content-Length", "")
    total = int(length) if length.isdigit() else None
    part.begin(response.headers, total)
    return total


def _content_range(response: requests.Response) -> tuple[int | None, int | None]:
    """First byte and total from a Content-Range header (RFC 9110, section 14.4)."""
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if match is None:
        return None, None
    return (None if match[1] is None else int(match[1])), int(match[2])


def _receive(
    response: requests.Response,
    address: str,
    part: Partial,
    total: int | None,
    limit: int,
    report: Report | None,
) -> None:
    # Unbuffered, so that a kill loses no byte received so far.
    with part.path.open("ab", buffering=0) as output:
        done = part.length
        for chunk in response.raw.stream(_CHUNK_BYTES, decode_content=False):
            done += len(chunk)
            if done > limit:
                part.reset()
                raise FetchError(f"{address} sends more than {limit} bytes")
            output.write(chunk)
            if report is not None:
                report(done, total)


def _require_space(address: str, part: Partial, missing: int) -> None:
    free = shutil.disk_usage(part.path.parent).free
    if missing + _SPARE_BYTES > free:
        raise FetchError(
            f"{address}: {missing / 1e9:.1f} GB are needed in {part.path.parent}, {free / 1e9:.1f} GB are "
            "free; make room"
        )


def _is_forged(error: BaseException) -> bool:
    """Return whether the certificate is wrong, which no retry mends; other TLS errors may pass."""
    return isinstance(error, requests.exceptions.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error)


def _reason(error: BaseException) -> str:
    """Return the innermost of nested errors of HTTP libraries, as text."""
    while True:
        inner = getattr(error, "reason", None) or (error.args[0] if error.args else None)
        if not isinstance(inner, BaseException):
            return str(error)[:300] or type(error).__name__
        error = inner
