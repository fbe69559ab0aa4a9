"""A browser shows the page well: no error, nothing to load, nothing wider than the window."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from fakes import MVTEC, NINE, THREE, fake_cross, fake_few, fake_page, fake_section, fake_study

from cadnet.reporting.pages import render_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--v=0",
    "--hide-scrollbars",
)
PROBE = """<script>addEventListener("load", () => parent.postMessage([
  document.documentElement.scrollWidth, [...document.images].filter(i => i.naturalWidth === 0).length], "*"))
</script>"""
"""Tells the page around it how wide the page would like to be, and how many pictures did not open."""

FRAME = """<body style="margin:0">
<script>addEventListener("message", e => document.body.dataset.seen = e.data)</script>
<iframe src="index.html" style="width:%dpx;height:900px;border:0"></iframe></body>"""


@pytest.fixture(scope="module")
def wide_page() -> str:
    """Of more classes than fit side by side."""
    return render_report(fake_page([fake_section(1, THREE[:2], MVTEC)]))


@pytest.fixture(scope="module")
def full_page() -> str:
    """Of nine methods, with studies, cross-tests and few labels."""
    grids = [fake_study(3), fake_study(1, varied=True), fake_cross(NINE), fake_few(3)]
    return render_report(fake_page([fake_section(3, NINE), *grids]))


def browse(folder: Path, page: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [str(CHROMIUM), *OPTIONS, f"--user-data-dir={folder / 'profile'}", *more, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.parametrize("kind", ["wide_page", "full_page"])
def test_browser_shows_the_page_without_errors_or_overflow(
    request: pytest.FixtureRequest, kind: str, tmp_path: Path, width: int
) -> None:
    page: str = request.getfixturevalue(kind)
    # A headless window cannot be as narrow as a telephone, so the page is looked at in a frame of that width.
    (tmp_path / "index.html").write_text(page + PROBE, "utf-8")
    frame = tmp_path / "frame.html"
    frame.write_text(FRAME % width, "utf-8")
    shown = browse(tmp_path, frame, "--dump-dom", "--virtual-time-budget=10000")
    seen = re.search(r'data-seen="(\d+),(\d+)"', shown.stdout)
    assert seen is not None, shown.stderr
    assert (int(seen[1]), int(seen[2])) == (width, 0)
    assert "CONSOLE" not in shown.stderr

    picture = tmp_path / "page.png"
    shot = browse(tmp_path, frame, f"--screenshot={picture}", "--window-size=1280,900")
    assert "CONSOLE" not in shot.stderr
    assert picture.stat().st_size > 20_000
