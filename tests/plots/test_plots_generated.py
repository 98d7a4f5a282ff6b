import io

import numpy as np
import pytest

from jaxnets.plots.generated import scatter, sheet, strips
from jaxnets.plots.parts import png

pytestmark = pytest.mark.host


def mosaic(figure):
    return np.asarray(figure.axes[0].images[0].get_array())


def test_a_sheet_holds_every_image_in_its_place():
    images = np.random.default_rng(0).random((5, 3, 4, 1)) * 3 - 1
    figure = sheet(images, 3, title="t", labels=["first", "second"])
    pixels = mosaic(figure)
    assert pixels.shape == (2 * 4 + 1, 3 * 5 + 1)
    np.testing.assert_allclose(pixels[1:4, 1:5], np.clip(images[0, ..., 0], 0, 1))
    np.testing.assert_allclose(pixels[5:8, 6:10], np.clip(images[4, ..., 0], 0, 1))
    assert (pixels[5:8, 11:15] == 0.5).all()  # there is no sixth
    png(figure, io.BytesIO())
    colour = sheet(np.full((2, 3, 3, 3), 255, np.uint8), 2)
    assert mosaic(colour).shape == (5, 9, 3)
    assert mosaic(colour)[1, 1, 0] == 1


def test_a_strip_shows_windows_over_their_own_frames():
    frames = np.zeros((2, 3, 8, 8, 1))
    windows = np.tile([1.0, 2.0, 5.0, 6.0, 0.5], (2, 3, 1))
    figure = strips(frames, windows, title="t")
    boxes = [p.get_bbox().extents for p in figure.axes[0].patches]
    assert len(boxes) == 6
    np.testing.assert_allclose(boxes[0], [1 + 2, 1 + 1, 1 + 6, 1 + 5])
    np.testing.assert_allclose(boxes[4], [10 + 2, 10 + 1, 10 + 6, 10 + 5])
    png(figure, io.BytesIO())
    assert not strips(frames).axes[0].patches


def test_few_classes_have_colours_and_many_have_names():
    points = np.random.default_rng(0).normal(size=(30, 2))
    few = scatter(points, np.arange(30) % 3, ["a", "b", "c"])
    assert len(few.axes[0].lines) == 3
    names = [chr(65 + i) for i in range(15)]
    many = scatter(points, np.arange(30) % 15, names, title="t")
    assert sorted(t.get_text() for t in many.axes[0].texts) == sorted(names * 2)
    png(many, io.BytesIO())
