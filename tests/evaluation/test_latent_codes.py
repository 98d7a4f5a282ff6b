"""What is measured and shown of a model with a latent code."""

import numpy as np
import pytest
from scipy import stats

from jaxnets.evaluation import variational
from jaxnets.ops.distributions import BERNOULLI, GAUSSIAN
from jaxnets.tasks.variational import Judged


def judged(values, code):
    image = np.zeros((len(values), 2, 2, 1))
    parts = {"reconstruction": values - 1.0, "kl": np.full(len(values), 2.0)}
    return Judged(image, code, values, **parts, bound=values + 3.0, drawing=None)


def test_scores_have_standard_errors():
    rng = np.random.default_rng(0)
    values = rng.normal(-90, 5, 200)
    code = rng.normal(size=(200, 3)) * np.array([1, 0.05, 0.5])
    found = variational.likelihoods(judged(values, code), (2, 2, 1), BERNOULLI, 7)
    assert found["elbo"] == pytest.approx(values.mean())
    assert found["elbo_error"] == pytest.approx(stats.sem(values))
    assert found["bound_7"] == pytest.approx(values.mean() + 3)
    assert found["reconstruction"] == pytest.approx(1 - values.mean())
    assert found["kl"] == 2
    assert found["active_units"] == 2
    bits = -(values.mean() + 3) / 4 / np.log(2)
    assert found["bits_per_dimension"] == pytest.approx(bits)
    density = variational.likelihoods(judged(values, code), (2, 2, 1), GAUSSIAN, 7)
    assert density["bits_per_dimension"] == pytest.approx(bits + 8)


@pytest.mark.parametrize("units", [1, 2, 3])
def test_codes_of_any_length_are_embedded_in_the_plane(units):
    code = np.random.default_rng(0).normal(size=(12, units))
    plane = variational.embedded(code)
    assert plane.shape == (12, 2)
    assert np.all(np.isfinite(plane))


def test_lines_and_walks_through_codes():
    ends = np.arange(8.0).reshape(4, 2)
    lines = variational.interpolated(ends, 5)
    np.testing.assert_allclose(lines[:, 0], ends[::2])
    np.testing.assert_allclose(lines[:, -1], ends[1::2])
    np.testing.assert_allclose(lines[1, 2], (ends[2] + ends[3]) / 2)
    walks = variational.traversed(np.array([5.0, 6.0, 7.0]), np.array([2, 0]), 3)
    np.testing.assert_allclose(walks[0], [[5, 6, -3], [5, 6, 0], [5, 6, 3]])
    np.testing.assert_allclose(walks[1, :, 1:], [[6, 7]] * 3)


def test_the_plane_has_equal_shares_of_the_prior():
    plane = variational.plane_codes(4).reshape(4, 4, 2)
    shares = stats.norm.cdf(plane)
    np.testing.assert_allclose(shares[0, :, 0], [0.125, 0.375, 0.625, 0.875])
    np.testing.assert_allclose(shares[:, 0, 1], [0.875, 0.625, 0.375, 0.125])
