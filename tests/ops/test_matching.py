"""Matching with objects and balanced samples: values of published tests."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.ops import matching

OVERLAPS = [[0.15, 0.45, 0.2, 0.6], [0.3, 0.65, 0.05, 0.1], [0.05, 0.4, 0.25, 0.4]]
LABELS = jnp.array([0] * 6 + [1] * 3 + [-1] * 2)

sample = jax.jit(matching.sample, static_argnums=2, static_argnames="fraction")


@partial(jax.jit, static_argnames="low_quality")
def match(overlaps, present, low_quality=True):
    return matching.match(overlaps, present, high=0.7, low=0.3, low_quality=low_quality)


def of(rows, *, padding=0.9, low_quality=True):
    """Matches with rows of padding that overlap every anchor; and with more columns."""
    rows = np.array(rows, np.float32)
    objects, n = rows.shape
    padded = np.full((5, 6), padding, np.float32)
    padded[:objects, n:] = 0
    padded[:objects, :n] = rows
    found = match(padded, np.arange(len(padded)) < objects, low_quality)
    return jax.tree.map(lambda x: np.asarray(x)[:n], found)


@pytest.mark.parametrize("padding", [0, 0.9])
def test_matches_are_detectron2_s_and_padding_is_nobody_s_best(padding):
    found = of(OVERLAPS, padding=padding)
    np.testing.assert_array_equal(found.target, [1, 1, 2, 0])
    np.testing.assert_array_equal(found.label, [-1, 1, 0, 1])


def test_without_low_quality_the_threshold_alone_decides():
    found = of(OVERLAPS, low_quality=False)
    np.testing.assert_array_equal(found.label, [-1, -1, 0, -1])
    edges = of([[0.7, 0.69, 0.3, 0.29]], low_quality=False)
    np.testing.assert_array_equal(edges.label, [1, -1, -1, 0])


def test_every_tie_for_an_object_is_positive_and_keeps_its_own_object():
    found = of([[0.1, 0.2, 0.2, 0.0], [0.0, 0.5, 0.0, 0.4]])
    np.testing.assert_array_equal(found.label, [0, 1, 1, -1])
    np.testing.assert_array_equal(found.target, [0, 1, 0, 1])


def test_ties_that_differ_by_rounding_are_ties():
    found = of([[0.5, 0.5 * (1 - 1e-7), 0.4999]])
    np.testing.assert_array_equal(found.label, [1, 1, -1])


def test_an_object_that_no_anchor_touches_makes_none_positive():
    found = of([[0.0, 0.0, 0.0], [0.0, 0.4, 0.0]])
    np.testing.assert_array_equal(found.label, [0, 1, 0])


@pytest.mark.parametrize("objects", [0, 5])
def test_an_image_without_objects_has_negatives_only(objects):
    found = match(np.zeros((objects, 6), np.float32), np.zeros(objects, bool))
    np.testing.assert_array_equal(found.label, [0] * 6)
    np.testing.assert_array_equal(found.target, [0] * 6)


def test_thresholds_in_the_wrong_order_are_refused():
    with pytest.raises(ValueError, match=r"low threshold 0\.7 is above the high one"):
        matching.match(jnp.zeros((1, 1)), jnp.ones(1, bool), high=0.3, low=0.7)


@pytest.fixture(scope="module")
def many():
    keys = jax.random.split(jax.random.key(0), 400)
    draw = lambda key: matching.sample(key, LABELS, 4, fraction=0.25)
    return jax.tree.map(np.asarray, jax.jit(jax.vmap(draw))(keys))


def test_a_sample_has_its_share_of_positives_and_each_is_as_likely(many):
    np.testing.assert_array_equal(many.positive, [[True, False, False, False]] * 400)
    assert many.valid.all()
    counts = np.bincount(many.position.reshape(-1), minlength=11)
    assert counts.sum() == 1600
    np.testing.assert_array_equal(counts[9:], [0, 0])
    assert all(len(set(row)) == 4 for row in many.position.tolist())
    assert np.all(abs(counts[:6] - 200) < 50)  # 5 standard deviations
    assert np.all(abs(counts[6:9] - 400 / 3) < 50)


@pytest.mark.parametrize(
    ("labels", "size", "fraction", "positives", "negatives"),
    [
        ([0] * 6 + [1], 13, 0.5, 1, 6),  # fewer than asked for
        ([0] * 2 + [1] * 9, 13, 0.5, 6, 2),  # positives fill no gap
        ([0] * 9, 4, 0.5, 0, 4),
        ([1] * 9, 4, 0.5, 2, 0),
        ([-1] * 9, 4, 0.5, 0, 0),
        ([0, 1, 1, 0], 2, 1.0, 2, 0),
    ],
)
def test_a_sample_takes_what_there_is(labels, size, fraction, positives, negatives):
    labels = np.pad(
        np.array(labels, np.int32), (0, 11 - len(labels)), constant_values=-1
    )
    found = sample(jax.random.key(1), labels, size, fraction=fraction)
    assert found.position.shape == (size,)
    count = positives + negatives
    np.testing.assert_array_equal(found.positive, np.arange(size) < positives)
    np.testing.assert_array_equal(found.valid, np.arange(size) < count)
    drawn = labels[found.position[:count]].tolist()
    assert drawn == [1] * positives + [0] * negatives
    np.testing.assert_array_equal(found.position[count:], [0] * (size - count))


def test_a_fraction_beyond_1_is_refused():
    with pytest.raises(ValueError, match=r"fraction of positives must be in \[0, 1\]"):
        matching.sample(jax.random.key(0), LABELS, 4, fraction=25)
