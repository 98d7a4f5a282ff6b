"""Densities and divergences against SciPy, integrals and hand arithmetic."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from jaxnets.ops import distributions
from jaxnets.ops.distributions import LIKELIHOODS


def integrated_kl(mean, scale):
    q, p = stats.norm(mean, scale), stats.norm()
    inside = lambda z: q.pdf(z) * (q.logpdf(z) - p.logpdf(z))
    return integrate.quad(inside, mean - 12 * scale, mean + 12 * scale, limit=200)[0]


@pytest.mark.parametrize(
    ("mean", "scale"), [(0, 1), (0.3, 0.5), (-2, 0.05), (1, 3), (0, 1 + 1e-4)]
)
def test_the_divergence_is_the_integral(mean, scale):
    found = distributions.gaussian_kl(jnp.float32(mean), jnp.log(jnp.float32(scale)))
    np.testing.assert_allclose(found, integrated_kl(mean, scale), rtol=2e-5, atol=1e-7)


def test_the_sampled_divergence_is_right_on_average():
    mean, log_scale = jnp.full(200_000, 0.7), jnp.full(200_000, -0.9)
    noise = jax.random.normal(jax.random.key(0), mean.shape)
    code = distributions.reparameterised(mean, log_scale, noise)
    each = np.asarray(distributions.sampled_kl(code, mean, log_scale))
    error = each.std() / np.sqrt(len(each))
    assert abs(each.mean() - integrated_kl(0.7, np.exp(-0.9))) < 4 * error
    np.testing.assert_allclose(code.std(), np.exp(-0.9), rtol=0.01)


def test_bernoulli_and_normal_images_cost_what_scipy_says():
    rng = np.random.default_rng(0)
    logits, light = rng.normal(0, 3, (4, 2, 3, 1)), rng.integers(0, 2, (4, 2, 3, 1))
    found = distributions.bernoulli(jnp.float32(logits), jnp.float32(light))
    share = 1 / (1 + np.exp(-logits))
    expected = stats.bernoulli(share).logpmf(light).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    image, output = rng.random((4, 2, 3, 2)), rng.normal(0, 1, (4, 2, 3, 4))
    found = distributions.gaussian(jnp.float32(output), jnp.float32(image))
    law = stats.norm(output[..., :2], np.exp(output[..., 2:]))
    np.testing.assert_allclose(found, law.logpdf(image).sum(axis=(1, 2, 3)), rtol=1e-5)


# In units of a byte, so that the sharpest are far below one.
LOGISTIC = [(0.5, 30), (0.0, 5), (1.0, 0.3), (0.4, 0.02), (-3.0, 40), (2.0, 1000)]


@pytest.mark.parametrize(("mean", "bytes_wide"), LOGISTIC)
def test_the_256_bytes_have_a_probability_of_one_together(mean, bytes_wide):
    scale = bytes_wide / 255
    image = (jnp.arange(256) / 255).reshape(256, 1, 1, 1)
    output = jnp.broadcast_to(
        jnp.array([mean, np.log(scale)]).reshape(1, 1, 1, 2), (256, 1, 1, 2)
    )
    log_prob = distributions.discretised_logistic(output, image)
    assert np.isfinite(log_prob).all()
    np.testing.assert_allclose(np.exp(np.float64(log_prob)).sum(), 1, rtol=1e-4)
    # Equation 2 as it stands, in float64.
    edges = (np.arange(255) + 0.5) / 255
    below = np.concatenate([[0], stats.logistic(mean, scale).cdf(edges), [1]])
    np.testing.assert_allclose(np.exp(log_prob), np.diff(below), rtol=1e-3, atol=1e-6)
    slope = jax.grad(lambda o: distributions.discretised_logistic(o, image).sum())
    assert np.isfinite(slope(output)).all()


def test_bits_per_dimension_of_what_is_known():
    uniform = 12 * np.log(256)  # each of 12 bytes one of 256
    assert distributions.bits_per_dimension(uniform, 12) == pytest.approx(8)
    # A density of 1 on [0, 1] says nothing about a byte either.
    assert distributions.bits_per_dimension(0.0, 12, density=True) == pytest.approx(8)
    assert distributions.bits_per_dimension(np.log(2) * 5, 5) == pytest.approx(1)


def test_a_streamed_bound_is_the_bound():
    weights = jax.random.normal(jax.random.key(1), (3, 23)) * 40 - 900
    whole = distributions.importance_bound(weights)
    expected = np.log(np.mean(np.exp(np.float64(weights) + 900), axis=1)) - 900
    np.testing.assert_allclose(whole, expected, rtol=1e-6)
    for chunk in (1, 5, 23, 100):
        streamed = distributions.streamed_bound(
            lambda number: jnp.take(weights, number, axis=1, mode="fill"), 23, chunk, 3
        )
        np.testing.assert_allclose(streamed, whole, rtol=1e-6, err_msg=str(chunk))


def test_free_nats_are_a_floor_of_each_group():
    kl = jnp.array([0.1, 0.5, 2.0])
    np.testing.assert_allclose(distributions.free(kl, 0.5), [0.5, 0.5, 2.0])
    slope = jax.grad(lambda k: distributions.free(k, 0.3).sum())(kl)
    np.testing.assert_array_equal(slope, [0, 1, 1])


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_the_mean_is_what_the_location_would_not_leave(name):
    kind = LIKELIHOODS[name]
    output = jnp.full((1, 1, 1, kind.outputs), 0.4)
    image = kind.mean(output)
    assert image.shape == (1, 1, 1, 1)
    slope = jax.grad(lambda o: kind.log_prob(o, image).sum())
    np.testing.assert_allclose(slope(output)[..., 0], 0, atol=1e-5)
    assert abs(float(slope(output + 0.1)[0, 0, 0, 0])) > 1e-3
