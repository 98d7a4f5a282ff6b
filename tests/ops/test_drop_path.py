import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.ops.drop_path import drop_path, join, linear_decay, survivors

KEY = jax.random.key(5)


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.7])
def test_whole_rows_are_dropped_and_the_expectation_is_kept(rate):
    y = np.asarray(drop_path(jnp.ones((4000, 2, 3)), rate, KEY))
    rows = y.reshape(4000, -1)
    assert np.all(rows == rows[:, :1])
    np.testing.assert_allclose(np.unique(rows[rows != 0]), 1 / (1 - rate), rtol=1e-6)
    assert abs(rows.mean() - 1) <= 5 * np.sqrt(rate / (1 - rate) / 4000)


def test_rate_one_gives_zeros_and_zero_gradient():
    x = jnp.ones((5, 4))
    assert not np.any(drop_path(x, 1.0, KEY))
    assert not np.any(jax.grad(lambda x: drop_path(x, 1.0, KEY).sum())(x))


def test_rates_grow_linearly_to_the_last_block():
    np.testing.assert_allclose(linear_decay(0.5, 5), [0.1, 0.2, 0.3, 0.4, 0.5])


def test_one_input_of_a_join_always_lives():
    alive = survivors(KEY, 0.999, 3, 5000)
    assert np.all(np.asarray(alive).sum(0) >= 1)
    np.testing.assert_allclose(np.asarray(alive).mean(1), 1 / 3, atol=0.03)


def test_inputs_of_a_join_live_at_their_rate():
    alive = np.asarray(survivors(KEY, 0.15, 2, 20000))
    both, one = alive.all(0).mean(), alive[0].mean()
    assert abs(both - 0.85**2) < 0.01
    assert abs(one - (0.85 + 0.15**2 / 2)) < 0.01


def test_a_join_is_the_mean_of_the_living():
    paths = jnp.asarray([[[1.0, 2.0]] * 3, [[5.0, 6.0]] * 3])
    alive = jnp.asarray([[True, True, False], [True, False, False]])
    joined = join(paths, alive)
    np.testing.assert_array_equal(joined, [[3, 4], [1, 2], [0, 0]])


def test_what_was_dropped_never_counts():
    paths = jnp.asarray([[[1.0]], [[jnp.nan]]])
    joined = join(paths, jnp.asarray([[True], [False]]))
    np.testing.assert_array_equal(joined, [[1]])
