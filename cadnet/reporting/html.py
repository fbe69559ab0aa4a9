"""The report page: one self-contained file that opens from disk, with no script and nothing to load."""

from __future__ import annotations

import base64
from pathlib import Path

import pandas as pd
from markupsafe import Markup, escape

from cadnet.files import write_text
from cadnet.reporting.data import HERO, Picture, ReportData
from cadnet.reporting.few_label_views import few_label_view
from cadnet.reporting.pages import page_environment
from cadnet.reporting.study_views import cross_view, study_view
from cadnet.reporting.views import dataset_view


def render_report(data: ReportData) -> str:
    """Return the whole page as HTML.

    Raises:
        ValueError: a dataset without runs, a seed twice, methods with differing classes, a study whose
            parts do not fit its runs, or few labels scored on other classes than ``defect``.
    """
    environment = page_environment()
    environment.filters["data_uri"] = data_uri
    environment.filters["least_width"] = least_width
    environment.filters["number"] = number
    environment.filters["frame"] = frame_table
    environment.filters["breakable"] = breakable
    environment.globals["hero"] = HERO
    parts = {
        "views": [dataset_view(report, data.scale) for report in data.datasets],
        "studies": [study_view(study, data.scale) for study in data.studies],
        "cross": None if data.cross is None else cross_view(data.cross, data.scale),
        "few_labels": None if data.few_labels is None else few_label_view(data.few_labels, data.scale),
    }
    return environment.get_template("report.html.j2").render(data=data, **parts)


def write_report(data: ReportData, path: Path | str) -> None:
    """Write the page to ``path`` atomically.

    Raises:
        ValueError: as :func:`render_report`; ``path`` is then untouched.
    """
    write_text(path, render_report(data))


def data_uri(picture: Picture) -> str:
    """A picture's bytes as a ``data:`` address."""
    return "data:image/png;base64," + base64.b64encode(picture.png).decode("ascii")


def least_width(picture: Picture) -> int:
    """The least width, in CSS pixels, at which a sheet can still be read: three quarters of its own."""
    # A PNG's width stands big-endian at byte 16, in the header chunk that always comes first.
    return int.from_bytes(picture.png[16:20], "big") * 3 // 4


def number(value: float | None, digits: int = 1, *, signed: bool = False) -> str:
    """Write a number with a true minus sign, or a dash when there is none."""
    if value is None or pd.isna(value):
        return "–"
    # Rounded first, so that a small negative number is not written as minus zero.
    return f"{round(value, digits) + 0.0:{'+' if signed else ''},.{digits}f}".replace("-", "−")


def frame_table(frame: pd.DataFrame) -> Markup:
    """A DataFrame as a plain, escaped HTML table with two decimals."""
    # pandas escapes every cell and header.
    return Markup(
        frame.to_html(index=False, border=0, justify="left", na_rep="–", float_format="{:.2f}".format)
    )


def breakable(name: str) -> Markup:
    """A name that may be broken after its underscores, so that long ones do not widen a table."""
    return Markup(str(escape(name)).replace("_", "_<wbr>"))
