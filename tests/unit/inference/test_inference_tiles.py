"""Large images in tiles, small and odd ones, and encoded references that are kept."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from inference_fakes import Appearance, Known, make_product, texture
from torch import nn

from cadnet.images.tiles import starts
from cadnet.inference import Predictor
from cadnet.inference.caching import ByteCache
from cadnet.models.weights import load_model
from cadnet.types import SegOutput


class TestSeams:
    @pytest.mark.parametrize("shape", [(70, 101), (32, 65), (64, 64)])
    def test_tiles_give_what_the_whole_image_gives(
        self, tmp_path: Path, model: Path, shape: tuple[int, int]
    ) -> None:
        image = texture(*shape)
        image[20:50, 25:60] += np.array([40, 0, 100], np.uint8)  # over several tiles: one piece
        product = make_product(tmp_path, {"clean": texture(*shape)}, model, size=32)
        tiled = Predictor(product, "cpu", batch_size=4, network=Known()).predict(image)
        product = make_product(tmp_path, {"clean": texture(*shape)}, model, size=128)
        whole = Predictor(product, "cpu", network=Known()).predict(image)
        np.testing.assert_allclose(tiled.probability, whole.probability, atol=1e-5)
        np.testing.assert_array_equal(tiled.labels, whole.labels)
        assert [d.box for d in tiled.defects] == [d.box for d in whole.defects]
        assert len(tiled.defects) == 1

    def test_tiles_that_disagree_pass_into_each_other(self, tmp_path: Path, model: Path) -> None:
        # A left half of red 0 and a right half of 255: every tile says one number for all of its pixels.
        image = np.zeros((32, 128, 3), np.uint8)
        image[:, 64:, 0] = 255
        product = make_product(tmp_path, {}, model, size=32)
        steps = {}
        for overlap in (0.0, 0.25):
            judge = Predictor(product, "cpu", network=Appearance(), overlap=overlap)
            row = judge.predict(image).probability[16]
            steps[overlap] = float(np.abs(np.diff(row)).max())
        jump = 0.9046 - 0.1074  # sigmoid of the normalised red of 255, and of 0
        assert steps[0.0] == pytest.approx(jump, abs=1e-3)
        # Over 8 shared pixels the weight moves by 1/9 at a time.
        assert steps[0.25] <= jump / 9 + 1e-3


class TestSizes:
    @pytest.mark.parametrize("shape", [(20, 13), (31, 90), (33, 47), (65, 129), (1, 1)])
    def test_odd_and_small_sizes(self, tmp_path: Path, model: Path, shape: tuple[int, int]) -> None:
        image = np.random.default_rng(0).integers(0, 255, (*shape, 3), dtype=np.uint8)
        product = make_product(tmp_path, {"clean": image}, model, size=64)
        found = Predictor(product, "cpu").predict(image)
        assert found.labels.shape == found.probability.shape == shape
        assert np.isfinite(found.probability).all()
        assert found.probability.min() >= 0 and found.probability.max() <= 1

    def test_what_is_added_to_a_small_image_is_no_defect(self, tmp_path: Path, model: Path) -> None:
        product = make_product(tmp_path, {"clean": texture(20, 13)}, model)
        image = texture(20, 13)
        image[19, 12] += np.array([140, 0, 0], np.uint8)  # the corner that is repeated
        (defect,) = Predictor(product, "cpu", network=Known()).predict(image).defects
        assert (defect.area, defect.box) == (1, (12, 19, 13, 20))


class TestKeptReferences:
    @pytest.mark.parametrize("shape", [(48, 48), (80, 112)])
    def test_results_are_those_without_a_cache(
        self, tmp_path: Path, model: Path, shape: tuple[int, int]
    ) -> None:
        product = make_product(tmp_path, {"clean": texture(*shape)}, model, size=48)
        images = [texture(*shape, seed=seed) // 2 + texture(*shape) // 2 for seed in range(5)]
        first = Predictor(product, "cpu", batch_size=3, cache_bytes=0)
        values = np.sort([item.probability for item in first.predict_many(images, "clean")], axis=None)
        middle = values[len(values) // 3 : -len(values) // 3]
        # In the widest gap between probabilities, so that rounding decides no pixel.
        widest = int(np.diff(middle).argmax())
        threshold = float(middle[widest : widest + 2].mean())
        found = []
        for cache_bytes in (0, 2**20, 2**30):
            judge = Predictor(product, "cpu", 3, cache_bytes=cache_bytes, threshold=threshold)
            found.append(list(judge.predict_many(images, "clean")))
        for expected, *others in zip(*found, strict=True):
            for item in others:
                torch.testing.assert_close(item.probability, expected.probability, atol=2e-5, rtol=2e-5)
                np.testing.assert_array_equal(item.labels, expected.labels)
                assert [d.box for d in item.defects] == [d.box for d in expected.defects]
        share = np.mean([item.labels > 0 for item in found[0]])
        assert 0.3 < share < 0.7

    def test_each_tile_of_a_reference_is_encoded_once(self, tmp_path: Path, model: Path) -> None:
        clean = {"a": texture(40, 80), "b": texture(40, 80, seed=1)}
        product = make_product(tmp_path, clean, model, size=40)
        network = Known()
        predictor = Predictor(product, "cpu", batch_size=4, network=network)
        tiles = len(starts(40, 40, 0.25)) * len(starts(80, 40, 0.25))
        list(predictor.predict_many([clean["a"]] * 20))
        assert network.encoded == tiles == 3
        list(predictor.predict_many([clean["b"], clean["a"]] * 5))
        predictor.predict(clean["a"])
        assert network.encoded == 2 * tiles

    def test_without_a_cache_every_image_pays(self, tmp_path: Path, model: Path) -> None:
        network = Known()
        product = make_product(tmp_path, {"a": texture(40, 40)}, model)
        list(Predictor(product, "cpu", cache_bytes=0, network=network).predict_many([texture(40, 40)] * 6))
        assert network.encoded == 6

    def test_batches_are_full_however_many_tiles_an_image_has(self, tmp_path: Path, model: Path) -> None:
        network = Known()
        product = make_product(tmp_path, {"a": texture(70, 101)}, model, size=32)
        Predictor(product, "cpu", batch_size=5, network=network).predict(texture(70, 101))
        assert network.batches == [5, 5, 2]

    def test_the_encoder_sees_half_as_many_pictures(self, tmp_path: Path, model: Path) -> None:
        product = make_product(tmp_path, {"a": texture(40, 40)}, model)
        network, _ = load_model(model)
        seen: list[int] = []
        network.get_submodule("encoder").register_forward_hook(
            lambda _, given, __: seen.append(len(given[0]))
        )
        images = [texture(40, 40)] * 16
        list(Predictor(product, "cpu", cache_bytes=0, network=network).predict_many(images))
        uncached = sum(seen)
        predictor = Predictor(product, "cpu", network=network)
        predictor.predict(images[0])
        seen.clear()
        list(predictor.predict_many(images))
        assert (uncached, sum(seen)) == (32, 16)


class TestByteCache:
    def test_the_group_used_least_recently_goes_first(self) -> None:
        cache: ByteCache[str] = ByteCache(30)
        for group in "abc":
            cache.put(group, 0, group.upper(), 10)
        assert cache.get("a", 0) == "A"
        cache.put("d", 0, "D", 10)
        assert [cache.get(group, 0) for group in "abcd"] == ["A", None, "C", "D"]
        assert (cache.used, len(cache)) == (30, 3)

    def test_a_group_does_not_push_out_its_own(self) -> None:
        cache: ByteCache[int] = ByteCache(25)
        cache.put("other", 0, 0, 20)
        for key in range(4):
            cache.put("a", key, key, 10)
        assert [cache.get("a", key) for key in range(4)] == [0, 1, None, None]
        assert cache.get("other", 0) is None and cache.used == 20

    def test_a_value_is_replaced(self) -> None:
        cache: ByteCache[int] = ByteCache(10)
        cache.put("a", 0, 1, 10)
        cache.put("a", 0, 2, 8)
        assert (cache.get("a", 0), cache.used) == (2, 8)
        cache.put("a", 0, 3, 11)
        assert (cache.get("a", 0), cache.used) == (None, 0)


def test_a_thousand_images_are_never_in_memory_together(tmp_path: Path, model: Path) -> None:
    class Alive(np.ndarray):
        """An array that may be looked at weakly, as all may, of a type of its own."""

    class Cheap(nn.Module):
        def encode(self, reference: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return (reference[:, :1],)

        def forward(
            self, image: torch.Tensor, reference: object = None, *, reference_features: object = None
        ) -> SegOutput:
            return SegOutput(image)

    alive: set[int] = set()
    most = 0

    def watch(array: np.ndarray) -> None:
        nonlocal most
        alive.add(id(array))
        weakref.finalize(array, alive.discard, id(array))
        most = max(most, len(alive))

    def images() -> Iterator[np.ndarray]:
        for _ in range(1000):
            image = clean.copy().view(Alive)
            watch(image)
            yield image
            del image

    clean = texture(32, 32)
    predictor = Predictor(make_product(tmp_path, {"a": clean}, model), "cpu", batch_size=8, network=Cheap())
    count = 0
    for item in predictor.predict_many(images()):
        watch(item.image)
        watch(item.labels)
        watch(item.probability)
        count += 1
        del item
    gc.collect()
    assert count == 1000 and most <= 3 * 8 and not alive
