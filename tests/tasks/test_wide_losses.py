"""With `jax_enable_x64`, the loss of float64 variables and inputs is float64."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.models.captioner import ImageCaptioner
from jaxnets.models.language import LanguageModel
from jaxnets.models.mlp import MLP
from jaxnets.models.parts.caption_decoders import DECODERS
from jaxnets.models.seq2seq import Seq2Seq
from jaxnets.models.vae import dense_vae
from jaxnets.ops.augment import SoftImageBatch
from jaxnets.ops.distributions import LIKELIHOODS
from jaxnets.tasks.captioning import captioning
from jaxnets.tasks.classification import classification
from jaxnets.tasks.language import language
from jaxnets.tasks.translation import translation
from jaxnets.tasks.variational import variational
from jaxnets.types import CaptionBatch, ImageBatch, PairBatch, StreamBatch

pytestmark = pytest.mark.one_python
KEY = jax.random.key(0)
TWO, TOKENS = np.ones(2, bool), np.array([[1, 3, 4, 2], [1, 4, 2, 0]], np.int32)
LABELS, PIXELS = np.array([0, 2], np.int32), np.linspace(0, 1, 32).reshape(2, 4, 4, 1)
IMAGES = ImageBatch(PIXELS, LABELS, TWO)


class Hyper(NamedTuple):
    label_smoothing: float = 0.2
    beta: float = 1.0
    free_nats: float = 0.1
    focus: float = 0.3
    doubly_stochastic: float = 0.3


@pytest.fixture(autouse=True)
def _wide():
    with jax.enable_x64(True):
        yield


def floats(tree, kind):
    def one(x):
        return x.astype(kind) if jnp.issubdtype(x.dtype, jnp.floating) else x

    return jax.tree.map(one, tree)


# Tokens have no type to follow: their networks are told.
SOFT = DECODERS["soft"](9, features=4, embedding=6, attention=3, dtype=jnp.float64)
WORDS = LanguageModel(7, "rnn", 4, dtype=jnp.float64)
PHRASES = Seq2Seq(5, 6, 4, 4, "plain", dtype=jnp.float64)
VAE = dense_vae((4, 4, 1), likelihood=LIKELIHOODS["bernoulli"], latent=2, widths=(3,))
TASKS = {
    "labels": (classification(MLP(3, ()), rates=()), IMAGES),
    "distributions": (
        classification(MLP(3, ()), rates=()),
        SoftImageBatch(PIXELS, LABELS, target=np.full((2, 3), 1 / 3), mask=TWO),
    ),
    "captioning": (
        captioning(ImageCaptioner(None, SOFT), longest=6, rates=()),
        CaptionBatch(np.ones((2, 1, 3, 5)), TOKENS, TWO),
    ),
    "language": (
        language(WORDS, rates=()),
        StreamBatch(TOKENS, TOKENS, TWO, TWO),
    ),
    "translation": (translation(PHRASES, rates=()), PairBatch(TOKENS, TOKENS, TWO)),
    "variational": (variational(VAE), IMAGES),
}


@pytest.mark.parametrize("name", TASKS)
def test_the_loss_is_as_wide_as_what_is_given(name):
    task, batch = TASKS[name]
    variables = jax.eval_shape(task.init, KEY, batch)
    wide = jax.eval_shape(lambda tree: floats(tree, jnp.float64), variables)
    value, _ = jax.eval_shape(task.loss, wide, batch, KEY, Hyper())
    assert value.dtype == jnp.float64


def test_float32_stays_float32():
    task, batch = TASKS["labels"]
    narrow, hyper = floats(jax.tree.map(jnp.asarray, (batch, Hyper())), jnp.float32)
    variables = jax.eval_shape(task.init, KEY, narrow)
    value, (_, metrics) = jax.eval_shape(task.loss, variables, narrow, KEY, hyper)
    assert value.dtype == metrics["loss"].total.dtype == jnp.float32


def test_a_gradient_of_a_task_is_the_slope():
    task, batch = TASKS["labels"]
    variables = floats(task.init(KEY, batch), jnp.float64)

    @jax.jit
    def loss(step):
        moved = jax.tree.map(lambda p: p + step * jnp.cos(9 * p), variables.params)
        return task.loss(variables._replace(params=moved), batch, KEY, Hyper())[0]

    step = 1e-6
    slope = float(loss(step) - loss(-step)) / (2 * step)
    np.testing.assert_allclose(float(jax.grad(loss)(0.0)), slope, rtol=1e-7)
