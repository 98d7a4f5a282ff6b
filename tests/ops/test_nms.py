"""Suppression of static shape against a greedy loop in NumPy."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.ops import nms

REFERENCES = Path(__file__).parents[1] / "golden/detectors/references.npz"
SETS, BOXES = 1000, 24
CHAIN = [[0, 0, 10, 10], [0, 4.3, 10, 14.3], [0, 8.6, 10, 18.6]]


@jax.jit
def compiled(boxes, scores, threshold, groups, present):
    options = {"threshold": threshold, "groups": groups, "present": present}
    mask = nms.nms_mask(boxes, scores, **options)
    return mask, nms.nms(boxes, scores, size=70, **options)


def both(boxes, scores, threshold, *, groups=None, present=True):
    """The mask and the selection, from one program whatever the number of boxes."""
    n = len(boxes)
    rows, order = np.zeros((60, 4), np.float32), np.ones(60, np.float32)
    group, some = np.zeros(60, np.int32), np.zeros(60, bool)
    rows[:n], order[:n], some[:n] = boxes, scores, present
    if groups is not None:
        group[:n] = groups
    mask, found = compiled(rows, order, np.float32(threshold), group, some)
    assert not mask[n:].any()
    return np.asarray(mask)[:n], jax.tree.map(np.asarray, found)


@pytest.fixture(scope="module")
def sets():
    """Corners on whole pixels, so that overlaps round alike here and in XLA."""
    rng = np.random.default_rng(0)
    corner = rng.integers(0, 30, (SETS, BOXES, 2))
    sides = rng.integers(4, 25, (SETS, BOXES, 2))
    boxes = np.concatenate([corner, corner + sides], -1).astype(np.float32)
    scores = rng.uniform(size=(SETS, BOXES)).round(1).astype(np.float32)  # many ties
    groups = rng.integers(0, 2, (SETS, BOXES)).astype(np.int32)
    present = rng.uniform(size=(SETS, BOXES)) < 0.9
    return boxes, scores, groups, present


def overlap(a, b):
    low = np.maximum(a[..., :2], b[..., :2])
    high = np.minimum(a[..., 2:], b[..., 2:])
    shared = np.clip(high - low, 0, None).prod(-1)
    union = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1)
    return shared / (union - shared)


def greedy(boxes, scores, groups, present, threshold):
    """The loop, of many sets side by side: each takes its best box that is left."""
    boxes, left = boxes.astype(np.float64), present.copy()
    kept, rows = np.zeros_like(present), np.arange(len(boxes))
    while left.any():
        best = np.argmax(np.where(left, scores, -1), 1)
        kept[rows, best] |= left[rows, best]
        far = overlap(boxes, boxes[rows, best][:, None]) <= threshold
        left &= far | (groups != groups[rows, best][:, None])
        left[rows, best] = False
    return kept


def test_the_selection_is_that_of_the_greedy_loop(sets):
    boxes, scores, groups, present = sets

    @jax.jit
    def masks(threshold, *sets):  # as constants they would be sorted by the compiler
        one = lambda b, s, g, p: nms.nms_mask(
            b, s, threshold=threshold, groups=g, present=p
        )
        return jax.vmap(one)(*sets)

    for threshold in (0.3, 0.5, 0.7):
        expected = greedy(boxes, scores, groups, present, threshold)
        found = masks(threshold, *sets)
        np.testing.assert_array_equal(found, expected)


def test_the_selection_is_torchvision_s():
    file = np.load(REFERENCES, allow_pickle=False)
    boxes, scores, classes = (
        file[f"suppression/{name}"] for name in ("boxes", "scores", "classes")
    )
    for threshold in (0.3, 0.5, 0.7):
        kept = file[f"suppression/kept_{threshold}"]
        _, found = both(boxes, scores, threshold)
        np.testing.assert_array_equal(found.position[: len(kept)], kept)
        np.testing.assert_array_equal(found.valid, np.arange(70) < len(kept))
    kept = file["suppression/by_class"]
    _, found = both(boxes, scores, 0.3, groups=classes)
    np.testing.assert_array_equal(found.position[found.valid], kept)


@pytest.mark.parametrize(("threshold", "kept"), [(0.3, "101"), (0.5, "111")])
def test_a_dropped_box_suppresses_nothing(threshold, kept):
    found, _ = both(CHAIN, [0.9, 0.8, 0.7], threshold)
    assert "".join(str(int(x)) for x in found) == kept


def test_an_overlap_equal_to_the_threshold_suppresses_nothing():
    found, _ = both([[0, 0, 2, 4], [0, 0, 2, 2]], [0.9, 0.8], 0.5)
    np.testing.assert_array_equal(found, [True, True])


def test_what_is_selected_is_apart_and_what_is_dropped_has_a_reason(sets):
    boxes, _, groups, _ = (x[0] for x in sets)
    rng = np.random.default_rng(1)
    scores = rng.permutation(BOXES)  # all different
    kept, _ = both(boxes, scores, 0.3, groups=groups)
    near = overlap(boxes[:, None], boxes) > 0.3
    near &= (groups[:, None] == groups) & ~np.eye(BOXES, dtype=bool)
    assert not near[np.ix_(kept, kept)].any()
    better = near & kept & (scores > scores[:, None])
    np.testing.assert_array_equal(better.any(1), ~kept)
    order = rng.permutation(BOXES)
    again, _ = both(boxes[order], scores[order], 0.3, groups=groups[order])
    np.testing.assert_array_equal(again, kept[order])
    twice, _ = both(boxes, scores, 0.3, groups=groups, present=kept)
    np.testing.assert_array_equal(twice, kept)


def test_selected_boxes_come_by_falling_score_and_padding_is_zeros():
    boxes = np.array([[0, 0, 4, 4], [0, 0, 4, 5], [9, 9, 12, 12], [20, 0, 24, 4]])
    _, found = both(boxes, [0.2, 0.3, -np.inf, 0.9], 0.5)
    np.testing.assert_array_equal(found.valid, np.arange(70) < 3)
    np.testing.assert_array_equal(found.position[:4], [3, 1, 2, 0])
    np.testing.assert_array_equal(found.boxes[:3], boxes[[3, 1, 2]])
    np.testing.assert_array_equal(found.scores[:2], np.float32([0.9, 0.3]))
    np.testing.assert_array_equal(found.boxes[3:], np.zeros((67, 4)))
    np.testing.assert_array_equal(found.scores[3:], np.zeros(67))


def test_only_the_best_are_returned():
    select = jax.jit(lambda b, s: nms.nms(b, s, threshold=0.3, size=1))
    found = select(jnp.array(CHAIN), jnp.array([0.1, 0.2, 0.3]))
    np.testing.assert_array_equal(found.position, [2])
    np.testing.assert_array_equal(found.boxes, np.float32(CHAIN[2:]))


def test_nan_is_never_selected_and_suppresses_nothing():
    boxes = np.array([[9, 9, 12, 12], *[[0, 0, 4, 4]] * 3], np.float32)
    boxes[2, 1] = np.nan
    _, found = both(boxes, [np.nan, 0.5, 0.9, 0.1], 0.5)
    np.testing.assert_array_equal(found.valid, np.arange(70) < 1)
    assert found.position[0] == 1
    assert np.isfinite(found.boxes).all()


def test_without_any_box_nothing_is_selected():
    _, found = both(CHAIN, [0.9, 0.8, 0.7], 0.5, present=False)
    assert not found.valid.any()
    assert not found.boxes.any()


def test_nothing_has_a_gradient():
    def total(boxes, scores):
        found = nms.nms(boxes, scores, threshold=0.5, size=3)
        return found.boxes.sum() + found.scores.sum()

    slopes = jax.jit(jax.grad(total, (0, 1)))(jnp.array(CHAIN), jnp.arange(3.0))
    assert not any(np.any(slope) for slope in slopes)
