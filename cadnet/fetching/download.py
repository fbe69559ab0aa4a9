"""Downloading one large file: resumed after a cut, begun anew when it has changed on the server."""

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
            # The rest of another file would be glued to this one.
            self.reset()

    @property
    def length(self) -> int:
        """Bytes that are there."""
        return self.path.stat().st_size if self.path.is_file() else 0

    @property
    def total(self) -> int | None:
        """Bytes of the whole file, None when the server did not say."""
        total = self._state.get("total")
        return total if isinstance(total, int) else None

    def headers(self, checked: bool) -> dict[str, str]:
        """What to ask the server for: the rest if the file is still the same, the whole otherwise.

        Args:
            checked: a published checksum will tell whether the parts belong together, so that the rest may be
                asked for although the server gave nothing to recognise the file by.
        """
        validator = self._state.get("validator")
        if self.length == 0 or not (validator or checked):
            return {}
        headers = {"Range": f"bytes={self.length}-"}
        return headers | {"If-Range": validator} if isinstance(validator, str) else headers

    def begin(self, headers: Mapping[str, str], total: int | None) -> None:
        """Note what the server says about the file whose bytes follow."""
        etag = headers.get("ETag", "")
        # A weak tag does not promise the same bytes, and servers must not go on by it.
        strong = etag if etag and not etag.startswith("W/") else None
        validator = strong or headers.get("Last-Modified")
        self._state = {"address": self._address, "validator": validator, "total": total}
        write_json(self._state_path, self._state)

    def reset(self) -> None:
        """Forget everything."""
        self.path.unlink(missing_ok=True)
        self._state_path.unlink(missing_ok=True)
        self._state = {}

    def finish(self) -> None:
        """Give the complete file its name."""
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
"""Called with the bytes that are there and the bytes of the whole file, None when unknown."""

_CHUNK_BYTES = 2**16
_SPARE_BYTES = 256 * 2**20
_HOPS = 10
_REDIRECTS = (301, 302, 303, 307, 308)
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+)")
_LONGEST_PAUSE = 60.0


@dataclass(frozen=True)
class Transfer:
    """How patient a download is."""

    connect_seconds: float = 15.0
    silent_seconds: float = 60.0
    """Without a byte for so long, a connection counts as cut."""
    attempts: int = 5
    """Failures in a row without a new byte before giving up."""
    pause_seconds: float = 1.0
    """Before the second attempt; doubled each time."""
    max_bytes: int = 40 * 2**30


PATIENCE = Transfer()
"""Of a download whose caller says nothing else."""


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> None:
        """Nowhere: requests would read the whole answer, and go on before anybody looked where to."""


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
    say: Callable[[str], None] | None = None,
) -> None:
    """Download ``address`` to ``target``, by way of ``<target>.part``, which a later call goes on with.

    Args:
        address: http or https.
        target: file that appears when it is complete.
        size: bytes the file must have, None if unknown.
        checked: the caller compares a published checksum afterwards.
        transfer: patience; None for the defaults.
        report: told about progress.
        say: told in words why another attempt is made, and when.

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
                        + (f"; {part.length} bytes are kept to go on from" if part.length else "")
                    ) from error
                asked = error.pause if isinstance(error, _CutError) else 0.0
                pause = max(asked, min(transfer.pause_seconds * 2 ** (failures - 1), _LONGEST_PAUSE))
                if say is not None:
                    say(f"{_reason(error)}; trying again in {pause:g} s")
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
    # identity: the bytes of the file are wanted, not a packed form of them.
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
    """Redirects by hand: each place is looked at first, and no answer but the last is read."""
    place = address
    for _ in range(_HOPS):
        response = session.get(
            place,
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
            place = urljoin(place, location)
            scheme = urlsplit(place).scheme
        except ValueError:
            scheme = ""
        if scheme not in ("http", "https") or (scheme == "http" and address.startswith("https:")):
            raise FetchError(
                f"{address} redirects to {location[:200]!r}, which is no safe place to load from"
            )
    raise FetchError(f"{address} redirects more than {_HOPS} times")


def _accept(response: requests.Response, address: str, part: Partial) -> int | None:
    """Decide by the header whether the answer goes on or begins anew; return the bytes of the whole file."""
    status = response.status_code
    if status == 429 or status >= 500:
        asked = response.headers.get("Retry-After", "")
        raise _CutError(f"HTTP {status}", min(float(asked), _LONGEST_PAUSE) if asked.isdigit() else 0.0)
    if status not in (200, 206):
        raise FetchError(f"{address} answers HTTP {status} {responses.get(status, '')}".rstrip())
    if response.headers.get("Content-Type", "").lower().startswith("text/html"):
        raise FetchError(f"{address} answers with a web page where a file was expected")
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
    # Unbuffered, so that after a kill every byte received so far is there.
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
            f"{address}: {missing / 1e9:.1f} GB are to come to {part.path.parent}, {free / 1e9:.1f} GB are "
            "free; make room"
        )


def _is_forged(error: BaseException) -> bool:
    """A wrong certificate stays wrong; other trouble of an encrypted connection may pass."""
    return isinstance(error, requests.exceptions.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error)


def _reason(error: BaseException) -> str:
    """The innermost of the errors that HTTP libraries wrap into each other."""
    while True:
        inner = getattr(error, "reason", None) or (error.args[0] if error.args else None)
        if not isinstance(inner, BaseException):
            return str(error)[:300] or type(error).__name__
        error = inner
