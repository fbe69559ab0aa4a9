"""The tables that the expectations of stage ``validate`` are about.

Each has the columns ``row`` (its number), ``subject`` (what a failure is told of) and the values judged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from cadnet.checks.facts import DatasetFacts, DatasetTable
from cadnet.checks.profile import Change
from cadnet.config import ValidateParams
from cadnet.types import SPLITS

TABLES = ("manifest.csv", "dataset.json")


def table_frame(table: DatasetTable) -> pd.DataFrame:
    """The dataset's two tables and what is wrong with them (None if nothing)."""
    found = dict(table.problems)
    return _numbered([{"subject": name, "problem": found.get(name)} for name in TABLES])


def manifest_frame(table: DatasetTable) -> pd.DataFrame:
    """manifest.csv as text."""
    frame = table.manifest.copy()
    frame["subject"] = frame.get("sample_id", "")
    # Ids may be empty or repeated, lines of the file are not; the header is line 1.
    blank = frame["subject"].str.strip() == ""
    frame.loc[blank, "subject"] = [f"line {index + 2}" for index in frame.index[blank]]
    frame["row"] = range(len(frame))
    return frame


def sample_frame(facts: DatasetFacts) -> pd.DataFrame:
    """The samples beside what their files hold."""
    return facts.samples.assign(subject=manifest_frame(facts.table)["subject"], row=range(len(facts.samples)))


def usual_size(facts: DatasetFacts) -> str | None:
    """The size most images have ("width x height"); None where none can be decoded."""
    sizes = facts.samples["image_size"].dropna().mode()
    return str(sizes.iloc[0]) if len(sizes) else None


def split_frame(facts: DatasetFacts, params: ValidateParams) -> pd.DataFrame:
    """Samples of each split that needs any, beside the fewest allowed."""
    counts = facts.samples["split"].value_counts()
    return _numbered(
        [
            {"subject": split, "samples": int(counts.get(split, 0)), "fewest": least}
            for split, least in params.min_samples.items()
        ]
    )


def class_frame(facts: DatasetFacts, params: ValidateParams) -> pd.DataFrame:
    """Images and share of pixels of each class in each labelled split, beside what is allowed."""
    rows = []
    shown = [name for name in facts.table.classes if (facts.samples[f"found_{name}"] > 0).any()]
    for split in SPLITS:
        members = facts.samples[(facts.samples["split"] == split) & facts.samples["shows_defect"].notna()]
        area = sum(facts.masks[name].width * facts.masks[name].height for name in members["mask"])
        for name in facts.table.classes if area else ():
            pixels = members[f"found_{name}"]
            share = float(pixels.sum()) / area
            least, largest = params.class_share
            rows.append(
                {
                    "subject": f"{name} in {split}",
                    "images": int((pixels > 0).sum()),
                    "fewest": params.min_class_images if split == "train" and name in shown else 0,
                    "wished": params.min_class_images,
                    "share": round(share, 6),
                    "least": least,
                    "largest": largest,
                    # Whether a class may be absent is for the number of its images to say.
                    "least_if_present": least if share else 0.0,
                }
            )
    return _numbered(rows)


def alignment_frame(facts: DatasetFacts, params: ValidateParams) -> pd.DataFrame:
    """The share of samples that are not on their reference; empty where nothing was aligned."""
    if "aligned" not in facts.samples:
        return _numbered([])
    failed = facts.samples["unaligned"].notna()
    row = {"subject": "all samples", "failed": float(failed.mean()), "allowed": params.alignment_failures}
    return _numbered([row])


def drift_frame(found: Sequence[Change]) -> pd.DataFrame:
    """Figures beside those of the version before; ``drift`` is 0 where a change does not count."""
    return _numbered(
        [
            {
                "subject": change.figure,
                "before": change.before,
                "now": change.now,
                "relative_change": change.relative,
                "drift": change.relative if change.counts else 0.0,
            }
            for change in found
        ]
    )


def _numbered(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    frame = pd.DataFrame(list(rows))
    return frame.assign(row=range(len(frame)))
