from __future__ import annotations

import numpy as np
import pytest

from cadnet.config import ScreenParams
from cadnet.synthesis.screen import NoiseTile, ScreenEffects, apply_effects, sample_effects


@pytest.fixture(scope="module")
def noise() -> NoiseTile:
    return NoiseTile(64, np.random.default_rng(0))


def ramp() -> np.ndarray:
    return np.repeat(np.arange(64, dtype=np.uint8)[None, :, None] * 4, 64, axis=0).repeat(3, axis=2)


def test_effects_by_hand(noise: NoiseTile) -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    image[0, 0], image[0, 1] = (10, 100, 250), (200, 3, 0)
    effects = ScreenEffects(brightness=4, contrast=1.5, deviation=(12, 0, -12))
    out = apply_effects(image, effects, noise, 20, np.random.default_rng(0))
    assert out[0, 0].tolist() == [31, 154, 255] and out[0, 1].tolist() == [255, 8, 0]
    assert out[5, 5].tolist() == [16, 4, 0]


def test_no_effect_is_an_equal_copy(noise: NoiseTile) -> None:
    image = ramp()
    out = apply_effects(image, ScreenEffects(), noise, 20, np.random.default_rng(0))
    assert (out == image).all() and out is not image and not np.shares_memory(out, image)


@pytest.mark.parametrize("strength", [0.1, 0.5, 1.0])
def test_noise_has_its_deviation_and_shares_two_thirds_between_channels(
    noise: NoiseTile, strength: float
) -> None:
    grey = np.full((64, 64, 3), 128, np.uint8)
    rng = np.random.default_rng(1)
    change = np.concatenate(
        [
            apply_effects(grey, ScreenEffects(iso_noise=strength), noise, 20, rng)
            .astype(float)
            .reshape(-1, 3)
            - 128
            for _ in range(8)
        ]
    )
    assert change.std() == pytest.approx(20 * strength, rel=0.06) and abs(change.mean()) < 0.5
    assert np.corrcoef(change.T)[0, 1] == pytest.approx(2 / 3, abs=0.08)


def test_noise_windows_differ_and_repeat_with_their_seed(noise: NoiseTile) -> None:
    rng = np.random.default_rng(0)
    windows = [noise.window(10, rng) for _ in range(10)]
    assert len({window.tobytes() for window in windows}) == 10
    assert (noise.window(10, np.random.default_rng(0)) == windows[0]).all()
    assert windows[0].dtype == np.int16 and windows[0].shape == (64, 64, 3)


def test_effects_take_every_value_of_table_1_with_their_probability() -> None:
    rng = np.random.default_rng(0)
    drawn = [sample_effects(ScreenParams(), rng) for _ in range(2000)]
    assert {effect.brightness for effect in drawn} == {0, 1, 2, 3, 4, 5, 6}
    assert {round(effect.contrast, 6) for effect in drawn} == {round(0.5 + 0.1 * i, 6) for i in range(11)}
    assert {round(effect.iso_noise, 6) for effect in drawn} == {round(0.1 * i, 6) for i in range(11)}
    assert {abs(v) for effect in drawn for v in effect.deviation} == {0, *range(3, 34, 3)}
    happened = [[effect.brightness > 0, effect.iso_noise > 0, any(effect.deviation)] for effect in drawn]
    assert np.abs(np.mean(happened, axis=0) - 0.5).max() < 0.04
    colored = [effect.deviation for effect in drawn if any(effect.deviation)]
    assert all(len(set(deviation)) > 1 for deviation in colored), "a common shift is brightness"


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_probability_zero_and_one(probability: float) -> None:
    rng = np.random.default_rng(0)
    params = ScreenParams(probability=probability)
    for _ in range(50):
        effects = sample_effects(params, rng)
        assert (effects == ScreenEffects()) == (probability == 0)
        assert (effects.brightness > 0) == (effects.iso_noise > 0) == (probability == 1)
