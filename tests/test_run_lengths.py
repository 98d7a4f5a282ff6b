"""Masks as run lengths, against pycocotools' numbers and masks drawn in full."""

import json
from pathlib import Path

import numpy as np
import pytest

from jaxnets import run_lengths
from jaxnets.run_lengths import RunLengths

pytestmark = pytest.mark.host

GOLDEN = json.loads((Path(__file__).parent / "golden/run_lengths.json").read_text())


def random_masks(seed, count=40):
    """Masks of many sizes and densities, all background and all object among them."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        size = random.integers(1, 30, 2)
        yield random.random(size) < random.choice([0, 0.05, 0.5, 0.95, 1])


@pytest.fixture(scope="module")
def drawn():
    size = tuple(GOLDEN["size"])
    return [run_lengths.from_polygons([p], size) for p in GOLDEN["polygons"]]


def test_polygons_are_drawn_as_pycocotools_draws_them(drawn):
    assert [run_lengths.to_string(mask) for mask in drawn] == GOLDEN["strings"]


def test_areas_boxes_and_overlaps_are_those_of_pycocotools(drawn):
    assert run_lengths.areas(drawn).tolist() == GOLDEN["areas"]
    x, y, width, height = np.array(GOLDEN["boxes"]).T
    expected = np.stack([y, x, y + height, x + width], axis=1)
    np.testing.assert_array_equal(run_lengths.boxes(drawn), expected)
    have = run_lengths.iou(drawn, drawn, np.array(GOLDEN["crowd"]))
    np.testing.assert_allclose(have, GOLDEN["iou"], rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    ("corners", "first", "end", "area"),
    [
        ((2, 2, 12, 2, 12, 12, 2, 12), 2, 12, 100),
        ((2.5, 2.5, 12.5, 2.5, 12.5, 12.5, 2.5, 12.5), 3, 13, 100),
        ((2, 2, 12, 2, 7, 12), 2, 11, 50),
    ],
)
def test_polygons_by_hand(corners, first, end, area):
    mask = run_lengths.from_polygons([corners], (20, 20))
    assert run_lengths.areas([mask]) == [area]
    assert run_lengths.boxes([mask])[0, [0, 2]].tolist() == [first, end]


def test_overlaps_by_hand():
    square, lower = np.zeros((2, 20, 20), bool)
    square[2:12, 3:13], lower[4:14, 3:13] = True, True
    left, right = [run_lengths.encode(square)], [run_lengths.encode(lower)] * 2
    have = run_lengths.iou(left, right, np.array([False, True]))
    assert have.tolist() == [[80 / 120, 80 / 100]]
    assert run_lengths.intersection(left, []).shape == (1, 0)


def test_a_mask_comes_back_from_its_runs_and_from_its_string():
    for mask in random_masks(0):
        runs = run_lengths.encode(mask)
        np.testing.assert_array_equal(run_lengths.decode(runs), mask)
        text = run_lengths.to_string(runs)
        again = run_lengths.from_string(text, mask.shape)
        assert again.size == runs.size == mask.shape
        assert again.counts.tolist() == runs.counts.tolist()
        assert run_lengths.from_counts(runs.counts.tolist(), mask.shape).size


def test_all_is_computed_as_on_masks_drawn_in_full():
    masks = list(random_masks(1, 60))
    runs = [run_lengths.encode(mask) for mask in masks]
    assert run_lengths.areas(runs).tolist() == [mask.sum() for mask in masks]
    for mask, box in zip(masks, run_lengths.boxes(runs), strict=True):
        y, x = np.nonzero(mask)
        around = [y.min(), x.min(), y.max() + 1, x.max() + 1] if y.size else [0] * 4
        assert box.tolist() == around
    # Pairs of equal size from one list of images of many sizes.
    random = np.random.default_rng(2)
    others = [random.random(mask.shape) < 0.5 for mask in masks]
    encoded = [run_lengths.encode(other) for other in others]
    i = random.permutation(len(masks))
    shared = run_lengths.paired_intersection(runs, encoded, i, i)
    assert shared.tolist() == [(masks[k] & others[k]).sum() for k in i]


def test_the_size_of_a_block_changes_nothing(monkeypatch):
    random = np.random.default_rng(3)
    masks = [run_lengths.encode(random.random((9, 11)) < 0.5) for _ in range(6)]
    whole = run_lengths.intersection(masks, masks)
    monkeypatch.setattr(run_lengths, "_BLOCK", 7)
    np.testing.assert_array_equal(run_lengths.intersection(masks, masks), whole)


def test_the_union_is_the_union():
    random = np.random.default_rng(4)
    for _ in range(20):
        masks = random.random((random.integers(1, 4), 7, 8)) < random.random()
        made = run_lengths.union([run_lengths.encode(m) for m in masks], (7, 8))
        expected = run_lengths.encode(masks.any(axis=0))
        assert made.counts.tolist() == expected.counts.tolist()
    assert not run_lengths.decode(run_lengths.union([], (2, 3))).any()


def test_compressed_run_lengths_by_hand():
    # 6 is one character, 100 = 4 + 3 * 32 two; the fourth is the difference to the
    # second.
    for text, counts in (("6T35", [6, 100, 5]), ("6T353", [6, 100, 5, 103])):
        mask = run_lengths.from_string(text, (1, sum(counts)))
        assert mask.counts.tolist() == counts
        assert run_lengths.to_string(mask) == text
    long = [0, 10**7, 3, 5, 10**6, 2]
    mask = RunLengths((1, sum(long)), np.array(long, np.int32))
    text = run_lengths.to_string(mask)
    assert run_lengths.from_string(text, mask.size).counts.tolist() == long


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("6T35", "add up to 10 x 10"),
        ("6T", "cut off"),
        ("6 5", "damaged"),
        ("6é", "damaged"),
        ("T" * 30 + "5", "damaged"),
        ("6O", "add up"),  # a negative run
    ],
)
def test_damaged_strings_are_refused(text, what):
    with pytest.raises(ValueError, match=what):
        run_lengths.from_string(text, (10, 10))


def test_what_is_no_mask_is_refused():
    with pytest.raises(ValueError, match="add up"):
        run_lengths.from_counts([50, 51, -1], (10, 10))
    with pytest.raises(ValueError, match="three corners"):
        run_lengths.from_polygons([[1, 2, 3, 4]], (10, 10))
    with pytest.raises(ValueError, match="finite"):
        run_lengths.from_polygons([[1, 2, 3, 4, 5, float("nan")]], (10, 10))
    masks = [run_lengths.encode(np.ones(size, bool)) for size in ((2, 3), (3, 2))]
    with pytest.raises(ValueError, match=r"2 x 3 and 3 x 2"):
        run_lengths.iou(masks[:1], masks[1:])
    with pytest.raises(ValueError, match="not of 2 x 3"):
        run_lengths.union(masks, (2, 3))
