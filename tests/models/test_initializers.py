"""What keeps a signal alive through twenty layers, and what does not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.models.parts.initial import kaiming, scaled_normal, xavier

WIDTH, DEPTH = 512, 20


def scale_after(initializer, activation):
    """Mean square of the last layer's features over the first's."""
    keys = jax.random.split(jax.random.key(0), DEPTH + 1)
    x = jax.random.normal(keys[0], (64, WIDTH))

    def layer(x, key):
        return activation(x @ initializer(key, (WIDTH, WIDTH))), None

    last, _ = jax.lax.scan(layer, x, keys[1:])
    return float(jnp.mean(last**2) / jnp.mean(activation(x) ** 2))


def test_kaiming_keeps_relu_networks_alive():
    assert 0.4 < scale_after(kaiming, jax.nn.relu) < 2.5


def test_xavier_keeps_linear_networks_alive():
    assert 0.5 < scale_after(xavier, lambda x: x) < 2


@pytest.mark.parametrize(
    ("scale", "low", "high"), [(0.01, 0, 1e-9), (0.2, 1e9, np.inf)]
)
def test_a_fixed_scale_lets_it_vanish_or_explode(scale, low, high):
    assert low <= scale_after(scaled_normal(scale), jax.nn.relu) < high


@pytest.mark.parametrize(
    ("initializer", "variance"),
    [(kaiming, 2 / (9 * 64)), (xavier, 2 / (9 * 192)), (scaled_normal(0.3), 0.09)],
)
def test_variances_of_a_convolution(initializer, variance):
    kernel = initializer(jax.random.key(1), (3, 3, 64, 128))
    np.testing.assert_allclose(jnp.var(kernel), variance, rtol=0.02)
    assert abs(float(jnp.mean(kernel))) < 3 * np.sqrt(variance / kernel.size)
