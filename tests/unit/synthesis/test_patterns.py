"""The ten patterns and their zones."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from cadnet.images import write_png
from cadnet.synthesis import zones
from cadnet.synthesis.patterns import (
    PATTERN_NAMES,
    PATTERNS,
    PatternError,
    load_patterns,
    main,
    save_patterns,
)
from cadnet.synthesis.portraits import draw_portrait

R, G, B, K, W = (255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0), (255, 255, 255)


def test_block_grid_fills_quadrants_and_widens_a_short_last_row() -> None:
    out = zones.block_grid(40, 60, (R, G, B, K), 2)
    assert [tuple(out[y, x]) for y, x in ((5, 5), (5, 55), (35, 5), (35, 55))] == [R, G, B, K]
    short = zones.block_grid(40, 60, (R, G, B), 2)
    assert (short[20:] == B).all() and tuple(short[0, 0]) == R


def test_block_frames_and_windows() -> None:
    frames = zones.block_frames(60, 60, (R, G, B))
    assert [tuple(frames[30, x]) for x in (5, 15, 30)] == [R, G, B]
    windows = zones.block_windows(60, 60, (R, G, B, K), 2)
    assert tuple(windows[2, 2]) == R and tuple(windows[15, 15]) == B


def test_grey_transitions_run_from_black_to_white() -> None:
    across = zones.grey_horizontal(4, 256)
    assert (across[0, :, 0] == np.arange(256)).all() and (across[0] == across[3]).all()
    down = zones.grey_vertical(256, 4)
    assert down[0, 0, 0] == 255 and down[-1, 0, 0] == 0
    assert np.unique(zones.grey_horizontal(2, 100, steps=5)).tolist() == [0, 64, 128, 191, 255]
    opposed = zones.grey_opposed(20, 256, 2)
    assert opposed[0, 0, 0] == 0 and opposed[19, 0, 0] == 255
    radial = zones.grey_radial(51, 51)
    assert radial[25, 25, 0] == 255 and radial[0, 0, 0] < 10


def test_charts_show_their_primaries() -> None:
    triangle = zones.chart_triangle(100, 100).astype(int)
    for row, column, channel in ((93, 9, 0), (6, 50, 1), (93, 91, 2)):
        pixel = triangle[row, column]
        assert pixel[channel] == 255 and np.delete(pixel, channel).max() < 60
    wheel = zones.chart_wheel(101, 101, paper=(9, 9, 9))
    assert tuple(wheel[0, 0]) == (9, 9, 9) and (wheel[50, 50] > 245).all()
    ramps = zones.chart_ramps(30, 101, (R, G, B))
    assert [tuple(ramps[5 + 10 * i, 50]) for i in range(3)] == [R, G, B]
    assert tuple(ramps[0, 0]) == K and tuple(ramps[0, 100]) == W
    spectrum = zones.chart_spectrum(64, 64)
    assert (spectrum[5, 20] > 230).all() and spectrum[59].max() < 20
    patches = zones.chart_patches(40, 60, 2, 6, paper=(7, 7, 7))
    assert tuple(patches[10, 5]) == R and tuple(patches[0, 0]) == (7, 7, 7)


@pytest.mark.parametrize("font", range(6))
def test_text_stays_in_its_zone_with_its_colours(font: int) -> None:
    out = zones.text_block(120, 240, ("ABC 123", "a longer second line"), (R, B), W, font)
    for rows, ink in ((out[:60], R), (out[60:], B)):
        assert 0.01 < (rows == ink).all(axis=-1).mean() < 0.5
    frame = np.concatenate((out[0], out[-1], out[:, 0], out[:, -1]))
    assert (frame == 255).all()


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("skimage")
    folder = tmp_path_factory.mktemp("patterns")
    save_patterns(folder, 256)
    return folder


def test_ten_different_patterns_with_five_zones(drawn: Path) -> None:
    patterns = load_patterns(drawn, 256)
    assert tuple(patterns) == PATTERN_NAMES
    pictures = list(patterns.values())
    for i, one in enumerate(pictures):
        assert one.shape == (256, 256, 3) and one.dtype == np.uint8
        for other in pictures[i + 1 :]:
            assert (one != other).any(axis=-1).mean() > 0.3
        # Top left: few pure colours. Bottom left: grey only. Bottom right: a photograph with many colours.
        assert len(np.unique(one[:100, :110].reshape(-1, 3), axis=0)) <= 10
        assert (np.ptp(one[180:, :110].astype(int), axis=-1) == 0).all()
        assert len(np.unique(one[180:, 150:].reshape(-1, 3), axis=0)) > 150


def test_patterns_are_the_same_bytes_again(drawn: Path, tmp_path: Path) -> None:
    for path in save_patterns(tmp_path, 256):
        assert path.read_bytes() == (drawn / path.name).read_bytes()


def test_no_photograph_and_no_face_is_in_two_patterns() -> None:
    sources = {design.picture.source for design in PATTERNS}
    portraits = {design.picture.portrait for design in PATTERNS}
    assert len(sources) == 10 and sources - {"astronaut", "grace_hopper"} == {
        design.picture.source for design in PATTERNS if design.picture.portrait
    }
    assert len(portraits - {None}) == 8


def test_a_portrait_has_skin_in_the_middle_hair_above_and_its_backdrop_at_the_corners() -> None:
    backdrop = np.full((200, 180, 3), (0, 90, 255), np.uint8)
    portraits = [design.picture.portrait for design in PATTERNS if design.picture.portrait]
    drawn = [draw_portrait(backdrop, portrait) for portrait in portraits]
    for portrait, picture in zip(portraits, drawn, strict=True):
        assert (picture[:20, :12] == (0, 90, 255)).all() and (picture[:20, -12:] == (0, 90, 255)).all()
        for rows, color in ((slice(90, 110), portrait.skin), (slice(14, 30), portrait.hair)):
            found = picture[rows, 75:105].reshape(-1, 3).astype(float).mean(axis=0)
            wanted = np.asarray(color, float)
            # The light decides how bright it is, not its hue.
            assert np.dot(found, wanted) / np.linalg.norm(found) / np.linalg.norm(wanted) > 0.97
        clothes = picture[-6:, 60:120].reshape(-1, 3).astype(float).mean(axis=0)
        assert np.abs(clothes - np.asarray(portrait.clothes)).max() < 60
    for i, one in enumerate(drawn):
        assert all(np.abs(one.astype(int) - other).mean() > 8 for other in drawn[i + 1 :])
    assert (draw_portrait(backdrop, portraits[0]) == drawn[0]).all()


def test_loading_resizes(drawn: Path) -> None:
    whole = load_patterns(drawn, 256, ["03"])["03"]
    half = load_patterns(drawn, 128, ["03"])["03"]
    means = whole.reshape(128, 2, 128, 2, 3).astype(float).mean(axis=(1, 3))
    assert np.abs(half - means).max() <= 0.51
    assert load_patterns(drawn, 300, ["03"])["03"].shape == (300, 300, 3)


def test_all_unusable_patterns_are_named_with_the_cure(tmp_path: Path) -> None:
    good = np.full((64, 64, 3), 90, np.uint8)
    write_png(tmp_path / "01.png", good)
    whole = (tmp_path / "01.png").read_bytes()
    (tmp_path / "02.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "03.png").write_bytes(b"")
    write_png(tmp_path / "04.png", good[:32])
    with pytest.raises(PatternError) as caught:
        load_patterns(tmp_path, 64, ["01", "02", "03", "04", "05"])
    text = str(caught.value)
    assert text.startswith("4 of 5 clean patterns")
    assert "02.png is cut short" in text and "03.png cannot be decoded" in text
    assert "04.png is 64 x 32, not square" in text and "05.png does not exist" in text
    assert "dvc pull data/synlcd" in text and "cadnet.synthesis.patterns --out" in text


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("skimage")
    with pytest.raises(SystemExit) as ended:
        main(["--out", str(tmp_path / "out"), "--size", "64"])
    assert ended.value.code == 0 and "wrote 10 patterns" in capsys.readouterr().err
    assert cv2.imread(str(tmp_path / "out" / "10.png")).shape == (64, 64, 3)


def test_missing_scikit_image_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(SystemExit) as ended:
        main(["--out", str(tmp_path / "out")])
    assert ended.value.code == 1 and "pip install 'cadnet[patterns]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
