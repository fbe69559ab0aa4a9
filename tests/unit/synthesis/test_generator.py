from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from cadnet.config import AbptParams, LineParams, Range, ScreenParams, SynLCDParams
from cadnet.synthesis.defects import LineDefect
from cadnet.synthesis.generator import SynLCDGenerator, classes_of, sample_name

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


SUBSETS = [
    ("line", {1}), ("abpt", {2}), ("mixed", {1, 2}), ("mura", {3}), ("pixel", {4}), ("all", {1, 2, 3, 4})
]  # fmt: skip


@pytest.mark.parametrize(("subset", "classes"), SUBSETS)
def test_visible_masks_are_where_the_screen_changed_and_whole_ones_hold_them(
    screens: dict[str, np.ndarray], subset: str, classes: set[int]
) -> None:
    visible, whole = (generator(screens, subset=subset, masks=masks) for masks in ("visible", "geometry"))
    for name, screen in screens.items():
        for index in range(15):
            image, mask, _ = visible.overlay(name, index)
            change = np.abs(image.astype(int) - screen).max(axis=-1)
            assert ((change >= 3) == (mask > 0)).all()
            same, geometry, _ = whole.overlay(name, index)
            assert (same == image).all() and (geometry[mask > 0] == mask[mask > 0]).all()
            assert set(np.unique(mask)) == set(np.unique(geometry)) == {0} | classes


def test_kinds_beyond_the_papers_have_classes_of_their_own() -> None:
    for subset, wanted in SUBSETS:
        classes = classes_of(SynLCDParams(subset=subset))  # type: ignore[arg-type]
        assert len(classes) == (2 if wanted <= {1, 2} else 4)
        assert classes == ("line", "abpt", "mura", "pixel")[: len(classes)]


def test_a_frame_is_on_samples_and_reference_alike_and_hides_defects(
    screens: dict[str, np.ndarray],
) -> None:
    framed = ScreenParams(
        probability=0.0, bezel=Range(low=20, high=40, step=1), corner=Range(low=40, high=80, step=1)
    )
    source = generator(screens, subset="all", screen=framed)
    references = [source.reference(name) for name in screens]
    edges = [(reference[SIZE // 2] == (16, 16, 18)).all(axis=-1) for reference in references]
    assert len({int(edge.sum()) for edge in edges}) > 1, "patterns differ in their frame"
    for name, reference in zip(screens, references, strict=True):
        hidden = (reference == (16, 16, 18)).all(axis=-1)
        assert hidden[:3].all() and hidden[:, :3].all() and 0.1 < hidden.mean() < 0.5
        for index in range(5):
            sample = source.sample(name, index, True)
            assert (sample.reference == reference).all()
            assert (sample.image[hidden] == (16, 16, 18)).all() and not sample.mask[hidden].any()
            assert set(np.unique(sample.mask)) == {0, 1, 2, 3, 4}


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
    # Without noise and texture an effect is a function of the grey level of each channel alone.
    still = ScreenParams(probability=1.0, noise_sigma=1e-3, texture=Range(low=0, high=0, step=1))
    sample = generator(screens, screen=still).sample("01", 3, False)
    for channel in range(3):
        before, after = screens["01"][..., channel].ravel(), sample.image[..., channel].ravel()
        assert all(len(np.unique(after[before == level])) == 1 for level in np.unique(before))


def test_lines_reach_from_one_side_to_the_other(screens: dict[str, np.ndarray]) -> None:
    params = LineParams(areas=(1,), opacity=Range(low=0.5, high=0.5, step=1))
    source = generator(screens, subset="line", line=params)
    gaps = generator(screens, subset="line", line=params, masks="visible")
    assert any((gaps.overlay("03", i).mask != source.overlay("03", i).mask).any() for i in range(20))
    for index in range(20):
        _, mask, (line,) = source.overlay("03", index)
        assert isinstance(line, LineDefect)
        along = mask if line.vertical else mask.T
        assert (along[:, line.start : line.start + line.width] == 1).all()


def test_faint_defects_occur_and_their_masks_stay_exact(screens: dict[str, np.ndarray]) -> None:
    faint = Range(low=0.1, high=0.1, step=0.1)
    source = generator(
        screens, line=LineParams(opacity=faint), abpt=AbptParams(opacity=faint), masks="visible"
    )
    changes = []
    for index in range(30):
        image, mask, _ = source.overlay("01", index)
        change = np.abs(image.astype(int) - screens["01"]).max(axis=-1)
        assert ((change >= 3) == (mask > 0)).all()
        changes.append(change[mask == 1].max())
    # Ten per cent of at most 255 grey levels, twice where two lines cross.
    assert max(changes) <= 51 and np.median(changes) <= 26


def test_defects_that_never_show_are_an_error(screens: dict[str, np.ndarray]) -> None:
    hidden = Range(low=0.001, high=0.001, step=1)
    source = generator(screens, subset="line", line=LineParams(opacity=hidden))
    with pytest.raises(ValueError, match=r"no line defect shows on pattern 01.*raise its opacity"):
        source.overlay("01", 0)


@pytest.mark.parametrize("size", [32, 33, 101])
def test_small_and_odd_sizes(render_screen: Callable[[int, int], np.ndarray], size: int) -> None:
    screen = render_screen(size, 0)
    source = generator({"x": screen}, size=size)
    for index in range(15):
        image, mask, _ = source.overlay("x", index)
        change = np.abs(image.astype(int) - screen).max(axis=-1)
        assert change[mask == 0].max() < 3 and {1, 2} <= set(np.unique(mask))


def test_wrong_patterns_are_refused(screens: dict[str, np.ndarray]) -> None:
    with pytest.raises(ValueError, match=r"pattern 01 .*\(96, 96, 3\).*\(64, 64, 3\).*load_patterns"):
        generator(screens, size=64)
    with pytest.raises(ValueError, match="float64"):
        generator({"01": screens["01"].astype(float)})
    with pytest.raises(KeyError, match=r"no pattern '99'; loaded are \['01', '02', '03'\]"):
        generator(screens).sample("99", 0, False)
