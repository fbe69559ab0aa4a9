from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from cadnet.config import AbptParams, LineParams, Range, ScreenParams, SynLCDParams
from cadnet.synthesis.defects import LineDefect
from cadnet.synthesis.generator import SynLCDGenerator, sample_name

SIZE = 96
QUIET = ScreenParams(probability=0.0)


def generator(screens: dict[str, np.ndarray], **changes: object) -> SynLCDGenerator:
    return SynLCDGenerator(screens, SynLCDParams(**{"size": SIZE, **changes}))  # type: ignore[arg-type]


def test_samples_do_not_depend_on_what_was_generated_before(screens: dict[str, np.ndarray]) -> None:
    keys = [(name, i, kind) for name in screens for i in range(4) for kind in (True, False)]
    forward, backward = generator(screens), generator(screens)
    first = {key: forward.sample(*key) for key in keys}
    # The process-wide random states are no part of a sample.
    np.random.seed(7)  # noqa: NPY002
    second = {key: backward.sample(*key) for key in reversed(keys)}
    for key in keys:
        assert first[key].image.tobytes() == second[key].image.tobytes()
        assert first[key].mask.tobytes() == second[key].mask.tobytes()
    assert len({first[key].image.tobytes() for key in keys if key[2]}) == len(keys) // 2


def test_seed_subset_pattern_and_index_all_matter(screens: dict[str, np.ndarray]) -> None:
    base = generator(screens).overlay("01", 0)
    others = [
        generator(screens, seed=1).overlay("01", 0),
        generator(screens).overlay("01", 1),
        generator({"01": screens["01"], "02": screens["01"]}).overlay("02", 0),
        generator(screens, subset="line").overlay("01", 0),
    ]
    assert all((base.mask != other.mask).any() for other in others)


def test_fields_of_a_sample(screens: dict[str, np.ndarray]) -> None:
    sample = generator(screens).sample("03", 42, True)
    assert sample.sample_id == "mixed-03-d0042" == sample_name("mixed", "03", 42, True)
    assert generator(screens).sample("03", 42, False).sample_id == "mixed-03-c0042"
    assert sample.group == "03" and (sample.reference == screens["03"]).all()
    assert sample.image.shape == (SIZE, SIZE, 3) and sample.image.dtype == np.uint8
    assert sample.mask.shape == (SIZE, SIZE) and sample.mask.dtype == np.uint8


@pytest.mark.parametrize(("subset", "classes"), [("line", {0, 1}), ("abpt", {0, 2}), ("mixed", {0, 1, 2})])
def test_the_mask_is_exactly_where_the_screen_changed(
    screens: dict[str, np.ndarray], subset: str, classes: set[int]
) -> None:
    source = generator(screens, subset=subset)
    for name, screen in screens.items():
        for index in range(25):
            image, mask, _ = source.overlay(name, index)
            change = np.abs(image.astype(int) - screen).max(axis=-1)
            assert ((change > 0) == (mask > 0)).all()
            assert change[mask > 0].min() >= 3
            assert set(np.unique(mask)) == classes


def test_sample_is_the_overlay_when_no_effect_happens(screens: dict[str, np.ndarray]) -> None:
    source = generator(screens, screen=QUIET)
    for index in range(5):
        sample, overlay = source.sample("02", index, True), source.overlay("02", index)
        assert (sample.image == overlay.image).all() and (sample.mask == overlay.mask).all()


def test_clean_samples_have_no_mask_and_only_screen_effects(screens: dict[str, np.ndarray]) -> None:
    quiet = generator(screens, screen=QUIET).sample("01", 0, False)
    assert (quiet.image == screens["01"]).all() and not quiet.mask.any()
    noisy = generator(screens, screen=ScreenParams(probability=1.0))
    for index in range(10):
        sample = noisy.sample("01", index, False)
        assert not sample.mask.any() and (sample.image != sample.reference).mean() > 0.3
    # Without noise an effect is a function of the grey level of each channel alone.
    still = ScreenParams(probability=1.0, noise_sigma=1e-3)
    sample = generator(screens, screen=still).sample("01", 3, False)
    for channel in range(3):
        before, after = screens["01"][..., channel].ravel(), sample.image[..., channel].ravel()
        assert all(len(np.unique(after[before == level])) == 1 for level in np.unique(before))


def test_lines_reach_from_one_side_to_the_other(screens: dict[str, np.ndarray]) -> None:
    params = LineParams(areas=(1,), opacity=Range(low=0.5, high=0.5, step=1))
    source = generator(screens, subset="line", line=params)
    for index in range(20):
        _, mask, (line,) = source.overlay("03", index)
        assert isinstance(line, LineDefect)
        along = mask if line.vertical else mask.T
        # A line has gaps only where it crosses its own colour, and those are less than half of it.
        assert along[:, line.start : line.start + line.width].mean() >= 0.5
        rows = np.flatnonzero(along.any(axis=1))
        assert rows[0] < SIZE / 2 < rows[-1]


def test_a_line_on_a_plain_screen_has_no_gap() -> None:
    source = generator({"grey": np.full((SIZE, SIZE, 3), 128, np.uint8)}, subset="line")
    for index in range(20):
        _, mask, lines = source.overlay("grey", index)
        for line in lines:
            assert isinstance(line, LineDefect)
            along = mask if line.vertical else mask.T
            assert (along[:, line.start : line.start + line.width] == 1).all()


def test_faint_defects_occur_and_their_masks_stay_exact(screens: dict[str, np.ndarray]) -> None:
    faint = Range(low=0.1, high=0.1, step=0.1)
    source = generator(screens, line=LineParams(opacity=faint), abpt=AbptParams(opacity=faint))
    changes = []
    for index in range(30):
        image, mask, _ = source.overlay("01", index)
        change = np.abs(image.astype(int) - screens["01"]).max(axis=-1)
        assert ((change > 0) == (mask > 0)).all()
        changes.append(change[mask == 1].max())
    # Ten per cent of at most 255 grey levels, twice where two lines cross.
    assert max(changes) <= 51 and np.median(changes) <= 26


def test_defects_that_never_show_are_an_error(screens: dict[str, np.ndarray]) -> None:
    hidden = Range(low=0.001, high=0.001, step=1)
    source = generator(screens, subset="line", line=LineParams(opacity=hidden))
    with pytest.raises(ValueError, match=r"no line defect shows on pattern 01.*raise line\.opacity"):
        source.overlay("01", 0)


@pytest.mark.parametrize("size", [32, 33, 101])
def test_small_and_odd_sizes(render_screen: Callable[[int, int], np.ndarray], size: int) -> None:
    screen = render_screen(size, 0)
    source = generator({"x": screen}, size=size)
    for index in range(15):
        image, mask, _ = source.overlay("x", index)
        assert ((image != screen).any(axis=-1) == (mask > 0)).all() and {1, 2} <= set(np.unique(mask))


def test_wrong_patterns_are_refused(screens: dict[str, np.ndarray]) -> None:
    with pytest.raises(ValueError, match=r"pattern 01 .*\(96, 96, 3\).*\(64, 64, 3\).*load_patterns"):
        generator(screens, size=64)
    with pytest.raises(ValueError, match="float64"):
        generator({"01": screens["01"].astype(float)})
    with pytest.raises(KeyError, match=r"no pattern '99'; loaded are \['01', '02', '03'\]"):
        generator(screens).sample("99", 0, False)
