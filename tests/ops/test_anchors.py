"""Anchors: torchvision's and detectron2's, and how well they fit `shapes`."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.data.shapes.dataset import shapes
from jaxnets.ops import anchors

REFERENCES = Path(__file__).parents[1] / "golden/detectors/references.npz"
RATIOS = (0.5, 1, 2)


def test_base_anchors_are_rounded_as_in_torchvision():
    found = anchors.base_anchors((32, 64, 128, 256, 512), RATIOS)
    half = [  # height and width of each ratio's anchors, size by size
        *[(11, 23), (23, 45), (45, 91), (91, 181), (181, 362)],
        *[(16, 16), (32, 32), (64, 64), (128, 128), (256, 256)],
        *[(23, 11), (45, 23), (91, 45), (181, 91), (362, 181)],
    ]
    np.testing.assert_array_equal(found[:, 2:], half)
    np.testing.assert_array_equal(found[:, :2], -np.array(half))
    small = [(3, 6), (6, 11), (4, 4), (8, 8), (6, 3), (11, 6)]
    found = anchors.base_anchors((8, 16), RATIOS)
    np.testing.assert_array_equal(found[:, 2:], small)


def test_the_centre_of_the_first_cell_is_pixel_0():
    (found,) = anchors.pyramid_anchors((15, 15), [(3, 3)], [(10,)], (1,))
    corners = [(y, x) for y in (-5, 0, 5) for x in (-5, 0, 5)]
    expected = [(y, x, y + 10, x + 10) for y, x in corners]
    np.testing.assert_array_equal(found, expected)


def test_pyramids_of_anchors_are_torchvision_s():
    levels = anchors.pyramid_anchors(
        (24, 33), [(6, 8), (3, 4)], [(8, 16, 27), (32, 45, 64)], RATIOS
    )
    assert [len(level) for level in levels] == [6 * 8 * 9, 3 * 4 * 9]
    theirs = np.load(REFERENCES, allow_pickle=False)["anchors/anchors"]
    np.testing.assert_array_equal(np.concatenate(levels), theirs)


def test_offset_and_no_rounding_are_detectron2_s():
    base = anchors.base_anchors((32, 64), (0.25, 1, 4), rounded=False)
    found = anchors.grid_anchors(base, (1, 2), (4, 4))
    # Theirs have the sizes outside and the ratios inside, and x before y.
    first = np.asarray(found[:6]).reshape(3, 2, 4).swapaxes(0, 1).reshape(6, 4)
    expected = [
        [-32, -8, 32, 8],
        [-16, -16, 16, 16],
        [-8, -32, 8, 32],
        [-64, -16, 64, 16],
        [-32, -32, 32, 32],
        [-16, -64, 16, 64],
    ]
    np.testing.assert_allclose(first[:, [1, 0, 3, 2]], expected, rtol=1e-6)
    np.testing.assert_allclose(found[6:] - found[:6], [[0, 4, 0, 4]] * 6, atol=1e-5)
    middle = anchors.grid_anchors(base, (1, 2), (4, 4), offset=0.5)
    np.testing.assert_allclose(middle - found, np.full((12, 4), 2), atol=1e-5)


def test_rows_come_before_columns():
    base = anchors.base_anchors((2,), (1,))
    found = anchors.grid_anchors(base, (2, 3), (10, 100))
    middles = [(0, 0), (0, 100), (0, 200), (10, 0), (10, 100), (10, 200)]
    np.testing.assert_array_equal(found[:, :2] + 1, middles)


def test_wrong_anchors_are_refused():
    for sizes, ratios in (((), (1,)), ((8,), ()), ((8, 0), (1,)), ((8,), (-1,))):
        with pytest.raises(ValueError, match="positive sizes and ratios"):
            anchors.base_anchors(sizes, ratios)
    with pytest.raises(ValueError, match="2 sets of anchor sizes for 1 maps"):
        anchors.pyramid_anchors((64, 64), [(8, 8)], [(8,), (16,)], (1,))


def test_the_fit_counts_objects_and_no_padding():
    boxes = jnp.array(
        [[[0.0, 0, 4, 4], [0, 0, 2, 4]], [[0, 0, 3, 4], [50, 50, 60, 60]]]
    )
    present = jnp.array([[True, True], [True, False]])
    rows = jnp.array([[0.0, 0, 4, 4], [0, 0, 3, 4], [50, 50, 60, 60]])
    found = jax.jit(anchors.anchor_fit)(boxes, present, rows)
    values = {name: mean.compute() for name, mean in found.items()}
    np.testing.assert_allclose(values["best_iou"], (1 + 2 / 3 + 1) / 3, rtol=1e-6)
    np.testing.assert_allclose(values["above_half"], 1)
    np.testing.assert_allclose(values["above_positive"], 2 / 3, rtol=1e-6)
    np.testing.assert_allclose(values["positives"], 2)  # of each image


@pytest.mark.parametrize(
    ("stride", "expected"),
    [(4, (0.728, 1.0, 0.70, 2.5)), (8, (0.618, 0.82, 0.25, 0.7))],
)
def test_only_a_fine_grid_of_anchors_fits_shapes(scenes, stride, expected):
    grid = (64 // stride, 64 // stride)
    (rows,) = anchors.pyramid_anchors((64, 64), [grid], [(12, 18, 26)], RATIOS)
    found = jax.jit(anchors.anchor_fit)(scenes["boxes"], scenes["present"], rows)
    names = ("best_iou", "above_half", "above_positive", "positives")
    values = [float(found[name].compute()) for name in names]
    for value, wanted, slack in zip(
        values, expected, (0.01, 0.03, 0.06, 0.4), strict=True
    ):
        assert abs(value - wanted) < slack, (values, expected)


@pytest.fixture(scope="module")
def scenes():
    columns = shapes(train=150, validation=1, test=1).train.columns
    return {name: jnp.asarray(columns[name][:]) for name in ("boxes", "present")}
