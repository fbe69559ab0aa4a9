"""The page: what it says, that it loads nothing, and that a browser shows it well."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from report_fakes import SCALE, fake_report, fake_run

from cadnet.reporting.data import Link, ReportData, Section
from cadnet.reporting.html import dataset_view, least_width, number, render_report, write_report

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

VOID = {"meta", "link", "img", "br", "hr", "input"}


@pytest.fixture(scope="module")
def report() -> ReportData:
    return fake_report(seeds=3)


@pytest.fixture(scope="module")
def page(report: ReportData) -> str:
    return render_report(report)


class Reader(HTMLParser):
    """Collects tags, and notices tags that are closed in the wrong order."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    return reader


def test_page_loads_nothing_and_needs_no_script(page: str) -> None:
    reader = read(page)
    for tag, attributes in reader.tags:
        assert tag not in {"script", "iframe", "object", "embed"}
        for name in ("src", "srcset", "data", "poster"):
            assert (attributes.get(name) or "data:").startswith("data:")
        if tag == "link":
            assert (attributes["href"] or "").startswith("data:")
        assert not any(name.startswith("on") for name in attributes)
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style and "@import" not in style


def test_page_is_accessible(page: str) -> None:
    reader = read(page)
    images = [attributes for tag, attributes in reader.tags if tag == "img"]
    assert len(images) == 10 and all(len(image["alt"] or "") > 20 for image in images)
    ids = [attributes["id"] for _, attributes in reader.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in reader.tags:
        for name in ("aria-labelledby", "aria-describedby"):
            assert attributes.get(name, ids[0]) in ids
        if (attributes.get("href") or "").startswith("#"):
            assert (attributes["href"] or "")[1:] in ids
    assert page.count("<figure") == page.count("<figcaption>") == 5
    assert page.startswith("<!doctype html>") and '<html lang="en">' in page


def test_page_says_scale_numbers_and_where_they_come_from(report: ReportData, page: str) -> None:
    assert f"<title>{report.title} ({SCALE})</title>" in page
    assert page.count(SCALE) > 10
    view = dataset_view(report.datasets[0], SCALE)
    assert view.verdict.headline in page
    for title, seeds, cells in view.rows:
        assert f'<th scope="row">{title}</th><td>{seeds}</td>' in page
        assert all(f">{number(cell.ours)}</span>" in page for cell in cells)
    assert "paper 94.0" in page
    assert "train.epochs: 10 (paper: 30)" in page
    assert report.git_commit in page and report.datasets[0].digest in page
    assert all(run.mlflow_run_id in page for run in report.datasets[0].runs)
    assert '<a href="synlcd/results.csv">results.csv</a>' in page
    assert "61.23" in page  # the ablation's table


def test_slices_leave_out_parts_without_defects(report: ReportData) -> None:
    view = dataset_view(report.datasets[0], SCALE)
    named = {(row.by, row.name): row for row in view.slices}
    assert ("group", "pattern 08") in named and ("has_defect", "False") not in named
    runs = [run for run in report.datasets[0].runs if run.title == "CADNet"]
    values = [part.metrics.miou for run in runs for part in run.result.slices if part.name == "pattern 08"]
    assert named["group", "pattern 08"].miou[0] == pytest.approx(100 * sum(values) / 3)


def test_texts_are_escaped() -> None:
    hostile = "<script>alert(1)</script>"
    data = ReportData(
        title=hostile,
        scale=hostile,
        datasets=(),
        params=hostile,
        environment={hostile: hostile},
        sections=(Section(hostile, (hostile,)),),
        links=(Link(hostile, "a.csv"),),
    )
    page = render_report(data)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 8


def test_bare_runs_still_make_a_page() -> None:
    run = fake_run("CADNet", 0)
    result = dataclasses.replace(run.result, curves=(), slices=())
    bare = dataclasses.replace(run, history=None, mlflow_run_id=None, train_seconds=None, result=result)
    data = fake_report(1)
    dataset = dataclasses.replace(data.datasets[0], runs=(bare,), published=None, overlays=(), differences=())
    page = render_report(dataclasses.replace(data, datasets=(dataset,)))
    assert "there is nothing to compare CADNet with" in page
    assert "Training</h3>" not in page and "paper 94" not in page
    read(page)


def test_a_failed_page_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "index.html"
    path.write_text("old", "utf-8")
    data = fake_report(1)
    twice = dataclasses.replace(data.datasets[0], runs=[fake_run("CADNet", 0), fake_run("CADNet", 0)])
    with pytest.raises(ValueError, match="seed twice"):
        write_report(dataclasses.replace(data, datasets=(twice,)), path)
    assert path.read_text("utf-8") == "old"


def test_numbers_are_written_for_readers() -> None:
    assert number(None) == number(float("nan")) == "–"
    assert number(-1.25, 2) == "−1.25"
    assert number(3.0, signed=True) == "+3.0"


def test_sheets_never_shrink_below_reading_size(report: ReportData, page: str) -> None:
    sheet = report.datasets[0].overlays[0]
    assert least_width(sheet) == (6 + 6 * 198) * 3 // 4
    assert f"min-width: {least_width(sheet)}px" in page


def browse(folder: Path, page: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [str(CHROMIUM), *OPTIONS, f"--user-data-dir={folder / 'profile'}", *more, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
@pytest.mark.parametrize("width", [400, 1280])
def test_browser_shows_the_page_without_errors_or_overflow(page: str, tmp_path: Path, width: int) -> None:
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
