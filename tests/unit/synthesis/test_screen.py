from __future__ import annotations

import numpy as np
import pytest

from cadnet.config import Range, ScreenParams
from cadnet.synthesis.screen import ScreenEffects, Texture, apply_effects, frame, sample_effects


def grey(level: int, size: int = 64) -> np.ndarray:
    return np.full((size, size, 3), level, np.uint8)


def noise_of(strength: float, seed: int, size: int = 64) -> np.ndarray:
    """Noise alone, in grey levels, float (size, size, 3)."""
    out = apply_effects(grey(128, size), ScreenEffects(iso_noise=strength), 20, np.random.default_rng(seed))
    return out.astype(float) - 128


def test_effects_by_hand() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    image[0, 0], image[0, 1] = (10, 100, 250), (200, 3, 0)
    effects = ScreenEffects(brightness=4, contrast=1.5, deviation=(12, 0, -12))
    out = apply_effects(image, effects, 20, np.random.default_rng(0))
    assert out[0, 0].tolist() == [31, 154, 255] and out[0, 1].tolist() == [255, 8, 0]
    assert out[5, 5].tolist() == [16, 4, 0]
    image[0, 0] = (0, 64, 255)
    out = apply_effects(image, ScreenEffects(gamma=2.0), 20, np.random.default_rng(0))
    assert out[0, 0].tolist() == [0, 16, 255]


def test_no_effect_is_an_equal_copy() -> None:
    image = np.repeat(np.arange(64, dtype=np.uint8)[None, :, None] * 4, 64, axis=0).repeat(3, axis=2)
    out = apply_effects(image, ScreenEffects(), 20, np.random.default_rng(0))
    assert (out == image).all() and not np.shares_memory(out, image)


@pytest.mark.parametrize("strength", [0.1, 0.5, 1.0])
def test_noise_has_its_deviation_and_shares_two_thirds_between_channels(strength: float) -> None:
    change = np.concatenate([noise_of(strength, seed).reshape(-1, 3) for seed in range(8)])
    assert change.std() == pytest.approx(20 * strength, rel=0.06) and abs(change.mean()) < 0.5
    assert np.corrcoef(change.T)[0, 1] == pytest.approx(2 / 3, abs=0.08)


def test_samples_share_no_noise_however_it_is_shifted_turned_or_flipped() -> None:
    one, other = noise_of(1.0, 0).mean(axis=-1), noise_of(1.0, 1).mean(axis=-1)
    assert (noise_of(1.0, 0).mean(axis=-1) == one).all()
    spectrum = np.fft.fft2(one)
    for turned in (np.rot90(other, i) for i in range(4)):
        for flipped in (turned, turned[:, ::-1]):
            match = np.fft.ifft2(spectrum * np.conj(np.fft.fft2(flipped))).real / one.size
            # Of independent pictures of 64 x 64 pixels, 1 / 64 is one standard deviation.
            assert np.abs(match).max() / (one.std() * other.std()) < 6.5 / 64


@pytest.mark.parametrize(("pitch", "period"), [(4.0, 4.0), (16.0, 16.0), (0.96, 24.0), (64 / 63, 64.0)])
def test_a_pitch_below_two_pixels_turns_into_moire(pitch: float, period: float) -> None:
    texture = Texture(depth=0.4, pitch=pitch, tilt=0.0, start=(0.0, 0.0), bend=0.0)
    out = apply_effects(grey(255, 192), ScreenEffects(texture=texture), 20, np.random.default_rng(0))
    assert out.max() <= 255 and out.min() >= 255 * 0.6 - 2
    for axis in (0, 1):
        strength = np.abs(np.fft.rfft(out.mean(axis=axis)[:, 1] - out.mean(axis=axis)[:, 1].mean()))
        assert 192 / np.argmax(strength) == pytest.approx(period)


def test_texture_shifts_channels_by_thirds_and_bends() -> None:
    straight = Texture(depth=0.5, pitch=12.0, tilt=0.0, start=(0.25, 0.5), bend=0.0)
    rng = np.random.default_rng(0)
    columns = apply_effects(grey(200, 96), ScreenEffects(texture=straight), 20, rng).mean(axis=0)
    assert np.abs(columns[4:, 0] - columns[:-4, 1]).max() < 1.5, "red comes a third of 12 pixels later"
    assert columns[:, 0].std() > 5
    black = apply_effects(grey(0), ScreenEffects(texture=straight), 20, rng)
    assert not black.any(), "what gives no light shows no grid"
    bent = Texture(depth=0.5, pitch=12.0, tilt=0.0, start=(0.25, 0.5), bend=1.0)
    curved = apply_effects(grey(200, 96), ScreenEffects(texture=bent), 20, rng)
    assert (curved[:, 0] != curved[:, 0][:1]).any()


@pytest.mark.parametrize("size", [64, 101, 512])
def test_frame_has_its_width_and_radius_and_keeps_the_whole_pattern(size: int) -> None:
    pattern = np.repeat(np.linspace(0, 255, size).astype(np.uint8)[None, :, None], size, 0).repeat(3, 2)
    one = {"bezel": Range(low=32, high=32, step=1), "corner": Range(low=64, high=64, step=1)}
    screen, hidden = frame(pattern, ScreenParams(**one), np.random.default_rng(0))
    edge, radius = round(size / 16), size / 8
    assert (hidden == hidden.T).all() and (hidden == hidden[::-1]).all()
    assert hidden[:edge, :].all() and not hidden[edge, size // 2]
    corners = (2 * edge) * size * 2 - 4 * edge**2 + (4 - np.pi) * radius**2
    assert hidden.sum() == pytest.approx(corners, rel=0.04)
    shown = screen[size // 2][~hidden[size // 2]]
    assert len(shown) == size - 2 * edge and shown.min() <= 3 and shown.max() >= 252
    plain, nothing = frame(pattern, ScreenParams(), np.random.default_rng(0))
    assert not nothing.any() and (plain == pattern).all()


def test_effects_take_every_value_of_table_1_with_their_probability() -> None:
    rng = np.random.default_rng(0)
    drawn = [sample_effects(ScreenParams(), rng) for _ in range(2000)]
    assert {effect.brightness for effect in drawn} == {0, 1, 2, 3, 4, 5, 6}
    assert {round(effect.contrast, 6) for effect in drawn} == {round(0.5 + 0.1 * i, 6) for i in range(11)}
    assert {round(effect.iso_noise, 6) for effect in drawn} == {round(0.1 * i, 6) for i in range(11)}
    assert {abs(v) for effect in drawn for v in effect.deviation} == {0, *range(3, 34, 3)}
    happened = [[effect.brightness > 0, effect.iso_noise > 0, any(effect.deviation)] for effect in drawn]
    happened = np.column_stack([happened, [effect.texture is not None for effect in drawn]])
    assert np.abs(np.mean(happened, axis=0) - 0.5).max() < 0.04
    assert {round(effect.gamma, 6) for effect in drawn} == {round(0.7 + 0.1 * i, 6) for i in range(8)}
    textures = [effect.texture for effect in drawn if effect.texture]
    assert {round(texture.depth, 6) for texture in textures} == {0.04, 0.08, 0.12, 0.16, 0.2}
    assert {round(texture.pitch, 6) for texture in textures} == {round(0.9 + 0.05 * i, 6) for i in range(45)}
    assert {round(np.degrees(texture.tilt), 6) for texture in textures} == {0.5 * i for i in range(-12, 13)}
    assert len({(*texture.start, texture.bend) for texture in textures}) == len(textures)
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
        assert (effects.texture is not None) == (probability == 1)
