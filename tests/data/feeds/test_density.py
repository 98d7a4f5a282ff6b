"""Black and white by name: what is drawn once, what anew, and what is refused."""

import functools

import numpy as np
import pytest

from jaxnets.data.dataset import DataError
from jaxnets.data.feeds.density import binarised, codes, density_feeds
from jaxnets.data.generated.digits import digits
from jaxnets.ops.distributions import BERNOULLI, GAUSSIAN, LOGISTIC

DIGITS = digits()
feeds = functools.partial(density_feeds, DIGITS, batch_size=50, seed=0)


def pixels(dataset, split="train"):
    return getattr(dataset, split).columns["image"]


def test_static_pixels_follow_from_seed_split_and_place():
    grey = pixels(DIGITS)
    once = binarised(DIGITS, "static", 0)
    assert set(np.unique(pixels(once))) == {0, 255}
    assert np.array_equal(pixels(once), pixels(binarised(DIGITS, "static", 0)))
    assert not np.array_equal(pixels(once), pixels(binarised(DIGITS, "static", 1)))
    # Fewer images of the same split are drawn as they were among all of them.
    few = DIGITS.train.take(np.arange(10))
    fewer = binarised(type(DIGITS)(**{**vars(DIGITS), "train": few}), "static", 0)
    assert np.array_equal(pixels(fewer), pixels(once)[:10])
    assert (pixels(once)[grey == 0] == 0).all()
    assert (pixels(once)[grey == 255] == 255).all()
    # Each brightness is lit as often as it says.
    for byte in np.unique(grey):
        lit = pixels(once)[grey == byte] / 255
        error = 4 * np.sqrt(byte / 255 * (1 - byte / 255) / len(lit)) + 1e-9
        assert abs(lit.mean() - byte / 255) <= error, byte


def test_a_threshold_cuts_in_the_middle():
    light = pixels(binarised(DIGITS, "threshold")) == 255
    assert np.array_equal(light, pixels(DIGITS) >= 128)


def test_dynamic_pixels_are_new_in_training_and_fixed_in_evaluation():
    static, dynamic = (feeds(BERNOULLI, binarise=b) for b in ("static", "dynamic"))
    epoch = static.train.length
    assert set(np.unique(dynamic.train(0).image)) == {0.0, 1.0}
    assert np.array_equal(dynamic.train(3).image, dynamic.train(3).image)
    # The same image in another epoch; with this order, some of the first 50.
    whole = [
        np.concatenate([f.train(t).image for t in range(2 * epoch + 2)])
        for f in (static, dynamic)
    ]
    count = static.train.examples
    labels = np.concatenate([static.train(t).label for t in range(2 * epoch + 2)])
    distinct = [
        len({image.tobytes() for image in images[: 2 * count]}) for images in whole
    ]
    assert len(labels) >= 2 * count
    assert distinct[0] <= count < distinct[1]
    for split in ("validation", "test", "judged"):
        one, two = (next(iter(getattr(f, split))) for f in (static, dynamic))
        assert np.array_equal(one.image, two.image)


def test_the_judged_images_are_the_first_of_the_test_split():
    data = feeds(BERNOULLI, binarise="static", judged=70)
    judged = np.concatenate([batch.image[batch.mask] for batch in data.judged])
    test = np.concatenate([batch.image[batch.mask] for batch in data.test])
    assert len(judged) == 70
    assert np.array_equal(judged, test[:70])
    assert data.shape == (8, 8, 1)


def test_bytes_for_a_density_are_dequantised():
    plain, noisy = (feeds(kind, binarise="none") for kind in (LOGISTIC, GAUSSIAN))
    exact, spread = plain.train(0).image, noisy.train(0).image
    assert np.array_equal(np.floor(spread * 256), np.round(exact * 255))
    assert (np.asarray(spread) < 1).all()
    assert len(np.unique(spread)) > len(np.unique(exact)) * 10
    test = [next(iter(noisy.test)).image for _ in range(2)]
    assert np.array_equal(*test)


@pytest.mark.parametrize(
    ("kind", "binarise"),
    [(BERNOULLI, "none"), (GAUSSIAN, "static"), (LOGISTIC, "threshold")],
)
def test_a_likelihood_is_asked_about_what_it_is_of(kind, binarise):
    with pytest.raises(DataError, match=f"the {kind.name} likelihood.*{binarise}"):
        feeds(kind, binarise=binarise)


def test_codes_come_in_their_own_order():
    code = np.random.default_rng(0).normal(size=(130, 2, 3))
    found = np.concatenate([batch.code[batch.mask] for batch in codes(code)])
    np.testing.assert_allclose(found, code, rtol=1e-6)
