"""Proposals: the same seed gives the same, whatever happened in between."""

import numpy as np
import pytest

from jaxnets.sweeps import search
from jaxnets.sweeps.space import Choice, LogUniform, SpaceError, Uniform

pytestmark = pytest.mark.host

SPACE = {"x": Uniform(-2.0, 2.0), "y": LogUniform(1e-3, 1.0), "fixed": 0.5}


def bowl(values):
    """Lowest at x = 1, y = 0.1."""
    return [(values["x"] - 1) ** 2 + (np.log10(values["y"]) + 1) ** 2]


def searched(method, seed, sizes, function=bowl, space=SPACE, objectives=1):
    """The batches that a whole search proposes, asked for anew after each."""
    results, batches = [], []
    for number in range(len(sizes)):
        batches = search.proposals(space, method, seed, sizes, results, objectives)
        results.append([function(values) for values in batches[number]])
    return batches, results


@pytest.mark.parametrize("method", ["random", "quasi", "tpe", "cmaes", "nsga2"])
def test_a_replayed_search_proposes_the_same(method):
    sizes = [6, 6, 6]
    batches, results = searched(method, 3, sizes)
    for known in range(len(sizes) + 1):
        again = search.proposals(SPACE, method, 3, sizes, results[:known])
        assert again == batches[: len(again)]
    other, _ = searched(method, 4, sizes)
    assert other[0] != batches[0]
    flat = [values for batch in batches for values in batch]
    assert len(flat) == 18
    for values in flat:
        assert set(values) == {"x", "y"}
        assert -2 <= values["x"] <= 2
        assert 1e-3 <= values["y"] <= 1


@pytest.mark.parametrize("method", ["tpe", "cmaes"])
def test_methods_that_learn_come_nearer(method):
    _, results = searched(method, 0, [8] * 10)
    first = np.mean(results[0])
    last = np.mean([r for batch in results[-2:] for r in batch])
    assert last < 0.5 * first


def test_what_learns_avoids_what_diverged():
    def cliff(values):
        return None if values["x"] > 0 else [(values["x"] + 1) ** 2]

    _, results = searched("tpe", 0, [10] * 6, cliff)
    lost = [sum(r is None for r in batch) for batch in results]
    assert lost[0] >= 3
    assert sum(lost[-3:]) < lost[0]


def test_quasi_random_points_fill_the_square_more_evenly():
    from scipy.stats import qmc

    space = {"x": Uniform(0, 1), "y": Uniform(0, 1)}

    def unevenness(method):
        (points,) = search.proposals(space, method, 1, [64])
        return qmc.discrepancy(np.array([[p["x"], p["y"]] for p in points]))

    assert unevenness("quasi") < 0.5 * unevenness("random")


def test_a_grid_has_the_ends_and_all_choices():
    space = {"x": Uniform(0, 1), "y": LogUniform(1, 100), "c": Choice(1.0, 2.0)}
    points = search.grid(space, 20)
    assert len(points) == 18
    assert {p["x"] for p in points} == {0, 0.5, 1}
    assert {p["c"] for p in points} == {1, 2}
    np.testing.assert_allclose(sorted({p["y"] for p in points}), [1, 10, 100])
    assert search.proposals(space, "grid", 0, [9, 9]) == [points[:9], points[9:]]


def test_two_objectives_end_on_the_front():
    space = {"x": Uniform(-2.0, 2.0), "y": Uniform(0.0, 1.0)}

    def two(values):  # the front is y = 0, x in [0, 1]
        x, y = values["x"], values["y"]
        return [x**2 + y, (x - 1) ** 2 + y]

    batches, _ = searched("nsga2", 0, [12] * 8, two, space, objectives=2)
    last = batches[-1]
    assert np.mean([v["y"] for v in last]) < 0.35
    assert np.mean([-0.3 < v["x"] < 1.3 for v in last]) > 0.7


def test_what_cannot_be_searched_is_said():
    with pytest.raises(SpaceError, match="fixed"):
        search.proposals({"x": 1.0}, "random", 0, [3])
    with pytest.raises(SpaceError, match="one objective"):
        search.proposals(SPACE, "cmaes", 0, [3], objectives=2)
    with pytest.raises(SpaceError, match="torch"):
        search.proposals(SPACE, "gp", 0, [3])
