"""The Prefect flow beside ``dvc repro``."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from cadnet.files import file_digest
from tests.integration.conftest import Finished
from tests.integration.project import FLOW, STAGES, Project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.xdist_group("project")]

MADE_AGAIN = ("evaluate@synlcd-cadnet-0", "evaluate@synlcd-segformer-0", "report")
LOOKED_AT = (*MADE_AGAIN, "register@screen", "gate@screen")
"""The flow gives these to DVC, which skips the last two, because the evaluations have come out the same."""


def test_the_flow_leaves_what_repro_leaves(
    finished: Finished, copied: Callable[[bool], Project], preloaded: Path
) -> None:
    project = copied(False)
    project.python = preloaded
    before = project.lock()
    project.forget(*MADE_AGAIN)
    output = project.run(*FLOW)
    counts = [f"{len(LOOKED_AT)} of {len(STAGES)} stages have changed or need one that has"]
    counts.append(f"{len(STAGES)} stages are up to date")
    assert set(counts) <= set(output.splitlines())
    assert f"{len(LOOKED_AT)} of {len(LOOKED_AT)} stages done after " in output
    assert project.run("dvc", "status").strip() == "Data and pipelines are up to date."
    after = project.lock()
    assert set(after) == STAGES
    for stage in STAGES - set(MADE_AGAIN):
        assert after[stage] == before[stage], stage
    for name in (
        f"reports/{file}"
        for method in ("cadnet", "segformer")
        for file in (
            f"metrics/synlcd/{method}/s0.json",
            f"curves/synlcd/{method}/s0.csv",
            f"evaluation/synlcd/{method}/s0/result.json",
            f"evaluation/synlcd/{method}/s0/images.csv",
        )
    ):
        assert file_digest(project.root / name) == file_digest(finished.project.root / name), name
    # Prefect's state lies in the project, and what had not changed was not run.
    with closing(sqlite3.connect(project.root / ".prefect" / "prefect.db")) as database:
        runs = database.execute("SELECT name, state_name FROM task_run").fetchall()
    assert sorted(runs) == sorted((stage, "Completed") for stage in LOOKED_AT)
