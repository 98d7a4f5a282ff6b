import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.models.parts import norms
from jaxnets.ops import norm
from tests.golden.networks.fill import fill, uniform

REFERENCES = Path(__file__).parents[1] / "golden/networks/references.npz"


@pytest.fixture(scope="module")
def torch():
    file = np.load(REFERENCES, allow_pickle=False)
    return {k.removeprefix("layer/"): file[k] for k in file.files if "layer/" in k}


@pytest.fixture(scope="module")
def image():
    return jnp.asarray(uniform("layers", (3, 8, 7, 9)).transpose(0, 2, 3, 1))


@pytest.fixture(scope="module")
def affine():
    return jnp.asarray(fill("weight", (8,))), jnp.asarray(fill("bias", (8,)))


def close(ours, reference):
    np.testing.assert_allclose(ours, reference, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize(
    ("name", "groups"), [("group", 4), ("layer", 1), ("instance", 8)]
)
def test_group_norms_are_torch_s(torch, image, affine, name, groups):
    ours = jax.jit(functools.partial(norm.group_norm, groups=groups))
    close(ours(image, *affine), torch[name])


def test_batch_norm_is_torch_s(torch, image, affine):
    ours = lambda x, *rest: norm.batch_norm(x, *rest, *norm.batch_statistics(x))
    close(jax.jit(ours)(image, *affine), torch["batch"])


def test_local_response_norm_is_torch_s(torch, image):
    close(jax.jit(norm.local_response_norm)(image), torch["response"])


def test_local_response_norm_by_hand():
    x = jnp.asarray([[1.0, 2.0, 3.0, 4.0]])
    ours = norm.local_response_norm(x, size=3, k=1.0, alpha=0.5, beta=1.0)
    sums = np.array([1 + 4, 1 + 4 + 9, 4 + 9 + 16, 9 + 16])
    close(ours, np.asarray(x) / (1 + 0.5 * sums))


@pytest.mark.parametrize("beta", [0.5, 0.75, 2.0])
def test_local_response_norm_is_exact_over_all_magnitudes(beta):
    rng = np.random.default_rng(4)
    x = rng.normal(size=(64, 9)) * 10.0 ** rng.uniform(-3, 3, (64, 1))
    sums = np.stack([(x[:, max(0, c - 2) : c + 3] ** 2).sum(1) for c in range(9)], 1)
    exact = x / (2.0 + 1e-4 * sums) ** beta
    run = jax.jit(lambda x: norm.local_response_norm(x, beta=beta))
    np.testing.assert_allclose(run(x.astype(np.float32)), exact, rtol=2e-6)
    with jax.enable_x64(True):
        wide = run(x)
        assert wide.dtype == np.float64
        np.testing.assert_allclose(wide, exact, rtol=1e-14)


def test_local_response_norm_has_a_gradient_inside_jit():
    """Against central differences, compiled and not."""
    x = np.random.default_rng(2).normal(size=(2, 6)).astype(np.float32)
    weights = np.arange(12, dtype=np.float32).reshape(2, 6)

    def value(x):
        normed = norm.local_response_norm(x, size=3, k=1.0, alpha=0.5)
        return jnp.sum(weights * normed)

    step = 1e-2
    moved = step * np.eye(12, dtype=np.float32).reshape(12, 2, 6)
    ends = jax.jit(jax.vmap(value))(np.concatenate([x + moved, x - moved]))
    expected = -np.diff(np.reshape(ends, (2, 2, 6)), axis=0)[0] / (2 * step)
    for gradient in (jax.grad(value), jax.jit(jax.grad(value))):
        np.testing.assert_allclose(gradient(x), expected, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(
    ("module", "axes"),
    [
        (norms.BatchNorm(), (0, 1, 2)),
        (norms.LayerNorm(), (1, 2, 3)),
        (norms.InstanceNorm(), (1, 2)),
    ],
)
def test_means_vanish_over_the_axes(module, axes):
    x = np.random.default_rng(0).normal(7, 3, (4, 5, 6, 8)).astype(np.float32)

    @jax.jit
    def normed(x):
        variables = module.init(jax.random.key(0), x, train=False)
        return module.apply(variables, x, train=True, mutable=["batch_stats"])[0]

    y = np.asarray(normed(x))
    np.testing.assert_allclose(y.mean(axes), 0, atol=1e-5)
    np.testing.assert_allclose(y.var(axes), 1, atol=1e-4)
    others = tuple(axis for axis in range(4) if axis not in axes)
    assert np.abs(y.mean(others)).max() > 0.1  # and only over those


@pytest.mark.parametrize(
    ("channels", "groups"), [(64, 32), (16, 8), (12, 6), (3, 1), (1, 1), (66, 22)]
)
def test_group_norm_finds_the_groups(channels, groups):
    assert norms.group_count(channels, 32) == groups


def test_group_norm_uses_them(image, affine):
    params = dict(zip(("scale", "bias"), affine, strict=True))
    y = norms.GroupNorm().apply({"params": params}, image)
    close(y, norm.group_norm(image, *affine, groups=4))


def test_groups_must_divide():
    with pytest.raises(ValueError, match="8 channels do not divide into 3 groups"):
        norm.group_norm(jnp.ones((2, 8)), jnp.ones(8), jnp.zeros(8), groups=3)


def test_instance_norm_refuses_single_pixels():
    with pytest.raises(ValueError, match="one pixel"):
        norms.InstanceNorm().init(jax.random.key(0), jnp.ones((2, 1, 1, 4)))


def test_batch_norm_refuses_a_single_value():
    module, x = norms.BatchNorm(), jnp.ones((1, 1, 1, 4))
    variables = module.init(jax.random.key(0), x, train=False)
    with pytest.raises(ValueError, match="two values a channel"):
        module.apply(variables, x, train=True, mutable=["batch_stats"])


@pytest.mark.parametrize("shape", [(6, 3), (4, 5, 5, 3)])
def test_the_analytic_gradient_is_the_automatic_one(shape):
    rng = np.random.default_rng(1)
    with jax.enable_x64(True):
        x, (scale, bias) = rng.normal(1, 2, shape), rng.normal(size=(2, 3))
        incoming = rng.normal(size=shape)

        def forward(x, scale, bias):
            return norm.batch_norm(x, scale, bias, *norm.batch_statistics(x))

        @jax.jit
        def both(x, scale, bias, incoming):
            automatic = jax.vjp(forward, x, scale, bias)[1](incoming)
            return norm.batch_norm_gradient(x, scale, incoming), automatic

        for hand, automatic in zip(*both(x, scale, bias, incoming), strict=True):
            np.testing.assert_allclose(hand, automatic, rtol=1e-10, atol=1e-12)


def test_statistics_of_bfloat16_are_float32():
    x = np.random.default_rng(0).normal(100, 1, (512, 4)).astype(jnp.bfloat16)
    mean, var = jax.jit(norm.batch_statistics)(x)
    exact = np.asarray(x, np.float64)
    np.testing.assert_allclose(mean, exact.mean(0), rtol=1e-5)
    np.testing.assert_allclose(var, exact.var(0), rtol=1e-3)
    ungrouped = functools.partial(norm.group_norm, groups=1)
    y = jax.eval_shape(ungrouped, x, jnp.ones(4), jnp.zeros(4))
    assert y.dtype == jnp.bfloat16


def test_statistics_far_from_zero_keep_their_digits():
    # Mean of squares less square of the mean would lose all of them: 1e8 + 1 - 1e8.
    values = np.random.default_rng(0).normal(1e4, 1, (16, 8, 8, 3)).astype(np.float32)
    mean, var = jax.jit(norm.batch_statistics)(values)
    exact = values.astype(np.float64).reshape(-1, 3)
    np.testing.assert_allclose(mean, exact.mean(0), rtol=1e-6)
    np.testing.assert_allclose(var, exact.var(0), rtol=1e-4)
