import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.ops.dropout import dropout

KEY = jax.random.key(3)


@pytest.mark.parametrize("rate", [0.0, 0.25, 0.9])
def test_the_expectation_is_kept(rate):
    y = dropout(jnp.full((400, 500), 2.0), rate, KEY)
    deviation = 2 * np.sqrt(rate / (1 - rate) / y.size)
    assert abs(float(jnp.mean(y)) - 2) <= 5 * deviation
    assert abs(float(jnp.mean(y == 0)) - rate) <= 5 * 0.5 / np.sqrt(y.size)


def test_two_in_a_row_act_as_one():
    first, second = jax.random.split(KEY)
    y = dropout(dropout(jnp.ones((600, 500)), 0.3, first), 0.5, second)
    rate = 1 - 0.7 * 0.5
    assert abs(float(jnp.mean(y == 0)) - rate) < 0.005
    np.testing.assert_allclose(y[y != 0], 1 / (1 - rate), rtol=1e-6)


def test_rate_one_gives_zeros_and_zero_gradient():
    x = jnp.ones((20, 20))
    assert not np.any(dropout(x, 1.0, KEY))
    gradient = jax.grad(lambda x: dropout(x, 1.0, KEY).sum())(x)
    assert not np.any(gradient)


def test_rate_zero_is_the_identity():
    x = jax.random.normal(KEY, (20, 20))
    np.testing.assert_array_equal(dropout(x, 0.0, KEY), x)


def test_a_traced_rate_does_not_compile_again():
    traces = 0

    @jax.jit
    def drop(x, rate):
        nonlocal traces
        traces += 1
        return dropout(x, rate, KEY)

    half, none = drop(jnp.ones(1000), 0.5), drop(jnp.ones(1000), 0.0)
    assert traces == 1
    assert 400 < int(jnp.sum(half == 0)) < 600
    np.testing.assert_array_equal(none, 1)


def test_bfloat16_stays_bfloat16():
    y = dropout(jnp.ones((100, 100), jnp.bfloat16), 0.5, KEY)
    assert y.dtype == jnp.bfloat16
    assert abs(float(jnp.mean(y.astype(jnp.float32))) - 1) < 0.1
