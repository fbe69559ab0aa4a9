"""Real boards: known motions, photographs that are aligned already, and boards that are not the same."""

from pathlib import Path

import numpy as np
import pytest
from alignment_fakes import MARGIN, apart, motion, photograph, reference_of, spoil

from cadnet.alignment import estimate_alignment
from cadnet.config import AlignmentParams
from cadnet.images import read_image
from tests.samples import sample

SIDE = 512 + 2 * MARGIN


@pytest.fixture(scope="module")
def boards() -> Path:
    return sample("pku-pcb-sample")


@pytest.fixture(scope="module")
def clean(boards: Path) -> dict[str, np.ndarray]:
    return {name: read_image(boards / "PCB_USED" / f"{name}.JPG") for name in ("01", "07")}


@pytest.mark.parametrize("seed", range(8))
def test_known_motions_of_a_photograph_with_defects(boards, clean, seed):
    rng = np.random.default_rng(seed)
    path = sorted((boards / "images").glob("*/*.jpg"))[seed * 5]
    reference = clean[path.name[:2]]
    y, x = (int(rng.integers(0, limit - SIDE)) for limit in reference.shape[:2])
    window = slice(y, y + SIDE), slice(x, x + SIDE)
    truth = motion(*rng.uniform(-30, 30, 2), rng.uniform(-5, 5), 512)
    image = spoil(photograph(read_image(path)[window], truth), seed)
    found = estimate_alignment(image, reference_of(reference[window]), AlignmentParams())
    assert found.accepted
    assert apart(found.matrix, truth, 512) < 0.5


@pytest.mark.parametrize("name", ["Short/07_short_10", "Missing_hole/01_missing_hole_09"])
def test_photographs_lie_on_their_board_already(boards, clean, name):
    found = estimate_alignment(
        read_image(boards / "images" / f"{name}.jpg"), clean[Path(name).name[:2]], AlignmentParams()
    )
    assert (found.method, found.accepted) == ("identity", True)
    assert found.residual < 0.1
    assert found.confidence > 0.99


def test_another_board_is_refused(clean):
    for y, x in ((300, 300), (1000, 1500)):
        pair = [clean[name][y : y + 512, x : x + 512] for name in ("01", "07")]
        found = estimate_alignment(*pair, AlignmentParams())
        assert not found.accepted
        assert found.confidence < 0.4
