"""Masks on the grid of a box, and back in the image."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.data.shapes.dataset import shapes
from jaxnets.data.shapes.segments import instance_masks
from jaxnets.ops.masks import mask_targets, pasted

REFERENCES = Path(__file__).parents[1] / "golden/detectors/references.npz"

paste = partial(jax.jit, static_argnums=2, static_argnames="whole_pixels")(pasted)
targets = jax.jit(mask_targets, static_argnums=3)


def test_a_full_mask_covers_its_box_to_the_half_pixel():
    boxes = jnp.array([[1.0, 2, 4, 7], [1.4, 2.6, 4.4, 6.6], [3, 3, 3, 5]])
    found = np.asarray(paste(jnp.ones((3, 14, 14)), boxes, (6, 8))) >= 0.5
    expected = np.zeros((3, 6, 8), bool)
    expected[0, 1:4, 2:7] = True
    expected[1, 1:4, 3:7] = True  # the centres between 1.4 and 4.4, 2.6 and 6.6
    np.testing.assert_array_equal(found, expected)


def test_a_ramp_is_interpolated_at_the_centres_of_pixels():
    ramp = jnp.broadcast_to((jnp.arange(4.0) + 0.5)[None, :, None] / 4, (1, 4, 4))
    found = paste(ramp, jnp.array([[2.0, 0, 10, 8]]), (12, 8))[0, :, 4]
    # Bins have two pixels. Beyond the outer ones' centres the mask falls to 0.
    falls = np.array([0.25, 0.75]), np.array([0.75, 0.25])
    inside = (np.arange(3, 9) + 0.5 - 2) / 8
    expected = [0, *(falls[0] / 8), *inside, *(falls[1] * 7 / 8), 0]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_masks_in_whole_pixels_are_torchvision_s():
    file = np.load(REFERENCES, allow_pickle=False)
    masks, boxes, expected = (
        jnp.asarray(file[f"pasting/{name}"], jnp.float32)
        for name in ("masks", "boxes", "pasted")
    )
    found = paste(masks, boxes, (40, 44), whole_pixels=True)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_targets_are_the_shares_of_the_bins_that_are_covered():
    masks = np.zeros((2, 8, 8), bool)
    masks[1, 2:5, 1:7] = True
    boxes = jnp.array([[0.0, 0, 8, 8], [2, 1, 5, 7], [1, 1, 5, 5]])
    index = jnp.array([0, 1, 1])
    found = targets(jnp.asarray(masks), boxes, index, (4, 4))
    np.testing.assert_array_equal(found[0], np.zeros((4, 4)))
    # Samples near the edge mix a pixel of the object with one of the background.
    rows, columns = [0.875, 1, 1, 0.875], [0.9375, 1, 1, 0.9375]
    np.testing.assert_allclose(found[1], np.outer(rows, columns), rtol=1e-6)
    np.testing.assert_array_equal(found[2], [[0] * 4, [1] * 4, [1] * 4, [1] * 4])


@pytest.fixture(scope="module")
def scenes():
    columns = shapes(train=150, validation=1, test=1).train.columns
    boxes, present = columns["boxes"][:], columns["present"][:]
    masks = instance_masks(np.asarray(columns["segments"][:]))
    return jnp.asarray(masks[present]), jnp.asarray(boxes[present])


@pytest.mark.parametrize(
    ("grid", "aligned", "whole_pixels", "ceiling"),
    [
        (7, True, False, 0.942),
        (14, True, False, 1.000),
        (28, True, True, 0.967),
        (14, False, False, 0.746),
    ],
)
def test_perfect_masks_lose_little_on_the_way(
    scenes, grid, aligned, whole_pixels, ceiling
):
    """The share of thresholds .5, .55, ... .95 that the IoU with the truth reaches."""
    masks, boxes = scenes

    @jax.jit
    def overlaps(masks, boxes):
        grids = mask_targets(
            masks, boxes, jnp.arange(len(masks)), (grid, grid), aligned=aligned
        )
        again = pasted(grids, boxes, (64, 64), whole_pixels=whole_pixels) >= 0.5
        union = (masks | again).sum((1, 2))
        return (masks & again).sum((1, 2)) / union

    found = np.asarray(overlaps(masks, boxes))[:, None] >= np.linspace(0.5, 0.95, 10)
    assert abs(found.mean() - ceiling) < 0.02
