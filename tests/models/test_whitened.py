"""The layer that is computed from the images, and never trained."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.models import functional
from jaxnets.models.parts.patches import Whitening
from jaxnets.models.whitened import WhitenedConvNet, whitened_convnet
from jaxnets.ops.pool import ImageSizeError
from jaxnets.ops.whitening import whitening_filters

KEY = jax.random.key(0)
IMAGES = np.random.default_rng(1).normal(size=(6, 12, 12, 3)).astype(np.float32)
MODEL = WhitenedConvNet(filters=(4,), pools=(0,), components=7)
init = jax.jit(lambda images: functional.init(MODEL, KEY, images))


def filters(variables):
    return variables.buffers["filters"]["whitening"]["kernel"]


def test_its_filters_are_those_of_the_images_it_begins_with():
    variables = init(IMAGES)
    expected = jax.jit(whitening_filters, static_argnums=(1, 2))(IMAGES, 4, 7)
    np.testing.assert_array_equal(filters(variables), expected)
    other = init(2 * IMAGES)
    assert not np.array_equal(filters(other), filters(variables))


def test_they_are_no_parameter_and_training_leaves_them():
    variables = init(IMAGES)
    assert "whitening" not in variables.params
    train = jax.jit(lambda v, x: functional.forward(MODEL, v, KEY, x)[1])
    buffers = train(variables, 2 * IMAGES)
    after = buffers["filters"]["whitening"]["kernel"]
    np.testing.assert_array_equal(after, filters(variables))
    moved = buffers["batch_stats"]["norm0"]["mean"]
    assert np.any(moved != variables.buffers["batch_stats"]["norm0"]["mean"])


def test_every_component_is_there_with_both_signs():
    said, variables = jax.jit(Whitening(5).init_with_output)(KEY, IMAGES)
    said = np.asarray(said)
    assert variables["filters"]["kernel"].shape == (4, 4, 3, 5)
    assert said.shape == (6, 6, 6, 10)
    np.testing.assert_allclose(said[..., :5], -said[..., 5:], rtol=1e-6)


def test_grey_patches_have_sixteen_components():
    grey = jnp.ones((2, 8, 8, 1))
    variables = jax.eval_shape(lambda: functional.init(whitened_convnet(10), KEY, grey))
    assert filters(variables).shape == (4, 4, 1, 16)


def test_images_that_nothing_is_left_of_are_refused():
    with pytest.raises(ImageSizeError, match="8x8 pixels or more"):
        functional.init(whitened_convnet(10), KEY, jnp.zeros((2, 7, 9, 3)))
