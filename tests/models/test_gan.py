"""Generators and discriminators: shapes, counts and the contract of a model."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.models import functional
from jaxnets.models.gan import (
    NETWORKS,
    DCGANDiscriminator,
    DCGANGenerator,
    ResNetDiscriminator,
    ResNetGenerator,
    doublings,
    players,
)
from jaxnets.testing.models import check_model
from tests.golden.networks.fill import uniform
from tests.models.numbers import numbered

KEY = jax.random.key(0)
LABEL = jnp.array([0, 2, 1], jnp.int32)
NOISE = jnp.asarray(uniform("gan", (3, 5)))
IMAGE = jnp.asarray(uniform("gan image", (3, 16, 16, 1)))
MODELS = {
    "dcgan, conditional": (DCGANGenerator(16, 1, 4, 3), NOISE, LABEL),
    "dcgan's": (DCGANDiscriminator(4), IMAGE),
    "dcgan's, spectral": (DCGANDiscriminator(4, 3, spectral=True), IMAGE, LABEL),
}
MORE = {
    "dcgan": (DCGANGenerator(16, 1, 4), NOISE),
    "resnet": (ResNetGenerator(8, 1, 4), NOISE),
    "resnet's": (ResNetDiscriminator(4), IMAGE),
    "resnet's, spectral": (ResNetDiscriminator(4, spectral=True), IMAGE),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.one_python
def test_the_contract_of_a_model(name):
    model, *inputs = MODELS[name]
    check_model(model, *inputs)


@pytest.mark.campaign
@pytest.mark.parametrize("name", MORE)
def test_the_contract_of_the_other_models(name):
    model, *inputs = MORE[name]
    check_model(model, *inputs)


@pytest.mark.parametrize("name", MORE)
def test_no_layer_has_the_name_of_a_default_that_can_be_called(name):
    """Flax's bridge to NNX would take it for a method, and miss its parameters."""
    model, *inputs = MORE[name]
    for layer in variables(model, *inputs).params:
        assert not callable(getattr(type(model), layer, None)), layer


def variables(model, *inputs):
    return jax.eval_shape(functools.partial(functional.init, model), KEY, *inputs)


def count(model, *inputs):
    leaves = jax.tree.leaves(variables(model, *inputs).params)
    return sum(math.prod(leaf.shape) for leaf in leaves)


def test_parameter_counts():
    noise, image = jnp.zeros((2, 64)), jnp.zeros((2, 28, 28, 1))
    assert count(DCGANGenerator(), noise) == 533_889
    assert count(DCGANDiscriminator(), image) == 138_689
    # By hand: 64 x 6272 + norms 2 (128 + 64) + kernels 16 (128 x 64 + 64) + 1.
    assert 64 * 6272 + 384 + 16 * (8192 + 64) + 1 == 533_889
    # Spectral norm has biases in the place of the norm's scale and shift.
    assert count(DCGANDiscriminator(spectral=True), image) == 138_689 - 128
    assert count(DCGANGenerator(classes=10), noise, LABEL[:2]) == (
        533_889 + 320 + 32 * 6272
    )
    assert count(DCGANDiscriminator(classes=10), image, LABEL[:2]) == (
        138_689 + 10 * 6272
    )


@pytest.mark.parametrize(("side", "halvings"), [(28, 2), (32, 3), (16, 2), (8, 1)])
@pytest.mark.parametrize("name", NETWORKS)
def test_any_even_side_becomes_itself_again(side, halvings, name):
    assert doublings(side) == halvings
    generator, discriminator = players(name, (side, side, 3), 4)

    def whole(key):
        drawn = functional.init(generator, key, NOISE)
        image = functional.predict(generator, drawn, NOISE)
        other = functional.init(discriminator, key, image)
        return image, functional.predict(discriminator, other, image)

    image, score = jax.eval_shape(whole, KEY)
    assert image.shape == (3, side, side, 3)
    assert score.shape == (3,)


@pytest.mark.parametrize("image", [(28, 32, 1), (27, 27, 1), (4, 4, 1)])
def test_other_images_are_refused(image):
    with pytest.raises(ValueError, match="even side"):
        players("dcgan", image)


def test_the_class_matters_and_must_be_given():
    model = DCGANDiscriminator(4, 3)
    drawn = numbered(model, IMAGE, LABEL)

    @jax.jit
    def said(label):
        maps = functional.features(model, drawn, IMAGE, LABEL)["norm1"]
        return functional.predict(model, drawn, IMAGE, label), maps

    (ours, h), (other, _) = said(LABEL), said(LABEL[::-1])
    assert not np.allclose(ours, other)
    # The projection: psi(h) + v_y . h, with h the flattened maps.
    h = np.where(np.asarray(h) > 0, h, 0.2 * np.asarray(h)).reshape(3, -1)
    params = jax.tree.map(np.asarray, drawn.params)
    expected = h @ params["output"]["kernel"][:, 0] + params["output"]["bias"][0]
    expected += np.sum(h * params["class"]["kernel"][np.asarray(LABEL)], axis=1)
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="needs labels"):
        functional.predict(model, drawn, IMAGE)


def test_weights_are_drawn_as_radford_et_al_say():
    model = DCGANDiscriminator(16)
    drawn = jax.jit(lambda k: functional.init(model, k, IMAGE))(KEY)
    kernel = np.asarray(drawn.params["down1"]["kernel"])
    assert kernel.std() == pytest.approx(0.02, rel=0.03)
    assert abs(kernel.mean()) < 1e-3
