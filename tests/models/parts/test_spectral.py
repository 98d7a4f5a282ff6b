"""Spectral norm against the singular value decomposition."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.models import functional
from jaxnets.models.parts.spectral import SpectralConv, SpectralDense, power_iteration
from jaxnets.testing.models import check_model
from jaxnets.types import Variables
from tests.golden.networks.fill import uniform

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
    return np.random.default_rng(0).normal(size=(rows, columns)).astype(np.float32)


def test_the_iteration_finds_the_largest_singular_value_and_vector():
    weight = matrix()

    @jax.jit
    def iterated(left):
        turn = lambda left, _: power_iteration(jnp.asarray(weight), left)[::-1]
        return jax.lax.scan(turn, left, length=200)

    left, seen = map(np.asarray, iterated(jnp.full(7, 7**-0.5)))
    _, exact, rows = np.linalg.svd(weight)
    assert seen[-1] == pytest.approx(exact[0], rel=1e-5)
    assert abs(rows[0] @ left) == pytest.approx(1, abs=1e-4)
    assert max(seen) <= exact[0] * (1 + 1e-5)  # from below


def test_its_gradient_is_that_of_the_singular_value():
    with jax.enable_x64(True):
        weight = np.random.default_rng(0).normal(size=(6, 4))
        left = np.linalg.svd(weight)[2][0]
        gradient = jax.jit(
            jax.grad(lambda w: power_iteration(w, jnp.asarray(left))[0])
        )(weight)
        step = 1e-6
        moved = step * np.eye(24).reshape(24, 6, 4)
        up, down = (np.linalg.norm(weight + s, 2, (1, 2)) for s in (moved, -moved))
        expected = ((up - down) / (2 * step)).reshape(6, 4)
        np.testing.assert_allclose(gradient, expected, atol=1e-8)


def test_training_calls_bring_every_kernel_to_norm_one():
    model, image = Small(), jnp.asarray(uniform("spectral", (3, 8, 8, 2)))

    @jax.jit
    def trained():
        first = functional.init(model, KEY, image)
        train = lambda v, _: (
            Variables(v.params, functional.forward(model, v, KEY, image)[1]),
            None,
        )
        variables, _ = jax.lax.scan(train, first, length=150)
        return variables, functional.predict(model, variables, image)

    variables, ours = trained()
    kernel = np.asarray(variables.params["SpectralDense_0"]["kernel"])
    plain = np.asarray(variables.params["SpectralConv_0"]["kernel"])
    maps = nn.Conv(5, (3, 3), strides=2, padding=1)
    largest = np.linalg.norm(plain.reshape(-1, 5), 2)
    bias = variables.params["SpectralConv_0"]["bias"]
    params = {"params": {"kernel": plain / largest, "bias": bias}}
    x = np.asarray(jax.jit(maps.apply)(params, image))
    x = np.where(x > 0, x, 0.2 * x).reshape(3, -1)
    expected = x @ (kernel / np.linalg.norm(kernel, 2))
    np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-4)


def test_a_fresh_layer_is_near_norm_one():
    model, x = SpectralDense(16), jnp.asarray(uniform("fresh", (4, 64)))

    @jax.jit
    def fresh():
        variables = functional.init(model, KEY, x)
        return variables, functional.predict(model, variables, x)

    variables, ours = fresh()
    ratio = x @ np.asarray(variables.params["kernel"]) / ours
    exact = np.linalg.norm(variables.params["kernel"], 2)
    assert ratio.mean() == pytest.approx(exact, rel=0.05)


def test_deployment_moves_nothing_and_the_contract_holds():
    check_model(Small(), jnp.asarray(uniform("spectral", (3, 6, 6, 2))))
