"""Which reference is taken, and images that fit none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from inference_fakes import Known, make_product, texture

from cadnet.config import AlignmentParams
from cadnet.inference import PredictionError, Predictor
from tests.fake_pairs import pattern, plain


class TestChoice:
    @pytest.fixture
    def predictor(self, tmp_path: Path, model: Path) -> Predictor:
        clean = {"red": plain(110, 20, 20), "green": plain(20, 110, 20), "pattern": pattern(0, 40)}
        return Predictor(make_product(tmp_path, clean, model), "cpu", network=Known())

    def test_the_nearest(self, predictor: Predictor) -> None:
        for name, image in (("red", plain(112, 18, 25)), ("pattern", pattern(0, 40))):
            found = predictor.predict(image)
            assert found.reference is not None and found.reference.name == name
            assert found.reference.difference is not None and found.reference.difference < 5
            assert len(found.reference.sha256) == 64 and found.notes == ()

    def test_another_product_is_refused_unless_the_reference_is_named(self, predictor: Predictor) -> None:
        white = plain(255, 255, 255)
        with pytest.raises(
            PredictionError, match=r"fits no reference of product 'screen'.* name the reference"
        ):
            predictor.predict(white)
        found = predictor.predict(white, "red")
        assert found.reference is not None and found.reference.difference is None
        assert found.verdict == "defective"

    def test_also_when_there_is_but_one(self, tmp_path: Path, model: Path) -> None:
        product = make_product(tmp_path, {"clean": plain(20, 20, 20)}, model)
        with pytest.raises(PredictionError, match="differs from the nearest, 'clean', by 180 grey levels"):
            Predictor(product, "cpu", network=Known()).predict(plain(200, 200, 200))

    def test_two_that_fit_are_said(self, tmp_path: Path, model: Path) -> None:
        clean = {"first": plain(100, 100, 100), "second": plain(101, 100, 100)}
        found = Predictor(make_product(tmp_path, clean, model), "cpu", network=Known()).predict(
            plain(100, 100, 100)
        )
        assert found.reference is not None and found.reference.name == "first"
        assert len(found.notes) == 1 and "two references fit: first" in found.notes[0]

    def test_a_name_that_is_not_there(self, predictor: Predictor) -> None:
        with pytest.raises(PredictionError, match=r"no reference 'gren' \(did you mean 'green'\?\); it has"):
            predictor.predict(plain(0, 0, 0), "gren")

    def test_pixels_that_are_handed_over(self, predictor: Predictor) -> None:
        image = texture(50, 30)
        image[0:4, 0:4, 2] += 140
        found = predictor.predict(image, texture(50, 30))
        assert found.reference is not None and found.reference.name == "given"
        assert found.defect_pixels == 16

    @pytest.mark.parametrize("reference", [None, "red", plain(0, 0, 0)])
    def test_another_size(self, predictor: Predictor, reference: np.ndarray | str | None) -> None:
        with pytest.raises(PredictionError, match=r"has 48 x 40 pixels.* 40 x 40.*alignment on"):
            predictor.predict(texture(40, 48), reference)

    def test_no_reference_at_all(self, tmp_path: Path, model: Path) -> None:
        predictor = Predictor(make_product(tmp_path, {}, model), "cpu", network=Known())
        with pytest.raises(PredictionError, match="holds no reference and its network needs one"):
            predictor.predict(texture(40, 40))
        assert predictor.predict(texture(40, 40), texture(40, 40)).verdict == "good"


class TestRegistration:
    def shifted(self, dx: int, dy: int, seed: int = 3) -> np.ndarray:
        """A view of a larger scene, moved by whole pixels."""
        return pattern(seed, 192)[32 + dy : 160 + dy, 32 + dx : 160 + dx].copy()

    def test_defects_are_in_the_pixels_of_the_image(self, tmp_path: Path, model: Path) -> None:
        product = make_product(
            tmp_path,
            {"clean": self.shifted(0, 0)},
            model,
            size=128,
            alignment=AlignmentParams(model="translation"),
        )
        image = self.shifted(6, 4)
        image[60:70, 80:92] += np.array([120, 0, 0], np.uint8)
        found = Predictor(product, "cpu", network=Known(), threshold=0.35).predict(image)
        placed = found.alignment
        assert placed is not None and placed.residual < 0.5 and placed.confidence > 0.9
        assert placed.shift == pytest.approx(np.hypot(6, 4), abs=0.3)
        assert placed.covered == pytest.approx(122 * 124 / 128**2, abs=0.02)
        largest = found.defects[0]
        assert np.abs(np.array(largest.box) - [80, 60, 92, 70]).max() <= 1
        assert largest.area == pytest.approx(120, abs=12)
        np.testing.assert_array_equal(found.image, image)
        # Switched off, the whole image differs.
        off = Predictor(product, "cpu", network=Known(), alignment=False).predict(image)
        assert off.alignment is None

    def test_a_pair_that_lies_on_each_other_is_left_as_it_is(self, tmp_path: Path, model: Path) -> None:
        product = make_product(tmp_path, {"clean": self.shifted(0, 0)}, model, size=128)
        image = self.shifted(0, 0)
        image[60:70, 80:92] += np.array([120, 0, 0], np.uint8)
        on, off = (
            Predictor(product, "cpu", network=Known(), alignment=value).predict(image)
            for value in (True, None)
        )
        assert on.alignment is not None and (on.alignment.shift, on.alignment.covered) == (0, 1)
        np.testing.assert_array_equal(on.probability, off.probability)

    def test_another_size_is_brought_together(self, tmp_path: Path, model: Path) -> None:
        product = make_product(tmp_path, {"clean": self.shifted(0, 0)}, model, size=128)
        image = pattern(3, 192)[24:170, 30:165]
        found = Predictor(product, "cpu", network=Known(), alignment=True).predict(image)
        assert found.labels.shape == image.shape[:2]
        assert found.alignment is not None
        assert found.alignment.covered == pytest.approx(128 * 128 / image[..., 0].size, abs=0.02)

    def test_a_pair_that_cannot_be_brought_together_is_refused(self, tmp_path: Path, model: Path) -> None:
        product = make_product(tmp_path, {"clean": self.shifted(0, 0)}, model, size=128)
        judge = Predictor(product, "cpu", network=Known(), alignment=True)
        with pytest.raises(
            PredictionError, match=r"cannot be aligned with reference 'clean': residual .* px"
        ):
            judge.predict(self.shifted(0, 0, seed=9), "clean")
