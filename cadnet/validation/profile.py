"""Figures that describe a version of a dataset, and the drift between two versions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from cadnet.files import value_digest
from cadnet.types import SPLITS, UNLABELLED
from cadnet.validation.facts import DatasetFacts

FEWEST = 5
"""Values below which a figure has no known error and is not compared."""
ERRORS = 3.0
"""Standard errors that a change must exceed to count."""

_FLOORS = {
    "defect_rate": 0.05,
    "class_rate": 0.05,
    "class_share": 0.0005,
    "brightness": 8.0,
    "contrast": 4.0,
    "mean": 8.0,
    "sd": 4.0,
    "defect_pixels": 10.0,
    "residual": 0.25,
}
"""Least value a change is divided by, by kind of figure, so that next to nothing is not "doubled".
Rates and fractions in 0..1, grey levels, pixels of area, pixels of length."""


class Change(NamedTuple):
    """One figure in two versions: ``relative`` to the version before (or its floor), ``counts`` as drift."""

    figure: str
    before: str
    now: str
    relative: float
    counts: bool


def build_profile(facts: DatasetFacts) -> dict[str, Any]:
    """Describe a dataset by figures, each with its value and standard error (None where too few values).

    Per split: samples, groups and ``figures``: rate of defective images, per class the rate of images and the
    mean fraction of pixels, mean and standard deviation of grey levels (all and by channel), quantiles of the
    defects' pixels and of the alignment residual in pixels.
    """
    table = facts.table
    return {
        "settings": value_digest(table.params),
        "classes": list(table.classes),
        "splits": {
            split: {
                "samples": len(rows),
                "groups": int(rows["group"].nunique()),
                "figures": dict(_figures(facts, rows)),
            }
            for split in (*SPLITS, UNLABELLED)
            if len(rows := facts.samples[facts.samples["split"] == split])
        },
    }


def not_comparable(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> str:
    """Return why two profiles are not compared; "" when they can be."""
    if before is None:
        return "no earlier profile: not compared"
    return "" if before["settings"] == now["settings"] else "settings changed: not compared"


def changes(before: Mapping[str, Any], now: Mapping[str, Any], limit: float) -> list[Change]:
    """Compare two profiles of equal settings figure by figure, in the splits both have.

    A change counts when it is above ``limit`` of the earlier value (or of the floor of its kind, where that
    is larger) and above three standard errors of the difference, which is what chance alone may do. Numbers
    of samples are not compared: photographs that were added are no drift. Another list of classes always
    counts.
    """
    found = []
    if before["classes"] != now["classes"]:
        found.append(Change("classes", ", ".join(before["classes"]), ", ".join(now["classes"]), 1.0, True))
    for split in [name for name in now["splits"] if name in before["splits"]]:
        old, new = before["splits"][split]["figures"], now["splits"][split]["figures"]
        for name in [name for name in new if name in old]:
            found.append(
                _change(f"{split}: {name}", old[name], new[name], _FLOORS[name.split(".")[0]], limit)
            )
    return found


def _change(
    name: str, old: Mapping[str, float | None], new: Mapping[str, float | None], floor: float, limit: float
) -> Change:
    before, now = float(old["value"] or 0), float(new["value"] or 0)
    relative = abs(now - before) / max(abs(before), floor)
    known = old["error"] is not None and new["error"] is not None
    noise = math.hypot(old["error"] or 0, new["error"] or 0)
    counts = known and relative > limit and abs(now - before) > ERRORS * noise
    return Change(name, f"{before:.4g}", f"{now:.4g}", round(relative, 4), counts)


def _figures(facts: DatasetFacts, rows: pd.DataFrame) -> Iterator[tuple[str, dict[str, float | None]]]:
    labelled = rows[rows["shows_defect"].notna()]
    if len(labelled):
        yield "defect_rate", _mean(labelled["shows_defect"].to_numpy(float))
        area = np.array([_area(facts, name) for name in labelled["mask"]])
        for name in facts.table.classes:
            pixels = labelled[f"found_{name}"].to_numpy(float)
            yield f"class_rate.{name}", _mean((pixels > 0).astype(float))
            yield f"class_share.{name}", _mean(pixels / area)
        defects = [facts.masks[name].defects[:, -1] for name in labelled["mask"]]
        yield from _quantiles("defect_pixels", np.concatenate(defects))
    images = [facts.images[name] for name in rows["image"] if not facts.images[name].problem]
    if images:
        yield "brightness", _mean(np.array([fact.brightness for fact in images]))
        yield "contrast", _mean(np.array([fact.contrast for fact in images]))
        for channel, colour in enumerate(("red", "green", "blue")):
            yield f"mean.{colour}", _mean(np.array([fact.mean[channel] for fact in images]))
            yield f"sd.{colour}", _mean(np.array([fact.sd[channel] for fact in images]))
    if "residual" in rows:
        residual = pd.to_numeric(rows["residual"], errors="coerce")
        yield from _quantiles("residual", residual[np.isfinite(residual)].to_numpy(float))


def _area(facts: DatasetFacts, mask: str) -> int:
    return facts.masks[mask].width * facts.masks[mask].height


def _mean(values: np.ndarray) -> dict[str, float | None]:
    error = float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) >= FEWEST else None
    return _rounded(float(values.mean()), error)


def _quantiles(name: str, values: np.ndarray) -> Iterator[tuple[str, dict[str, float | None]]]:
    """Quantiles 10, 50 and 90 % with an error from the ranks that chance may reach (binomial).

    The ranks of three deviations count and not those of one, so that a median that may as well fall on the
    other side of a gap has the gap as its error.
    """
    count = len(values)
    for rank in (0.1, 0.5, 0.9) if count else ():
        aside = ERRORS * math.sqrt(rank * (1 - rank) / count)
        ranks = [max(0.0, rank - aside), rank, min(1.0, rank + aside)]
        low, value, high = (float(found) for found in np.quantile(values, ranks))
        error = max(value - low, high - value) / ERRORS if count >= FEWEST else None
        yield f"{name}.q{round(100 * rank)}", _rounded(value, error)


def _rounded(value: float, error: float | None) -> dict[str, float | None]:
    """Six significant digits: enough to compare, and the same on every machine."""
    return {"value": float(f"{value:.6g}"), "error": None if error is None else float(f"{error:.6g}")}
