"""Ranges, what people write for them, and Optuna's twins of them."""

import math
from typing import NamedTuple

import numpy as np
import pytest
from scipy import stats

from jaxnets.sweeps import space
from jaxnets.sweeps.space import Choice, IntUniform, LogUniform, SpaceError, Uniform

pytestmark = pytest.mark.host

RANGES = [
    Uniform(-1.0, 3.0),
    LogUniform(1e-4, 1e-1),
    IntUniform(2, 9),
    Choice(0.1, 0.5, 2.0),
]


@pytest.mark.parametrize("own", RANGES, ids=repr)
def test_places_and_values_are_inverse(own):
    for place in np.linspace(0, 1, 41):
        value = own.at(float(place))
        assert own.at(own.place(value)) == pytest.approx(value, rel=1e-12)
        assert own.distribution()._contains(
            own.distribution().to_internal_repr(value)
        ), value
    low, high = min(own.bounds), max(own.bounds)
    assert (own.at(0.0), own.at(1.0)) == (low, high)


@pytest.mark.parametrize("own", RANGES, ids=repr)
def test_uniform_places_give_the_distribution_that_scipy_has(own):
    values = np.array([own.at(p) for p in (np.arange(20_000) + 0.5) / 20_000])
    if own.kind == "linear":
        gap = stats.kstest(values, stats.uniform(-1, 4).cdf).statistic
        assert gap < 1e-3
    elif own.kind == "log":
        assert stats.kstest(values, stats.loguniform(1e-4, 1e-1).cdf).statistic < 1e-3
    else:
        _, counts = np.unique(values, return_counts=True)
        assert len(counts) == (8 if own.kind == "int" else 3)
        assert counts.max() - counts.min() <= 2


def test_a_range_is_a_number_its_middle_and_so_a_space_is_a_hyper():
    class Hyper(NamedTuple):
        learning_rate: float = 0.1
        dropout: float = 0.0

    found = Hyper(LogUniform(1e-4, 1e-2), dropout=Choice(0.0, 0.5))
    assert found.learning_rate * 1.0 == pytest.approx(1e-3)
    assert list(space.free(space.of(found))) == ["learning_rate", "dropout"]
    assert found.dropout.nonzero() == 0.5
    assert Uniform(-1, 1).nonzero() == 1


@pytest.mark.parametrize(
    ("text", "own", "expected"),
    [
        ("1e-4..1e-1", None, LogUniform(1e-4, 1e-1)),
        ("0.1..0.5", None, Uniform(0.1, 0.5)),
        ("0.1..0.5", LogUniform(1e-3, 1.0), LogUniform(0.1, 0.5)),
        ("0.1..0.5:log", Uniform(0, 1), LogUniform(0.1, 0.5)),
        ("1..64:int", None, IntUniform(1, 64)),
        ("0..1e3:linear", None, Uniform(0, 1000)),
        ("0.1,0.2", None, Choice(0.1, 0.2)),
        ("0.3", LogUniform(1e-3, 1.0), 0.3),
        ("-1..1", None, Uniform(-1, 1)),
    ],
)
def test_what_people_write(text, own, expected):
    found = space.parsed(text, own)
    assert type(found) is type(expected)
    assert found == expected


@pytest.mark.parametrize(
    "text",
    ["", "a", "1..", "2..1", "0..1:log", "1..2:cubic", "nan..1", "0.1,", "1,1", "..3"],
)
def test_what_is_no_range_is_refused(text):
    with pytest.raises(SpaceError):
        space.parsed(text)


def test_a_wrong_name_is_answered_with_the_nearest():
    known = {"learning_rate": 0.1, "dropout": 0.0}
    with pytest.raises(SpaceError, match="did you mean learning_rate"):
        space.narrowed(known, {"learnin-rate": "0.1"})
    with pytest.raises(SpaceError, match="dropout"):
        space.narrowed(known, {"dropout": "x"})
    found = space.narrowed(known, {"learning-rate": "1e-3..1e-1"})
    assert found == {"learning_rate": LogUniform(1e-3, 1e-1), "dropout": 0.0}


def test_a_space_goes_through_json():
    whole = {"a": 0.5, **{str(i): own for i, own in enumerate(RANGES)}}
    again = space.from_json(space.to_json(whole))
    assert again == whole
    assert [type(v) for v in again.values()] == [type(v) for v in whole.values()]
    for own in RANGES:
        assert space.parsed(str(own)) == own


def test_without_a_space_the_learning_rate_is_searched():
    class Hyper(NamedTuple):
        learning_rate: float = 3e-2
        decay: float = 0.1

    found = space.default(Hyper())
    assert math.isclose(found["learning_rate"], 3e-2)
    assert list(space.free(found)) == ["learning_rate"]

    class Other(NamedTuple):
        rate: float = 1.0

    with pytest.raises(SpaceError, match="no SPACE"):
        space.default(Other())
