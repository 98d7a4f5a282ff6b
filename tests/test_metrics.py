import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.metrics import Mean, mean, merge, merged, to_host


def test_means_of_parts_merge_to_the_mean_of_the_whole():
    values, mask = jnp.arange(6.0), jnp.array([True, True, False, True, True, True])
    parts = mean(values[:2], mask[:2]).merge(mean(values[2:], mask[2:]))
    np.testing.assert_allclose(parts.compute(), (0 + 1 + 3 + 4 + 5) / 5)


def test_padding_may_hold_anything():
    values = jnp.array([1.0, jnp.nan, jnp.inf])
    assert mean(values, jnp.array([True, False, False])).compute() == 1


def test_a_nan_that_counts_stays():
    assert np.isnan(mean(jnp.array([1.0, jnp.nan]), jnp.ones(2, bool)).compute())


def test_nothing_counted_is_nan_without_a_warning():
    assert np.isnan(mean(jnp.ones(2), jnp.zeros(2, bool)).compute())


def test_means_with_a_shape():
    values = jnp.array([[1.0, 2.0], [3.0, 6.0], [9.0, 9.0]])
    found = mean(values, jnp.array([True, True, False]))
    np.testing.assert_allclose(found.compute(), [2.0, 4.0])


@pytest.mark.parametrize("shape", [(1,), (3,), (2, 1)])
def test_a_mask_never_broadcasts(shape):
    with pytest.raises((ValueError, TypeError), match="mask"):
        mean(jnp.ones(2), jnp.ones(shape, bool))


def test_counters_do_not_saturate():
    # In float32, 2^24 + 1 is 2^24: a mean over more would stop moving.
    one = {"x": Mean(jnp.float32(1), jnp.int32(1))}
    many = {"x": Mean(jnp.float32(2**24), jnp.int32(2**31 - 1))}
    total = merge(merged([many, many, one]), to_host(one))
    assert total["x"].total == 2**25 + 2
    assert total["x"].weight == 2**32 - 2 + 2


def test_metrics_with_other_names_do_not_merge():
    one = Mean(np.float64(1), np.int64(1))
    with pytest.raises(ValueError, match="loss"):
        merge({"loss": one}, {"accuracy": one})
    with pytest.raises(ValueError, match="no batch"):
        merged([])


def test_means_pass_through_transformations():
    def f(values):
        return mean(values, jnp.ones(3, bool))

    found = jax.vmap(f)(jnp.arange(6.0).reshape(2, 3))
    np.testing.assert_allclose(found.compute(), [1, 4])
