from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.ops import conv, pool
from tests.golden.networks.fill import uniform

REFERENCES = Path(__file__).parents[1] / "golden/networks/references.npz"


@pytest.fixture(scope="module")
def torch():
    file = np.load(REFERENCES, allow_pickle=False)
    return {k.removeprefix("layer/"): file[k] for k in file.files if "layer/" in k}


@pytest.fixture(scope="module")
def image():
    return jnp.asarray(uniform("layers", (3, 8, 7, 9)).transpose(0, 2, 3, 1))


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("max", lambda x: pool.max_pool(x, 3, stride=2)),
        ("max_ceil", lambda x: pool.max_pool(x, 3, stride=2, ceil=True)),
        ("max_padded", lambda x: pool.max_pool(x, 3, stride=2, padding=1)),
        (
            "max_ceil_padded",
            lambda x: pool.max_pool(x, 2, stride=2, padding=1, ceil=True),
        ),
        ("average", lambda x: pool.avg_pool(x, 3, stride=2, padding=1)),
        ("adaptive3", lambda x: pool.adaptive_avg_pool(x, 3)),
        ("adaptive11", lambda x: pool.adaptive_avg_pool(x, 11)),
    ],
)
def test_pools_are_torch_s(torch, image, name, ours):
    np.testing.assert_allclose(jax.jit(ours)(image), torch[name], rtol=1e-5, atol=1e-6)


def test_ceiling_adds_the_window_that_hangs_over():
    x = np.arange(6, dtype=np.float32).reshape(1, 6, 1, 1).repeat(6, axis=2)
    floor = jax.eval_shape(lambda x: pool.max_pool(x, 3, stride=2), x)
    assert floor.shape == (1, 2, 2, 1)
    ceiling = jax.jit(lambda x: pool.max_pool(x, 3, stride=2, ceil=True))(x)
    np.testing.assert_array_equal(np.asarray(ceiling)[0, :, 0, 0], [2, 4, 5])


def test_padding_never_wins_a_maximum():
    x = -np.ones((1, 4, 4, 1), np.float32)
    pooled = jax.jit(lambda x: pool.max_pool(x, 3, stride=2, padding=1))(x)
    assert np.max(pooled) == -1


def test_the_gradient_of_a_maximum_goes_to_the_winner():
    x = np.array([[1, 5], [3, 2]], np.float32).reshape(1, 2, 2, 1)
    gradient = jax.jit(jax.grad(lambda x: pool.max_pool(x, 2, stride=2).sum()))(x)
    np.testing.assert_array_equal(np.asarray(gradient)[0, :, :, 0], [[0, 1], [0, 0]])


def test_adaptive_pooling_to_the_own_size_is_nothing(image):
    square = image[:, :7, :7]
    assert pool.adaptive_avg_pool(square, 7) is square


def test_a_pool_that_does_not_fit_says_so():
    with pytest.raises(ValueError, match="3x3 pixels does not fit into maps of 2x2"):
        pool.max_pool(jnp.ones((1, 2, 2, 1)), 3, stride=2)


@pytest.mark.parametrize(
    ("window", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (3, 1, 1)]
)
def test_maxima_and_their_gradients_are_xla_s_even_among_equals(
    window, stride, padding
):
    # Small integers: many ties, and sums over overlapping windows are exact.
    x = np.random.default_rng(0).integers(0, 3, (2, 9, 8, 5)).astype(np.float32)

    def xla(x):
        ends = ((0, 0), (padding, padding), (padding, padding), (0, 0))
        sizes, strides = (1, window, window, 1), (1, stride, stride, 1)
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, sizes, strides, ends)

    def ours(x):
        return pool.max_pool(x, window, stride=stride, padding=padding)

    @jax.jit
    def both(x):
        maxima, back = zip(*(jax.vjp(f, x) for f in (ours, xla)), strict=True)
        weights = jnp.arange(float(maxima[0].size)).reshape(maxima[0].shape)
        return maxima, [pull(weights)[0] for pull in back]

    for mine, theirs in both(x):
        np.testing.assert_array_equal(mine, theirs)


def test_a_nan_is_not_lost():
    x = np.zeros((1, 4, 4, 1), np.float32)
    x[0, 1, 0, 0] = x[0, 2, 3, 0] = np.nan
    pooled = jax.jit(lambda x: pool.max_pool(x, 2, stride=2)[0, :, :, 0])(x)
    np.testing.assert_array_equal(np.isnan(pooled), [[True, False], [False, True]])


def test_a_compiled_maximum_in_bfloat16_after_a_convolution_is_right():
    # XLA's own maximum over windows was up to 0.125 off here (JAX 0.12 on a CPU).
    x = jnp.asarray(uniform("pooled", (3, 16, 16, 32)), jnp.bfloat16)
    kernel = jnp.asarray(uniform("kernel", (3, 3, 32, 64)), jnp.bfloat16)

    def maxima(x):
        for_each = conv.conv(x, kernel, padding="SAME")
        return pool.max_pool(jax.nn.relu(for_each), 2, stride=2)

    np.testing.assert_array_equal(jax.jit(maxima)(x), maxima(x))


def test_the_largest_of_a_map_has_its_gradient():
    x = [[[3, 1], [5, -2]], [[5, np.nan], [0, 7]]]

    @jax.jit
    def both(x):
        weighted = lambda x: jnp.sum(pool.global_max(x) * jnp.array([[2.0, 1.0]]))
        return pool.global_max(x), jax.grad(weighted)(x)

    largest, slope = map(np.asarray, both(np.array(x, np.float32)[None]))
    np.testing.assert_array_equal(largest, [[5.0, np.nan]])
    np.testing.assert_array_equal(slope[0, ..., 0], [[0, 2], [0, 0]])  # the first 5
