import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.models import functional
from jaxnets.models.reader import READERS, BagOfWords, RecurrentReader
from jaxnets.types import Variables
from tests.golden.networks.fill import uniform
from tests.models.numbers import numbered

KEY = jax.random.key(0)
TOKEN = jnp.array([[3, 1, 4, 1], [5, 2, 0, 0]])
COUNTS = {
    "bag": 9 * 2 + 2,
    "average": 9 * 32 + 33 * 2,
    "onehot_rnn": (9 + 64 + 2) * 64 + 65 * 2,
    "rnn": 9 * 32 + (32 + 64 + 2) * 64 + 65 * 2,
    "lstm": 9 * 32 + (32 + 64 + 2) * 256 + 65 * 2,
    "gru": 9 * 32 + (32 + 64 + 2) * 192 + 65 * 2,
    "bidirectional": 9 * 32 + 2 * (32 + 64 + 2) * 256 + 129 * 2,
    "attention": 9 * 64
    + 2 * (4 * 64**2 + 2 * 64 * 256 + 9 * 64 + 256)
    + 3 * 128
    + 2
    - 128,
}


@pytest.mark.parametrize("name", READERS)
def test_parameters_are_as_many_as_said(name):
    model = READERS[name](9, 2)
    variables = jax.eval_shape(lambda: functional.init(model, KEY, TOKEN))
    assert sum(x.size for x in jax.tree.leaves(variables.params)) == COUNTS[name]


@pytest.mark.parametrize("name", ["bag", "average", "gru", "attention"])
def test_padding_changes_nothing(name):
    model = READERS[name](9, 2)
    shapes = jax.eval_shape(lambda: functional.init(model, KEY, TOKEN))
    draw = lambda x: np.sin(np.arange(x.size) * 1.7).reshape(x.shape)
    variables = jax.tree.map(lambda x: jnp.asarray(draw(x), jnp.float32), shapes)

    run = jax.jit(lambda token: functional.predict(model, variables, token))
    token = np.asarray(TOKEN)
    wide = np.pad(token, ((0, 0), (0, 3)))
    np.testing.assert_allclose(run(wide), run(token), atol=1e-5)
    assert np.isfinite(run(np.zeros_like(token))).all()
    order = np.subtract(run(token[:, ::-1]), run(token))
    if name in ("bag", "average"):
        np.testing.assert_allclose(order, 0, atol=1e-6)
    else:
        assert (np.abs(order[0]) > 1e-4).all()


def test_a_bag_is_counts_times_a_matrix():
    table, bias = uniform("table", (9, 2)), np.array([0.5, -1], np.float32)
    params = {"counts": {"embedding": table}, "bias": bias}
    predict = jax.jit(functional.predict, static_argnums=0)
    logits = predict(BagOfWords(9, 2), Variables(params, {}), TOKEN)
    rows = np.asarray(TOKEN)
    counts = np.array([np.bincount(row[row > 0], minlength=9) for row in rows])
    np.testing.assert_allclose(logits, counts @ table + bias, atol=1e-5)


def test_one_hot_codes_are_embeddings_that_are_not_learned():
    width = RecurrentReader(9, 2, "rnn", 5, width=9)
    hot = RecurrentReader(9, 2, "rnn", 5, width=0)
    variables = numbered(hot, TOKEN)
    params = {**variables.params, "embed": {"embedding": jnp.eye(9)}}

    @jax.jit
    def both():
        same = functional.predict(width, Variables(params, {}), TOKEN)
        return functional.predict(hot, variables, TOKEN), same

    np.testing.assert_allclose(*both(), atol=1e-6)
