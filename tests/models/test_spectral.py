"""Spectral norm against the singular value decomposition."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.models import functional
from jaxnets.models.spectral import SpectralConv, SpectralDense, power_iteration
from jaxnets.testing import check_model
from jaxnets.types import Variables

KEY = jax.random.key(0)


class Small(nn.Module):
    dtype: type = jnp.float32

    @nn.compact
    def __call__(self, image, *, train):
        x = SpectralConv(5, 3, stride=2, padding=1, dtype=self.dtype)(
            image, train=train
        )
        x = nn.leaky_relu(x, 0.2).reshape(image.shape[0], -1)
        return SpectralDense(2, dtype=self.dtype)(x, train=train)


def matrix(rows=12, columns=7):
    return jax.random.normal(KEY, (rows, columns))


def test_the_iteration_finds_the_largest_singular_value_and_vector():
    weight = matrix()
    left, seen = jnp.ones(7) / np.sqrt(7), []
    for _ in range(200):
        value, left = power_iteration(weight, left)
        seen.append(float(value))
    _, exact, rows = np.linalg.svd(weight)
    assert seen[-1] == pytest.approx(exact[0], rel=1e-5)
    assert abs(rows[0] @ left) == pytest.approx(1, abs=1e-4)
    assert max(seen) <= exact[0] * (1 + 1e-5)  # from below


def test_its_gradient_is_that_of_the_singular_value():
    with jax.enable_x64(True):
        weight = jax.random.normal(KEY, (6, 4), jnp.float64)
        left = jnp.asarray(np.linalg.svd(weight)[2][0])
        gradient = jax.grad(lambda w: power_iteration(w, left)[0])(weight)
        expected, step = np.zeros((6, 4)), 1e-6
        for index in np.ndindex(6, 4):
            up, down = (
                np.linalg.norm(weight.at[index].add(s), 2) for s in (step, -step)
            )
            expected[index] = (up - down) / (2 * step)
        np.testing.assert_allclose(gradient, expected, atol=1e-8)


def test_training_calls_bring_every_kernel_to_norm_one():
    model, image = Small(), jax.random.normal(KEY, (3, 8, 8, 2))
    variables = functional.init(model, KEY, image)
    train = jax.jit(lambda v: functional.forward(model, v, KEY, image)[1])
    for _ in range(150):
        variables = Variables(variables.params, train(variables))
    kernel = np.asarray(variables.params["SpectralDense_0"]["kernel"])
    plain = variables.params["SpectralConv_0"]["kernel"]
    maps = nn.Conv(5, (3, 3), strides=2, padding=1)
    largest = np.linalg.norm(np.asarray(plain).reshape(-1, 5), 2)
    bias = variables.params["SpectralConv_0"]["bias"]
    x = maps.apply({"params": {"kernel": plain / largest, "bias": bias}}, image)
    x = np.asarray(nn.leaky_relu(x, 0.2)).reshape(3, -1)
    expected = x @ (kernel / np.linalg.norm(kernel, 2))
    ours = functional.predict(model, variables, image)
    np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-4)


def test_a_fresh_layer_is_near_norm_one():
    model, x = SpectralDense(16), jax.random.normal(KEY, (4, 64))
    variables = functional.init(model, KEY, x)
    plain = np.asarray(x @ variables.params["kernel"])
    ratio = plain / functional.predict(model, variables, x)
    exact = np.linalg.norm(variables.params["kernel"], 2)
    assert ratio.mean() == pytest.approx(exact, rel=0.05)


def test_deployment_moves_nothing_and_the_contract_holds():
    check_model(Small(), jax.random.normal(KEY, (3, 6, 6, 2)))
