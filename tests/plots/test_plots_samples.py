import io

import numpy as np
import pytest
from PIL import Image

from jaxnets.plots import samples
from jaxnets.plots.parts import png

pytestmark = pytest.mark.host


def test_a_sheet_has_every_image_in_its_place():
    images = np.random.default_rng(0).integers(0, 256, (5, 2, 3, 1), np.uint8)
    whole = samples.tiles(images, 3)
    assert whole.shape == (2 * 2 + 1, 3 * 3 + 2, 1)
    for index, image in enumerate(images):
        row, column = divmod(index, 3)
        found = whole[3 * row : 3 * row + 2, 4 * column : 4 * column + 3]
        assert np.array_equal(found, image)
    assert (whole[2] == 128).all()  # the line between, and the place that is left over
    assert (whole[3:, 8:] == 128).all()
    large = samples.tiles(images, 3, scale=2)
    assert np.array_equal(large[::2, ::2], whole)
    bright = samples.tiles(np.array([-0.5, 0.5, 2.0]).reshape(3, 1, 1, 1), 3)
    assert bright[0, ::2, 0].tolist() == [0, 128, 255]


def test_an_animation_goes_round_and_rests_at_the_end():
    frames = [np.full((4, 6, 1), value, np.uint8) for value in (0, 100, 200)]
    buffer = io.BytesIO()
    samples.gif(frames, buffer, milliseconds=50)
    with Image.open(io.BytesIO(buffer.getvalue())) as image:
        assert image.n_frames == 3
        assert image.info["loop"] == 0
        durations = []
        for index in range(3):
            image.seek(index)
            durations.append(image.info["duration"])
            assert np.asarray(image.convert("L"))[0, 0] == frames[index][0, 0, 0]
    assert durations == [50, 50, 500]


def test_pictures_of_samples():
    rng = np.random.default_rng(0)
    images = rng.random((9, 8, 8, 3))
    square = samples.samples(images, title="t")
    assert square.axes[0].images[0].get_array().shape == (26, 26, 3)
    strip = samples.strip({100: images, 2000: images}, columns=4)
    assert [t.get_text() for t in strip.axes[0].get_yticklabels()] == ["100", "2,000"]
    assert strip.axes[0].images[0].get_array().shape == (17, 35, 3)
    bars = samples.shares(np.array([0.25, 0.75]), ("coat", "bag"))
    assert [p.get_height() for p in bars.axes[0].patches] == [25, 75]
    points = rng.normal(size=(20, 2))
    clouds = samples.clouds({"a": points, "b": points}, points, columns=1)
    assert [axes.get_title() for axes in clouds.axes] == ["a", "b"]
    for figure in (square, strip, bars, clouds):
        png(figure, io.BytesIO())
