import io

import numpy as np
import pytest

from jaxnets.plots.attention import captioned, enlarged, looks
from jaxnets.plots.parts import png

pytestmark = pytest.mark.host


def test_a_grid_is_enlarged_to_the_picture():
    grid = np.arange(4.0).reshape(2, 2)
    assert np.array_equal(enlarged(grid, (4, 4)), np.kron(grid, np.ones((2, 2))))
    uneven = enlarged(grid, (5, 3))
    assert uneven.shape == (5, 3)
    assert set(np.unique(uneven)) == {0, 1, 2, 3}


def test_pictures_of_attention_have_a_panel_a_word():
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    words = ["a", "red", "circle"]
    weights = np.eye(4)[:3].reshape(3, 2, 2)
    figure = looks([image] * 2, [words, words[:1]], [weights, weights], columns=3)
    titles = [axes.get_title() for axes in figure.axes]
    # Two words a row: the third goes on below.
    assert titles == ["", "a 100%", "red 100%", "circle 100%", "", "a 100%"]
    lit = figure.axes[1].images[0].get_array()
    np.testing.assert_allclose(lit[:4, :4], image[:4, :4] / 255)  # as bright as it is
    assert (lit[4:] >= image[4:] / 255).all()
    png(figure, io.BytesIO())


def test_sentences_are_wrapped_below_the_images():
    figure = captioned(np.zeros((3, 8, 8, 3)), ["word " * 20] * 3, title="t")
    assert len(figure.axes) == 3
    assert figure.axes[0].texts[0].get_text().count("\n") > 1
    png(figure, io.BytesIO())
