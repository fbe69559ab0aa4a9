"""The bytes of prepared datasets: the same raw material gives the same files as before.

The digests belong to the locked versions of OpenCV and numpy.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cadnet.config import AlignmentParams, MvtecAdParams
from cadnet.files import file_digest, read_checksums, value_digest
from cadnet.preparers.mvtec_ad.plan import plan_mvtec_ad
from cadnet.preparers.pairs import plan_pairs
from cadnet.preparers.pku_pcb.plan import plan_pku_pcb
from cadnet.writing.dataset import write_dataset
from cadnet.writing.units import Plan
from tests.fake_mvtec import write_fake_mvtec
from tests.fake_pairs import standard
from tests.fake_pku import pku_params, write_fake_pku


def pairs(root: Path) -> Plan:
    return plan_pairs(standard(root).params(clean_tiles_per_image=1, scale=0.8))


def mvtec_ad(root: Path) -> Plan:
    off = AlignmentParams(model="off")
    return plan_mvtec_ad(
        MvtecAdParams(preparer="mvtec_ad", raw=str(write_fake_mvtec(root)), size=40, alignment=off)
    )


def pku_pcb(root: Path) -> Plan:
    raw = write_fake_pku(root, 1, boards=("01",), rotation="grown")
    return plan_pku_pcb(pku_params(raw, clean_per_photograph=1, size=128))


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (pairs, "2db92117f838feb4"),
        (mvtec_ad, "bc93807d5f4ff1df"),
        (pku_pcb, "9165902bedefaba5"),
    ],
)
def test_files_are_as_before(tmp_path: Path, plan: Callable[[Path], Plan], expected: str) -> None:
    root = write_dataset(plan(tmp_path / "raw"), tmp_path / "out")
    recorded = read_checksums(root)
    # Digests of sources are in dataset.json, so that it is left out.
    del recorded["dataset.json"]
    assert recorded == {name: file_digest(root / name) for name in recorded}
    assert value_digest(sorted(recorded.items()))[:16] == expected
