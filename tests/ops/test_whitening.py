"""Whitening filters against the principal components that NumPy finds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.ops.conv import conv
from jaxnets.ops.whitening import whitening_filters

IMAGES = np.random.default_rng(0).normal(size=(5, 9, 8, 3)).cumsum(1).cumsum(2)


def patches(images, side):
    """Every patch of the images as a row: rows, columns, channels."""
    windows = np.lib.stride_tricks.sliding_window_view(images, (side, side), (1, 2))
    return windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, side * side * 3)


@pytest.mark.parametrize(("side", "count"), [(2, 12), (3, 5), (1, 3)])
def test_they_are_the_principal_components(side, count):
    rows = patches(IMAGES, side)
    moments = rows.T @ rows / len(rows)
    values, vectors = np.linalg.eigh(moments)
    order = np.argsort(-values)[:count]
    expected = vectors[:, order] / np.sqrt(values[order] + 0.01)
    with jax.enable_x64(True):
        found = whitening_filters(jnp.asarray(IMAGES), side, count)
        assert found.shape == (side, side, 3, count)
        found = np.asarray(found).reshape(-1, count)
    signs = np.sign(np.sum(found * expected, axis=0))
    np.testing.assert_allclose(found * signs, expected, rtol=1e-6, atol=1e-9)


def test_what_they_say_is_uncorrelated_and_of_unit_size():
    with jax.enable_x64(True):
        images = jnp.asarray(IMAGES)
        filters = whitening_filters(images, 3, 6, epsilon=1e-9)
        said = np.asarray(conv(images, filters)).reshape(-1, 6)
    np.testing.assert_allclose(said.T @ said / len(said), np.eye(6), atol=1e-6)


def test_images_of_nothing_have_finite_filters():
    assert np.all(np.isfinite(whitening_filters(jnp.zeros((2, 4, 4, 1)), 2, 4)))


def test_bfloat16_images_have_float32_filters():
    found = whitening_filters(jnp.asarray(IMAGES, jnp.bfloat16), 2, 3)
    assert found.dtype == jnp.float32


@pytest.mark.parametrize(
    ("side", "count", "message"),
    [(2, 13, "have no 13"), (2, 0, "have no 0"), (9, 3, "9x8")],
)
def test_what_there_is_not_is_refused(side, count, message):
    with pytest.raises(ValueError, match=message):
        whitening_filters(jnp.asarray(IMAGES, jnp.float32), side, count)
