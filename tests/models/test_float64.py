"""With `jax_enable_x64`, what is given float64 computes in float64, all the way."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.models import functional
from jaxnets.models.draw import draw
from jaxnets.models.gan import NETWORKS, players
from jaxnets.models.language import LanguageModel
from jaxnets.models.parts.caption_decoders import DECODERS
from jaxnets.models.reader import RecurrentReader, SelfAttentionReader
from jaxnets.models.seq2seq import Seq2Seq
from jaxnets.models.vae import conv_vae, dense_vae
from tests.golden.networks.fill import uniform
from tests.golden.networks.parity import filled
from tests.models.families import FAMILIES, SIZES, rest_as_campaign

pytestmark = pytest.mark.one_python
KEY = jax.random.key(0)


@pytest.fixture(autouse=True)
def _wide():
    with jax.enable_x64(True):
        yield


def widened(tree):
    """Float64 in place of every other float."""

    def one(x):
        return x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x

    return jax.tree.map(one, tree)


def described(tree):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, jnp.float64), tree)


def check(model, *inputs):
    """Nothing of float32 is left in the program; variables drawn are float32."""
    drawn = jax.eval_shape(lambda: functional.init(model, KEY, *inputs))
    assert {leaf.dtype for leaf in jax.tree.leaves(drawn)} == {jnp.dtype("float32")}

    def run(variables):
        seen, buffers = functional.forward(model, variables, KEY, *inputs)
        return seen, functional.predict(model, variables, *inputs), buffers

    wide = described(drawn)
    assert not re.search(r"\bf32\b", str(jax.make_jaxpr(run)(wide)))
    # Given float32 parameters, too, and buffers stay what they were.
    *outputs, buffers = jax.eval_shape(run, drawn)
    floats = {leaf.dtype for leaf in jax.tree.leaves(outputs)} - {jnp.dtype(bool)}
    assert floats == {jnp.dtype("float64")}
    same = jax.tree.map(lambda new, old: new.dtype == old.dtype, buffers, drawn.buffers)
    assert all(jax.tree.leaves(same))


@pytest.mark.parametrize(
    "family", rest_as_campaign(FAMILIES, ("whitened", "alexnet", "preact", "lenet"))
)
def test_networks_of_images_follow_their_input(family):
    side = SIZES.get(family, 16)
    check(FAMILIES[family], jnp.ones((2, side, side, 3)))


@pytest.mark.parametrize("network", rest_as_campaign(NETWORKS, ("dcgan",)))
@pytest.mark.parametrize("spectral", [False, True])
def test_generators_and_discriminators_follow_their_input(network, spectral):
    generator, discriminator = players(network, (16, 16, 3), 8, spectral=spectral)
    check(generator, jnp.ones((2, 8)))
    check(discriminator, jnp.ones((2, 16, 16, 3)))


@pytest.mark.parametrize("made", [dense_vae, conv_vae])
def test_autoencoders_follow_their_input(made):
    model = made((8, 8, 1))
    check(model, jnp.ones((2, 8, 8, 1)), jnp.ones((2, 1, *model.code_shape)))


TOKENS = jnp.array([[1, 4, 6, 5], [1, 7, 2, 0]])
TOLD = {
    "draw": (draw((8, 8, 1), steps=2, features=6, read=3, write=3), None),
    "language": (LanguageModel(8, features=6, embedding=4), TOKENS),
    "recurrent reader": (RecurrentReader(8, 2, "lstm", 5, width=4), TOKENS),
    "attention reader": (SelfAttentionReader(8, 2, features=4, heads=2), TOKENS),
    "additive": (Seq2Seq(8, 8, 5, 4, "additive", 3, "gru"), (TOKENS, TOKENS)),
    "dot": (Seq2Seq(8, 8, 5, 4, "dot", 3, "lstm"), (TOKENS, TOKENS)),
    **{
        f"{kind} captioner": (
            kind_of(8, features=4, embedding=6, attention=3),
            (jnp.ones((2, 3, 5)), TOKENS),
        )
        for kind, kind_of in DECODERS.items()
    },
}


@pytest.mark.parametrize("name", rest_as_campaign(TOLD, ("language", "soft captioner")))
def test_networks_of_sequences_are_told(name):
    model, inputs = TOLD[name]
    if inputs is None:
        inputs = jnp.ones((2, 8, 8, 1)), jnp.ones((2, 1, *model.code_shape))
    inputs = inputs if isinstance(inputs, tuple) else (inputs,)
    check(model.clone(dtype=jnp.float64), *widened(inputs))


@pytest.mark.parametrize(
    "family", rest_as_campaign(("convnet", "alexnet", "vgg"), ("convnet",))
)
def test_a_gradient_is_the_slope(family):
    """Central differences, which float32 could not tell from noise."""
    model, side = FAMILIES[family], SIZES.get(family, 16)
    variables = widened(filled(model, side, 3))
    image = widened(jnp.asarray(uniform("slope", (3, side, side, 3))))
    along = widened(
        jax.tree_util.tree_map_with_path(
            lambda path, x: jnp.asarray(uniform(str(path), x.shape)), variables.params
        )
    )

    @jax.jit
    def loss(step):
        params = jax.tree.map(lambda p, d: p + step * d, variables.params, along)
        whole = variables._replace(params=params)
        logits, _ = functional.forward(model, whole, KEY, image)
        return jnp.mean(jax.nn.logsumexp(logits, axis=-1) - logits[:, 0])

    step = 1e-6
    slope = float(loss(step) - loss(-step)) / (2 * step)
    exact = float(jax.jit(jax.grad(loss))(0.0))
    np.testing.assert_allclose(exact, slope, rtol=1e-6)
