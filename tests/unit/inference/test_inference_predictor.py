"""Predictions against numbers computed by hand, on a network whose output is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from inference_fakes import CLASSES, Appearance, Known, make_product, save_model, texture

from cadnet.images import ImageError, write_png
from cadnet.inference import Defect, Failure, PredictionError, Predictor, Product


@pytest.fixture
def predictor(product: Product) -> Predictor:
    return Predictor(product, "cpu", network=Known())


def added(
    red: int = 0, blue: int = 0, rows: slice = slice(5, 10), columns: slice = slice(10, 20)
) -> np.ndarray:
    image = texture(40, 48)
    image[rows, columns] += np.array([red, 0, blue], np.uint8)
    return image


class TestByHand:
    def test_a_box_of_one_class(self, predictor: Predictor) -> None:
        found = predictor.predict(added(red=90))
        assert found.verdict == "good" and found.defects == () and not found.labels.any()
        np.testing.assert_allclose(found.probability[5:10, 10:20], 90 / 255, atol=1e-5)
        low = Predictor(predictor.product, "cpu", network=Known(), threshold=0.3).predict(added(red=90))
        (defect,) = low.defects
        assert defect._replace(confidence=0) == Defect("line", (10, 5, 20, 10), 50, 0, (14.5, 7.0))
        assert defect.confidence == pytest.approx(90 / 255, abs=1e-5)
        assert low.verdict == "defective" and low.defect_pixels == 50
        assert low.labels.dtype == np.uint8 and low.probability.dtype == np.float32
        assert low.labels.sum() == 50 and low.labels[5:10, 10:20].all()

    def test_the_threshold_is_on_any_defect_and_the_likelier_class_wins(self, predictor: Predictor) -> None:
        # 0.24 + 0.35 = 0.59: neither class reaches a half, both together do.
        image = added(red=60, blue=90)
        found = predictor.predict(image)
        (defect,) = found.defects
        assert (defect.class_name, defect.area) == ("abpt", 50)
        assert defect.confidence == pytest.approx(150 / 255, abs=1e-5)
        assert set(np.unique(found.labels)) == {0, 2}

    def test_pieces_of_a_class_and_touching_classes_are_apart(self, predictor: Predictor) -> None:
        image = texture(40, 48)
        image[2:4, 2:4] = texture(40, 48)[2:4, 2:4] + np.array([95, 0, 0], np.uint8)
        image[4:6, 4:6] += np.array([95, 0, 0], np.uint8)  # touches at a corner: one piece
        image[2:4, 4:6] += np.array([0, 0, 95], np.uint8)  # another class beside it
        image[20, 20] += np.array([95, 0, 0], np.uint8)
        found = Predictor(predictor.product, "cpu", network=Known(), threshold=0.3).predict(image)
        assert [(d.class_name, d.box, d.area) for d in found.defects] == [
            ("line", (2, 2, 6, 6), 8),
            ("abpt", (4, 2, 6, 4), 4),
            ("line", (20, 20, 21, 21), 1),
        ]
        assert found.defects[0].centroid == (3.5, 3.5)

    def test_confidence_is_the_mean_over_the_piece(self, predictor: Predictor) -> None:
        image = added(red=80)
        image[5:10, 10:15] += np.array([15, 0, 0], np.uint8)
        found = Predictor(predictor.product, "cpu", network=Known(), threshold=0.3).predict(image)
        assert found.defects[0].confidence == pytest.approx((95 + 80) / 2 / 255, abs=1e-5)

    @pytest.mark.parametrize(("pixels", "verdict"), [(50, "defective"), (51, "good")])
    def test_an_image_is_defective_from_min_pixels_on(
        self, product: Product, pixels: int, verdict: str
    ) -> None:
        judge = Predictor(product, "cpu", network=Known(), threshold=0.3, min_pixels=pixels)
        assert judge.predict(added(red=90)).verdict == verdict

    def test_the_products_own_threshold_and_pixels_are_the_defaults(
        self, tmp_path: Path, model: Path
    ) -> None:
        product = make_product(tmp_path, {"clean": texture(40, 48)}, model, threshold=0.3, min_pixels=51)
        found = Predictor(product.folder, "cpu", network=Known()).predict(added(red=90))
        assert found.defect_pixels == 50 and found.verdict == "good"

    def test_the_clean_image_is_good(self, predictor: Predictor) -> None:
        found = predictor.predict(texture(40, 48))
        assert found.verdict == "good" and found.probability.max() < 1e-5
        assert found.reference is not None and found.reference.name == "clean"
        assert found.reference.difference == 0 and found.alignment is None
        assert found.seconds > 0 and found.notes == ()


class TestInputs:
    def test_grey_rgba_and_files(self, tmp_path: Path, model: Path) -> None:
        grey = texture(40, 48)[:, :, 0]
        rgb = np.repeat(grey[:, :, None], 3, axis=2)
        product = make_product(tmp_path, {"clean": rgb}, model)
        predictor = Predictor(product, "cpu", network=Known())
        changed = grey.copy()
        changed[3:5, 3:9] += 70
        as_rgb = np.repeat(changed[:, :, None], 3, axis=2)
        rgba = np.dstack([as_rgb, np.full_like(grey, 7)])
        write_png(tmp_path / "grey.png", changed)
        expected = predictor.predict(as_rgb)
        assert expected.defect_pixels == 12
        for image in (changed, changed[:, :, None], rgba, tmp_path / "grey.png", str(tmp_path / "grey.png")):
            np.testing.assert_array_equal(predictor.predict(image).probability, expected.probability)

    @pytest.mark.parametrize(
        "image",
        [
            np.zeros((40, 48, 3), np.float32),
            np.zeros((40, 48, 3), np.uint16),
            np.zeros((40, 48, 2), np.uint8),
            np.zeros((2, 40, 48, 3), np.uint8),
            np.zeros((0, 48, 3), np.uint8),
        ],
    )
    def test_other_arrays_are_refused(self, predictor: Predictor, image: np.ndarray) -> None:
        with pytest.raises(ImageError, match="give uint8"):
            predictor.predict(image)

    def test_the_callers_buffer_may_change_before_the_batch_is_full(self, predictor: Predictor) -> None:
        buffer = texture(40, 48)

        def camera() -> object:
            for red in (0, 140):
                buffer[:] = added(red=red, columns=slice(0, 4))
                yield buffer

        first, second = predictor.predict_many(camera())  # type: ignore[arg-type]
        assert first.verdict == "good" and second.verdict == "defective"

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"threshold": 1.0}, "threshold must be between 0 and 1"),
            ({"min_pixels": 0}, "min_pixels"),
            ({"batch_size": 0}, "batch_size"),
            ({"overlap": 1.0}, "overlap"),
            ({"cache_bytes": -1}, "cache_bytes"),
            ({"device": "tpu9"}, "device 'tpu9' cannot be used"),
        ],
    )
    def test_arguments_out_of_range(self, product: Product, options: dict[str, object], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            Predictor(product, **options)  # type: ignore[arg-type]


class TestMany:
    def test_results_come_in_order_whatever_the_sizes(self, tmp_path: Path, model: Path) -> None:
        sizes = {"a": (40, 48), "b": (32, 100)}
        product = make_product(tmp_path, {k: texture(*v) for k, v in sizes.items()}, model)
        images = []
        for index in range(9):
            image = texture(*sizes["ab"[index % 3 == 1]])
            image[0, :index] += np.array([95, 0, 0], np.uint8)
            images.append(image)
        predictor = Predictor(product, "cpu", batch_size=3, network=Known(), threshold=0.3)
        found = list(predictor.predict_many(iter(images)))
        assert [item.defect_pixels for item in found] == list(range(9))
        assert [item.reference.name for item in found if item.reference] == [*"abaabaaba"]

    def test_an_image_that_fails_leaves_the_others(self, predictor: Predictor) -> None:
        images = [texture(40, 48), np.zeros((40, 48, 3), np.float32), added(red=140, columns=slice(0, 4))]
        first, second, third = predictor.try_many(images)
        assert isinstance(second, Failure) and "float32" in second.reason
        assert not isinstance(first, Failure) and first.verdict == "good"
        assert not isinstance(third, Failure) and third.verdict == "defective"
        many = predictor.predict_many(images)
        assert next(many).verdict == "good"
        with pytest.raises(ImageError):
            next(many)

    def test_output_that_is_not_finite_fails_alone(self, product: Product) -> None:
        class Diverged(Known):
            def forward(self, image, reference=None, *, reference_features=None):  # type: ignore[no-untyped-def]
                output = super().forward(image, reference, reference_features=reference_features)
                output.logits[0, 0, 0, 0] = float("nan")
                return output

        first, second = Predictor(product, "cpu", network=Diverged()).try_many([texture(40, 48)] * 2)
        assert isinstance(first, Failure) and "not finite" in first.reason
        assert not isinstance(second, Failure)

    def test_a_network_of_other_classes(self, product: Product) -> None:
        class More(Known):
            def forward(self, image, reference=None, *, reference_features=None):  # type: ignore[no-untyped-def]
                output = super().forward(image, reference, reference_features=reference_features)
                return output._replace(logits=output.logits.repeat(1, 2, 1, 1))

        with pytest.raises(PredictionError, match="its classes are not those of the product"):
            Predictor(product, "cpu", network=More()).predict(texture(40, 48))

    def test_a_device_whose_memory_is_too_small(self, product: Product) -> None:
        class Large(Known):
            def encode(self, reference):  # type: ignore[no-untyped-def]
                raise torch.OutOfMemoryError("CUDA out of memory")

        with pytest.raises(PredictionError, match="does not hold 1 tiles of 48 x 40 pixels; make batches"):
            Predictor(product, "cpu", network=Large()).predict(texture(40, 48))


class TestAppearance:
    def test_networks_that_look_at_the_image_alone(self, tmp_path: Path, model: Path) -> None:
        product = make_product(tmp_path, {}, model)
        predictor = Predictor(product, "cpu", network=Appearance(), alignment=True)
        found = predictor.predict(np.full((40, 48, 3), 255, np.uint8), "whatever")
        assert found.reference is None and found.alignment is None
        (defect,) = found.defects
        # The normalised red of white is 2.249, whose sigmoid is 0.9046.
        assert defect.class_name == CLASSES[0] and defect.confidence == pytest.approx(0.9046, abs=1e-4)

    def test_a_trained_one(self, tmp_path: Path) -> None:
        product = make_product(tmp_path, {}, save_model(tmp_path / "model", "segformer"))
        found = Predictor(product, "cpu").predict(texture(33, 47))
        assert found.labels.shape == (33, 47) and found.reference is None
