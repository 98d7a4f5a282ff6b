"""How far apart two sets of points are: the numbers that judge a generator's samples.

A point is the features of one image, as some fixed network sees it. Every number here
depends on that network: compare numbers of one network only.

- Frechet distance: Heusel, Ramsauer, Unterthiner, Nessler & Hochreiter, "GANs trained
  by a two time-scale update rule converge to a local Nash equilibrium", 2017,
  https://arxiv.org/abs/1706.08500, equation 6.
- Kernel distance: Bińkowski, Sutherland, Arbel & Gretton, "Demystifying MMD GANs",
  2018, https://arxiv.org/abs/1801.01401, section 4.
- Precision and recall: Kynkäänniemi, Karras, Laine, Lehtinen & Aila, "Improved
  precision and recall metric for assessing generative models", 2019,
  https://arxiv.org/abs/1904.06991, equations 1 and 2.
- Density and coverage: Naeem, Oh, Uh, Choi & Yoo, "Reliable fidelity and diversity
  metrics for generative models", 2020, https://arxiv.org/abs/2002.09797, equations 4
  and 5.

Everything is computed on the host in float64, and in blocks of rows where all pairs are
looked at: of 10,000 points against 10,000 never more than 40 MB of 800 at a time.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

NEIGHBOURS = 5  # of `quality`; every set must have more points
_ROWS = 500  # of the matrix of pairs that are in memory at a time


class Overlap(NamedTuple):
    """How well one set covers another, each a share in [0, 1] but for `density`.

    Attributes:
        precision: Share of the samples that lie where the data does: are they real?
        recall: Share of the data that lies where the samples do: is nothing missing?
        density: As precision, counting how many neighbourhoods a sample lies in; 1 is
            expected where both sets are of one distribution, and more is possible.
        coverage: Share of the data that has a sample in its neighbourhood.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def frechet_distance(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"]) -> float:
    """The squared Frechet distance of the two normal distributions that fit best.

    |mean a - mean b|^2 + tr(A + B - 2 (A B)^(1/2)), with the covariances A and B. The
    trace of the root is the sum of the roots of the eigenvalues of A^(1/2) B A^(1/2),
    which is symmetric: no complex numbers, no singular case.

    Biased upwards by sampling: give both sides the same number of points in every
    comparison, and many more points than there are features.

    Raises:
        ValueError: If either set has fewer than two points.
    """
    a, b = _points(a), _points(b)
    apart = np.sum((a.mean(axis=0) - b.mean(axis=0)) ** 2)
    first, second = np.atleast_2d(np.cov(a.T)), np.atleast_2d(np.cov(b.T))
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    middle = np.linalg.eigvalsh(root @ second @ root)
    shared = np.sqrt(np.maximum(middle, 0)).sum()
    return float(apart + np.trace(first) + np.trace(second) - 2 * shared)


def kernel_distance(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"]) -> float:
    """The squared maximum mean discrepancy under the kernel (x.y / d + 1)^3.

    Unbiased, so that its expectation is 0 for two sets of one distribution, whatever
    their size, and a single value may be below 0. Departure: all pairs are used, where
    the paper's code averages over subsets of 1,000 points.

    Raises:
        ValueError: If either set has fewer than two points.
    """
    a, b = _points(a), _points(b)
    n, m = len(a), len(b)
    within = _kernel_sum(a, a) - np.sum(_kernel(np.sum(a * a, axis=1), a.shape[1]))
    other = _kernel_sum(b, b) - np.sum(_kernel(np.sum(b * b, axis=1), b.shape[1]))
    across = _kernel_sum(a, b)
    return float(within / (n * (n - 1)) + other / (m * (m - 1)) - 2 * across / (n * m))


def overlap(
    real: Float[np.ndarray, "n d"],
    fake: Float[np.ndarray, "m d"],
    *,
    neighbours: int = 3,
) -> Overlap:
    """How far the supports of two sets cover each other.

    The neighbourhood of a point is the closed ball around it that reaches its
    `neighbours`-th nearest other point of its own set; the set lies wherever one of its
    neighbourhoods is.

    Args:
        real: The data.
        fake: The samples.
        neighbours: The paper on precision and recall takes 3, that on density and
            coverage 5.

    Raises:
        ValueError: If either set has no more points than `neighbours`.
    """
    real, fake = _points(real), _points(fake)
    if not 0 < neighbours < min(len(real), len(fake)):
        raise ValueError(
            f"the {neighbours}-th neighbour needs more points than {len(real)} and "
            f"{len(fake)}"
        )
    real_reach, fake_reach = _reach(real, neighbours), _reach(fake, neighbours)
    inside_real = np.zeros(len(fake), np.int64)  # real neighbourhoods a sample is in
    recalled, covered = [], []
    for rows, pairs in _blocks(real, fake):
        reached = pairs <= real_reach[rows, None]
        inside_real += reached.sum(axis=0)
        covered.append(reached.any(axis=1))
        recalled.append((pairs <= fake_reach[None, :]).any(axis=1))
    return Overlap(
        precision=float(np.mean(inside_real > 0)),
        recall=float(np.mean(np.concatenate(recalled))),
        density=float(inside_real.sum() / (neighbours * len(fake))),
        coverage=float(np.mean(np.concatenate(covered))),
    )


def quality(
    real: Float[np.ndarray, "n d"], fake: Float[np.ndarray, "m d"]
) -> dict[str, float]:
    """All of the above by name, with `NEIGHBOURS`: one line of a table."""
    return {
        "frechet": frechet_distance(real, fake),
        "kernel": kernel_distance(real, fake),
        **overlap(real, fake, neighbours=NEIGHBOURS)._asdict(),
    }


def _points(features: np.ndarray) -> np.ndarray:
    if len(features) < 2:
        raise ValueError(
            f"a distance between sets needs two points or more, got {len(features)}"
        )
    return np.asarray(features, np.float64)


def _kernel(product: np.ndarray, features: int) -> np.ndarray:
    return (product / features + 1) ** 3


def _kernel_sum(a: np.ndarray, b: np.ndarray) -> float:
    starts = range(0, len(a), _ROWS)
    return sum(float(_kernel(a[i : i + _ROWS] @ b.T, a.shape[1]).sum()) for i in starts)


def _blocks(a: np.ndarray, b: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Squared distances of all pairs, some rows of `a` at a time."""
    norms = np.sum(b * b, axis=1)
    for start in range(0, len(a), _ROWS):
        rows = slice(start, start + _ROWS)
        some = a[rows]
        yield rows, np.sum(some * some, axis=1)[:, None] + norms - 2 * some @ b.T


def _reach(points: np.ndarray, neighbours: int) -> np.ndarray:
    """The squared distance of each point to its nearest other points' last."""
    reach = []
    for rows, pairs in _blocks(points, points):
        index = np.arange(len(pairs))
        pairs[index, rows.start + index] = np.inf  # itself, whatever rounding makes
        reach.append(np.partition(pairs, neighbours - 1, axis=1)[:, neighbours - 1])
    return np.concatenate(reach)
