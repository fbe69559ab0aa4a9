"""A download is the file on the server, whatever happens on the way."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import namedtuple
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests

from cadnet.fetching.download import Transfer, download
from cadnet.fetching.sources import FetchError

if TYPE_CHECKING:
    from .conftest import Server

ROOT = Path(__file__).parents[3]
CONTENT = os.urandom(300_000)
HASTY = Transfer(connect_seconds=5, silent_seconds=5, attempts=3, pause_seconds=0)
GIVES_UP = Transfer(connect_seconds=5, silent_seconds=5, attempts=1, pause_seconds=0)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "down loads" / "é.zip"


def names(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


def cut_at(server: Server, target: Path, count: int) -> None:
    """Leave a partial file of ``count`` bytes."""
    server.content, server.cuts = CONTENT, [count]
    with pytest.raises(FetchError, match="bytes are kept to resume"):
        download(server.address, target, transfer=GIVES_UP)
    assert names(target) == ["é.zip.part", "é.zip.part.json"]
    assert target.with_name("é.zip.part").read_bytes() == CONTENT[:count]
    server.asked.clear()


class TestWhole:
    def test_the_bytes_arrive_and_nothing_else_stays(self, server: Server, target: Path) -> None:
        server.content = CONTENT
        seen: list[tuple[int, int | None]] = []
        download(server.address, target, report=lambda *done: seen.append(done))
        assert target.read_bytes() == CONTENT and names(target) == ["é.zip"]
        assert seen[-1] == (len(CONTENT), len(CONTENT))
        # A packed answer would not have the bytes the checksum is of.
        assert server.asked[0]["Accept-Encoding"] == "identity"

    def test_a_server_that_does_not_tell_the_length(self, server: Server, target: Path) -> None:
        server.content, server.length = CONTENT, False
        download(server.address, target, transfer=HASTY)
        assert target.read_bytes() == CONTENT

    def test_an_untold_length_is_held_against_the_published_size(self, server: Server, target: Path) -> None:
        server.content, server.length, server.cuts = CONTENT, False, [1000]
        download(server.address, target, size=len(CONTENT), transfer=HASTY)
        assert target.read_bytes() == CONTENT and len(server.asked) == 2

    def test_a_busy_server_is_asked_again(self, server: Server, target: Path) -> None:
        server.content, server.failures = CONTENT, 2
        logged: list[str] = []
        download(server.address, target, transfer=HASTY, log=logged.append)
        assert target.read_bytes() == CONTENT and len(server.asked) == 3
        assert logged == ["HTTP 503; retrying in 0 s"] * 2

    def test_redirects_are_followed(self, server: Server, target: Path) -> None:
        server.content, server.location = CONTENT, "/moved"
        download(server.address, target, transfer=HASTY)
        assert target.read_bytes() == CONTENT
        assert [asked["path"] for asked in server.asked] == ["/file.zip", "/moved"]


class TestResume:
    def test_a_cut_within_one_call(self, server: Server, target: Path) -> None:
        server.content, server.cuts = CONTENT, [100_000, 50_000]
        download(server.address, target, transfer=HASTY)
        assert target.read_bytes() == CONTENT
        assert [asked.get("Range") for asked in server.asked] == [None, "bytes=100000-", "bytes=150000-"]

    def test_cuts_without_end_but_with_progress(self, server: Server, target: Path) -> None:
        server.content, server.cuts = CONTENT, [30_000] * 9
        download(server.address, target, transfer=HASTY)
        assert target.read_bytes() == CONTENT and len(server.asked) == 10

    def test_a_later_call_goes_on(self, server: Server, target: Path) -> None:
        cut_at(server, target, 120_000)
        download(server.address, target, transfer=HASTY)
        assert target.read_bytes() == CONTENT and names(target) == ["é.zip"]
        assert [(asked["Range"], asked["If-Range"]) for asked in server.asked] == [("bytes=120000-", '"one"')]

    @pytest.mark.parametrize("etag", [None, 'W/"weak"'])
    def test_the_date_recognises_a_file_without_a_strong_tag(
        self, server: Server, target: Path, etag: str | None
    ) -> None:
        server.etag, server.modified = etag, "Wed, 21 Oct 2015 07:28:00 GMT"
        cut_at(server, target, 120_000)
        download(server.address, target, transfer=HASTY)
        assert target.read_bytes() == CONTENT
        assert server.asked[0]["If-Range"] == server.modified

    def test_a_changed_file_begins_anew(self, server: Server, target: Path) -> None:
        cut_at(server, target, 120_000)
        server.content, server.etag = CONTENT[::-1], '"two"'
        download(server.address, target, transfer=HASTY)
        assert target.read_bytes() == CONTENT[::-1]

    def test_a_changed_length_begins_anew(self, server: Server, target: Path) -> None:
        server.etag = None
        cut_at(server, target, 120_000)
        server.content = CONTENT[::-1] + b"more"
        download(server.address, target, checked=True, transfer=HASTY)
        assert target.read_bytes() == CONTENT[::-1] + b"more"

    def test_another_address_begins_anew(self, server: Server, target: Path) -> None:
        cut_at(server, target, 120_000)
        download(server.address + "?v=2", target, transfer=HASTY)
        assert target.read_bytes() == CONTENT and "Range" not in server.asked[0]

    def test_a_server_that_ignores_ranges(self, server: Server, target: Path) -> None:
        cut_at(server, target, 120_000)
        server.ranges = False
        download(server.address, target, transfer=HASTY)
        assert target.read_bytes() == CONTENT and "Range" in server.asked[0]

    @pytest.mark.parametrize("checked", [False, True])
    def test_nothing_to_recognise_the_file_by(self, server: Server, target: Path, checked: bool) -> None:
        """Then only a checksum can tell whether two parts belong together."""
        server.etag = None
        cut_at(server, target, 120_000)
        download(server.address, target, checked=checked, transfer=HASTY)
        assert target.read_bytes() == CONTENT
        assert ("Range" in server.asked[0]) is checked and "If-Range" not in server.asked[0]

    @pytest.mark.parametrize("more", [b"", b"x"])
    def test_complete_or_longer_but_not_renamed(self, server: Server, target: Path, more: bytes) -> None:
        cut_at(server, target, 120_000)
        target.with_name("é.zip.part").write_bytes(CONTENT + more)
        download(server.address, target, transfer=HASTY)
        assert target.read_bytes() == CONTENT and len(server.asked) == (2 if more else 1)

    def test_a_damaged_note_begins_anew(self, server: Server, target: Path) -> None:
        cut_at(server, target, 120_000)
        target.with_name("é.zip.part.json").write_text('{"addr')
        download(server.address, target, transfer=HASTY)
        assert target.read_bytes() == CONTENT and "Range" not in server.asked[0]

    def test_killed_in_the_middle(self, server: Server, target: Path) -> None:
        server.content, server.stall = CONTENT, threading.Event()
        code = (
            "import sys\nfrom pathlib import Path\nfrom cadnet.fetching.download import download\n"
            "download(sys.argv[1], Path(sys.argv[2]))\n"
        )
        part = target.with_name("é.zip.part")
        command = [sys.executable, "-c", code, server.address, str(target)]
        with subprocess.Popen(command, cwd=ROOT) as process:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline and process.poll() is None:
                if part.exists() and part.stat().st_size >= 100_000:
                    break
                time.sleep(0.01)
            process.kill()
        assert process.returncode == -signal.SIGKILL
        server.stall.set()
        kept = part.stat().st_size
        assert part.read_bytes() == CONTENT[:kept] and not target.exists()
        server.stall = None
        server.asked.clear()
        download(server.address, target, transfer=HASTY)
        assert target.read_bytes() == CONTENT and names(target) == ["é.zip"]
        assert server.asked[0]["Range"] == f"bytes={kept}-"


class TestRefusal:
    def refused(self, server: Server, target: Path, *words: str, **options: int) -> None:
        with pytest.raises(FetchError) as error:
            download(server.address, target, transfer=HASTY, **options)
        assert not target.exists() and "\n" not in str(error.value)
        for word in (server.address, *words):
            assert word in str(error.value)

    @pytest.mark.parametrize("status", [401, 403, 404, 410])
    def test_a_dead_link_is_not_asked_twice(self, server: Server, target: Path, status: int) -> None:
        server.status = status
        self.refused(server, target, f"HTTP {status}")
        assert len(server.asked) == 1

    def test_a_server_that_stays_busy(self, server: Server, target: Path) -> None:
        server.status = 500
        self.refused(server, target, "HTTP 500")
        assert len(server.asked) == HASTY.attempts

    def test_no_server(self, server: Server, target: Path) -> None:
        server.address = "http://127.0.0.1:9/file.zip"
        self.refused(server, target, "refused")

    def test_a_page_to_log_in(self, server: Server, target: Path) -> None:
        server.content, server.content_type = b"<html>", "text/html; charset=utf-8"
        self.refused(server, target, "a web page where a file was expected")

    def test_another_size_than_published(self, server: Server, target: Path) -> None:
        server.content = CONTENT
        self.refused(server, target, "300000 bytes where 299999", size=299_999)

    def test_more_than_announced(self, server: Server, target: Path) -> None:
        server.content, server.length = CONTENT, False
        self.refused(server, target, "sends more than 1000 bytes", size=1000)
        assert names(target) == []

    @pytest.mark.parametrize(
        "address", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher:x", "http://[::x"]
    )
    def test_redirects_to_other_addresses(self, server: Server, target: Path, address: str) -> None:
        server.location = address
        self.refused(server, target, "not a safe address")
        assert len(server.asked) == 1

    def test_redirects_in_a_circle(self, server: Server, target: Path) -> None:
        server.location = "/file.zip"
        self.refused(server, target, "redirects more than 10 times")

    def test_a_redirect_out_of_the_encrypted_connection(
        self, target: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[str] = []

        def get(_: requests.Session, address: str, **__: object) -> requests.Response:
            asked.append(address)
            response = requests.Response()
            response.raw = io.BytesIO()
            response.status_code, response.headers["Location"] = 302, "http://127.0.0.1/x"
            return response

        monkeypatch.setattr(requests.Session, "get", get)
        with pytest.raises(
            FetchError, match=r"redirects to 'http://127\.0\.0\.1/x', which is not a safe address"
        ):
            download("https://127.0.0.1/x", target)
        assert asked == ["https://127.0.0.1/x"]

    def test_a_full_disk_is_foreseen(
        self, server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server.content = CONTENT
        usage = namedtuple("usage", "total used free")
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(2**40, 2**40 - 2**20, 2**20))
        self.refused(server, target, "make room")
