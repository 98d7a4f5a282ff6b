"""The grid of whitened patches: what a cell sees, and where it comes from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.models import encoders, functional
from jaxnets.models.parts.grid import WhitenedGridNet, positions
from jaxnets.models.whitened import WhitenedConvNet
from jaxnets.once import once
from jaxnets.ops.pool import ImageSizeError

IMAGES = jax.random.normal(jax.random.key(0), (24, 64, 64, 3))


@pytest.fixture(scope="module")
def made():
    model = WhitenedGridNet(norm=None)
    init = once(lambda key, images: functional.init(model, key, images))
    return model, init(jax.random.key(1), IMAGES)


@pytest.mark.one_python
def test_a_cell_of_whitened_patches_sees_its_receptive_field(made):
    model, variables = made

    @jax.jit
    def seen(images):
        cell = lambda x: jnp.sum(functional.predict(model, variables, x)[:, 4, 3] ** 2)
        return jnp.abs(jax.grad(cell)(images)).sum((0, 3))

    # A maximum hides three of four places in one image, but not in all of them.
    rows, columns = (np.flatnonzero(np.asarray(seen(IMAGES)).sum(k)) for k in (1, 0))
    # Cells are 8x8 pixels; fifteen more on every side make 38.
    assert (rows[0], rows[-1] + 1) == (32 - 15, 40 + 15)
    assert (columns[0], columns[-1] + 1) == (24 - 15, 32 + 15)
    assert model.receptive_field == 38 == encoders.sees("whitened")
    shaped = jax.eval_shape(lambda v: functional.predict(model, v, IMAGES), variables)
    assert shaped.shape == (24, 8, 8, 192)


def test_whitened_grid_states_its_parameters():
    model = encoders.encoder("whitened", "", 64, published=False)
    assert isinstance(model, WhitenedGridNet)
    shapes = jax.eval_shape(
        lambda key: functional.init(model, key, IMAGES), jax.random.key(0)
    )
    count = sum(x.size for x in jax.tree.leaves(shapes.params))
    assert f"{count:,} parameters" in (WhitenedGridNet.__doc__ or "")


def test_its_maps_are_those_of_the_classifier(made):
    model, variables = made
    classifier = WhitenedConvNet(5, filters=model.filters, norm=None)
    init = once(lambda key, images: functional.init(classifier, key, images))
    own = init(jax.random.key(2), IMAGES)
    maps = {n: variables.params[n] for n in ("conv0", "conv1", "conv2")}
    shared = own._replace(params={**own.params, **maps}, buffers=variables.buffers)
    read = jax.jit(lambda v, images: functional.features(classifier, v, images))
    features = read(shared, IMAGES)
    x = jax.nn.relu(features["conv2"])
    x = jnp.concatenate([x, positions(x)], axis=-1)
    for name in ("dense0", "dense1"):
        layer = variables.params[name]
        x = jax.nn.relu(x @ layer["kernel"][0, 0] + layer["bias"][None, None, None])
    grid = jax.jit(lambda v, images: functional.predict(model, v, images))(
        variables, IMAGES
    )
    np.testing.assert_allclose(grid, x, rtol=2e-4, atol=2e-5)


def test_an_image_that_the_pools_use_up_is_refused():
    with pytest.raises(ImageSizeError, match="8x8 pixels or more"):
        jax.eval_shape(
            lambda key: functional.init(WhitenedGridNet(), key, IMAGES[:, :6, :6]),
            jax.random.key(0),
        )
