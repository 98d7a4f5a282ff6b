"""Distances between sets against closed forms, brute force and sets done by hand."""

import numpy as np
import pytest
import scipy.linalg

from jaxnets.analysis import distances
from jaxnets.analysis.distances import (
    Overlap,
    frechet_distance,
    kernel_distance,
    overlap,
    quality,
)

pytestmark = pytest.mark.host

RNG = np.random.default_rng(0)


def exactly(mean, covariance, count=40):
    """Points whose sample mean and covariance are those given, to rounding."""
    raw = RNG.normal(size=(count, len(mean)))
    raw -= raw.mean(axis=0)
    white = raw @ np.linalg.inv(np.linalg.cholesky(np.atleast_2d(np.cov(raw.T)))).T
    return white @ np.linalg.cholesky(covariance).T + mean


def test_frechet_of_gaussians_in_closed_form():
    mean_a, mean_b = np.array([1.0, 2.0, 3.0]), np.array([0.0, 2.0, 5.0])
    # Commuting covariances: the trace is the sum of (sigma_a - sigma_b)^2.
    a = exactly(mean_a, np.diag([1.0, 4.0, 9.0]))
    b = exactly(mean_b, np.diag([4.0, 4.0, 1.0]), count=60)
    assert frechet_distance(a, b) == pytest.approx(5 + 1 + 0 + 4, abs=1e-9)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    one = exactly(np.array([3.0]), np.array([[4.0]]))
    two = exactly(np.array([0.0]), np.array([[25.0]]))
    assert frechet_distance(one, two) == pytest.approx(9 + 9, abs=1e-9)


def test_frechet_agrees_with_the_matrix_root_of_the_paper():
    a, b = RNG.normal(size=(50, 6)) @ RNG.normal(size=(6, 6)), RNG.normal(size=(70, 6))
    first, second = np.cov(a.T), np.cov(b.T)
    root = scipy.linalg.sqrtm(first @ second)
    apart = np.sum((a.mean(0) - b.mean(0)) ** 2)
    expected = apart + np.trace(first + second - 2 * np.real(root))
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)
    # Singular covariances: a feature that never fires.
    dead = np.c_[a, np.zeros(50)], np.c_[b, np.zeros(70)]
    assert frechet_distance(*dead) == pytest.approx(expected, rel=1e-9)
    single = frechet_distance(a.astype(np.float32), b.astype(np.float32))
    assert single == pytest.approx(expected, rel=1e-5)


def test_kernel_distance_agrees_with_loops(monkeypatch):
    a, b = RNG.normal(size=(7, 3)), RNG.normal(size=(5, 3)) + 1

    def k(x, y):
        return (x @ y / 3 + 1) ** 3

    within = np.mean([k(a[i], a[j]) for i in range(7) for j in range(7) if i != j])
    other = np.mean([k(b[i], b[j]) for i in range(5) for j in range(5) if i != j])
    across = np.mean([k(x, y) for x in a for y in b])
    expected = within + other - 2 * across
    assert kernel_distance(a, b) == pytest.approx(expected, rel=1e-12)
    monkeypatch.setattr(distances, "_ROWS", 3)
    assert kernel_distance(a, b) == pytest.approx(expected, rel=1e-12)


def test_kernel_distance_is_unbiased():
    values = [
        kernel_distance(RNG.normal(size=(10, 2)), RNG.normal(size=(10, 2)))
        for _ in range(2000)
    ]
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values)) < 4 * error
    assert min(values) < 0
    shifted = [
        kernel_distance(RNG.normal(size=(10, 2)), RNG.normal(size=(10, 2)) + 1)
        for _ in range(200)
    ]
    assert np.mean(shifted) > 1


def test_overlap_of_sets_worked_by_hand():
    # Data at 0, 1, 3, 7 on a line; nearest neighbours at 1, 1, 2, 4.
    real = np.array([[0.0], [1.0], [3.0], [7.0]])
    # Samples at 0.5, 20 and 21; nearest at 19.5, 1 and 1.
    fake = np.array([[0.5], [20.0], [21.0]])
    found = overlap(real, fake, neighbours=1)
    # 0.5 is in the balls of 0 and 1, and of no other: |3 - 0.5| > 2, |7 - 0.5| > 4.
    assert found == Overlap(
        precision=1 / 3,
        recall=1.0,  # the ball of 0.5 reaches all
        density=2 / 3,
        coverage=2 / 4,
    )
    # The boundary counts: 0.5 away from 1 is its first neighbour itself.
    edge = overlap(real, np.array([[2.0], [30.0]]), neighbours=1)
    assert (edge.precision, edge.density, edge.coverage) == (0.5, 1.0, 0.5)


@pytest.mark.parametrize("rows", [4, 500])
def test_overlap_agrees_with_loops(rows, monkeypatch):
    monkeypatch.setattr(distances, "_ROWS", rows)
    real, fake = RNG.normal(size=(23, 2)), RNG.normal(size=(31, 2)) * 0.7 + 0.5
    k = 3

    def reach(points, i):
        return sorted(np.linalg.norm(p - points[i]) for p in points)[k]

    inside = [
        [np.linalg.norm(y - real[i]) <= reach(real, i) for i in range(23)] for y in fake
    ]
    back = [
        any(np.linalg.norm(x - fake[j]) <= reach(fake, j) for j in range(31))
        for x in real
    ]
    found = overlap(real, fake, neighbours=k)
    assert found.precision == pytest.approx(np.mean(np.any(inside, axis=1)))
    assert found.density == pytest.approx(np.sum(inside) / (k * 31))
    assert found.coverage == pytest.approx(np.mean(np.any(inside, axis=0)))
    assert found.recall == pytest.approx(np.mean(back))


def test_one_distribution_overlaps_and_a_collapsed_one_does_not():
    real, same = RNG.normal(size=(600, 4)), RNG.normal(size=(600, 4))
    good = quality(real, same)
    assert good["precision"] > 0.8
    assert good["recall"] > 0.8
    assert good["coverage"] > 0.9
    assert good["density"] == pytest.approx(1, abs=0.15)
    # One mode of the data: the samples are real, and nearly everything is missing.
    collapsed = quality(real, real[:1] + 0.1 * RNG.normal(size=(600, 4)))
    assert collapsed["precision"] > 0.9
    assert collapsed["recall"] < 0.05
    assert collapsed["coverage"] < 0.2
    assert collapsed["frechet"] > 20 * good["frechet"]


def test_too_few_points_are_refused():
    one, three = np.zeros((1, 2)), np.zeros((3, 2))
    with pytest.raises(ValueError, match="two points"):
        frechet_distance(one, three)
    with pytest.raises(ValueError, match="3-th neighbour"):
        overlap(three, three, neighbours=3)
