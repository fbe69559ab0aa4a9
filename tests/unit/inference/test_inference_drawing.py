"""Colours of classes, and defects drawn onto their image."""

from __future__ import annotations

import numpy as np
import pytest

from cadnet.inference import Prediction, output
from cadnet.inference.output import class_colours, draw_overlay
from cadnet.inference.regions import find_defects

RED, BLUE = (255, 0, 0), (0, 0, 255)


def prediction(labels: np.ndarray, names: tuple[str, ...]) -> Prediction:
    image, probability = np.full((*labels.shape, 3), 128, np.uint8), (labels > 0).astype(np.float32)
    defects = find_defects(labels, probability, names)
    return Prediction(image, labels, probability, defects, "defective", None, None, 0.0)


class TestColours:
    def test_those_of_the_training_data_where_they_are_told(self) -> None:
        assert class_colours({"palette": [[1, 2, 3], [4, 5, 6]]}, 2) == ((1, 2, 3), (4, 5, 6))

    @pytest.mark.parametrize("known", [None, "red", [[1, 2, 3]], [[1, 2], [3, 4]], [[1, 2, 300], [0, 0, 0]]])
    def test_else_safe_ones(self, known: object) -> None:
        colours = class_colours({"palette": known}, 2)
        assert len(set(colours)) == 2 and all(len(colour) == 3 for colour in colours)


class TestOverlay:
    @pytest.fixture(autouse=True)
    def own_size(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(output, "LEAST", 1)

    def test_a_small_image_is_enlarged_so_that_names_fit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(output, "LEAST", 384)
        labels = np.zeros((100, 120), np.uint8)
        labels[40:60, 30:70] = 1
        overlay = draw_overlay(prediction(labels, ("a",)), ("a",), (RED,))
        assert overlay.shape == (400, 480, 3)
        assert (overlay[160, 120:280] == RED).all() and (overlay[239, 120:280] == RED).all()
        assert (overlay[165:235, 125:275] == 128).all()

    def test_outline_and_box_in_the_classes_colour(self) -> None:
        labels = np.zeros((100, 120), np.uint8)
        labels[40:60, 30:70], labels[80:90, 90:110] = 1, 2
        found = prediction(labels, ("a", "b"))
        overlay = draw_overlay(found, ("a", "b"), (RED, BLUE))
        assert overlay.shape == (100, 120, 3) and (found.image == 128).all(), "the image itself is left"
        assert (overlay[40, 30:70] == RED).all() and (overlay[59, 30:70] == RED).all()
        assert (overlay[80:90, 90] == BLUE).all()
        assert (overlay[45:55, 35:65] == 128).all(), "what is inside stays to be seen"
        assert (overlay[62, 27:73] == RED).all(), "the box lies three pixels around"

    @pytest.mark.parametrize("place", [(0, 0), (0, 38), (28, 0), (28, 38)])
    def test_defects_in_a_corner_and_names_in_any_letters(self, place: tuple[int, int]) -> None:
        labels = np.zeros((30, 40), np.uint8)
        labels[place[0] : place[0] + 2, place[1] : place[1] + 2] = 1
        overlay = draw_overlay(prediction(labels, ("Größe",)), ("Größe",), (RED,))
        assert (overlay[place] == RED).all() and overlay.dtype == np.uint8

    def test_a_good_image_is_shown_as_it_is(self) -> None:
        found = prediction(np.zeros((30, 40), np.uint8), ("a",))
        np.testing.assert_array_equal(draw_overlay(found, ("a",), (RED,)), found.image)
