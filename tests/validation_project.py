"""A project whose one dataset is to be validated, and ways to spoil it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from cadnet.config import load_params
from cadnet.files import CHECKSUMS, file_digest, read_json
from cadnet.images import write_png
from pipelines.profile import compose
from pipelines.stages import validate
from tests import stage_project
from tests.fakes import write_fake_dataset

ROOT = Path(__file__).parents[1]
DATASET = Path("datasets/synlcd")
OUT = Path("reports/validate/synlcd")

Summary = dict[str, Any]


def enter(folder: Path, patch: pytest.MonkeyPatch, docs: bool = False) -> None:
    """Make ``folder`` a project with a sound dataset in which some samples are unlabelled, and go there."""
    (folder / "params.yaml").write_text(compose("ci", ROOT / "params"), "utf-8")
    write_fake_dataset(folder / DATASET)
    stage_project.enter(folder, patch)
    rewrite(lambda table: pd.concat([table, unlabelled(table)], ignore_index=True))
    if not docs:
        # They are looked at once; building them is most of the time.
        patch.setattr("great_expectations.data_context.EphemeralDataContext.build_data_docs", no_docs)


def no_docs(self: object, **_: object) -> None:
    return None


def unlabelled(table: pd.DataFrame) -> pd.DataFrame:
    rows = table[table["group"] == "04"].head(2).copy()
    generator = np.random.default_rng(7)
    for index in rows.index:
        rows.loc[index, "image"] = f"images/free-{index}.png"
        noise = generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        write_png(DATASET / f"images/free-{index}.png", noise)
        rows.loc[index, "sample_id"] = f"free-{index}"
    return rows.assign(split="unlabelled", mask="", group="free", has_defect="0", n_line="0", n_abpt="0")


def rewrite(change: Callable[[pd.DataFrame], pd.DataFrame | None]) -> None:
    path = DATASET / "manifest.csv"
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    changed = change(table)
    (table if changed is None else changed).to_csv(path, index=False)


def record() -> None:
    """Write the checksums of the dataset's images as preparing does."""
    files = sorted(path for path in DATASET.rglob("*.png"))
    lines = [f"{path.relative_to(DATASET).as_posix()},{file_digest(path)}" for path in files]
    (DATASET / CHECKSUMS).write_text("\n".join(["path,sha256", *lines]) + "\n", "utf-8")


def limits(**values: object) -> None:
    params = yaml.safe_load(Path("params.yaml").read_text("utf-8"))
    params["validate"] |= values
    Path("params.yaml").write_text(yaml.safe_dump(params), "utf-8")


def judge() -> Summary:
    """Run the stage and return its summary, which tells the same as the exception."""
    failure = ""
    try:
        validate.validate("synlcd", load_params())
    except validate.DataValidationError as error:
        failure = str(error)
    summary = read_json(OUT / "summary.json")
    assert summary["passed"] is (failure == "")
    for check in summary["checks"]:
        assert (check["title"] in failure) is (check["passed"] is False)
        if check["passed"] is False:
            assert f"  {check['rows'][0]['subject']}" in failure
    return summary


def failed(summary: Summary) -> dict[str, list[str]]:
    """Subjects of the broken rows by check."""
    return {
        check["name"]: [row["subject"] for row in check["rows"]]
        for check in summary["checks"]
        if check["passed"] is False
    }


def message(summary: Summary, name: str) -> str:
    (check,) = [check for check in summary["checks"] if check["name"] == name]
    return check["rows"][0]["message"]
