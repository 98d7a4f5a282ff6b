"""Anchors: boxes of fixed sizes and shapes at every place of a map of features.

Ren et al., "Faster R-CNN", 2015, https://arxiv.org/abs/1506.01497, section 3.1.1; one
size a pyramid level as in Lin et al., "Feature pyramid networks", 2017,
https://arxiv.org/abs/1612.03144, section 4.1.

The default rule is torchvision's, so that published weights fit: sides of base anchors
are rounded to even numbers of pixels, and the anchors of the first cell have their
centre at pixel 0, not half a stride inside. Order: row, column, ratio, size.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxnets.metrics import Mean, Metrics
from jaxnets.ops.boxes import Number, iou, pairwise


def base_anchors(
    sizes: Sequence[Number], ratios: Sequence[Number], *, rounded: bool = True
) -> Float[Array, "k 4"]:
    """Returns one anchor for every ratio and size, with its centre at (0, 0).

    Args:
        sizes: Square roots of the areas, in pixels.
        ratios: Heights over widths.
        rounded: Rounds half sides to whole pixels, halves to even numbers, as
            torchvision does. detectron2 rounds nothing.

    Raises:
        ValueError: If a size or a ratio is not positive, or there is none.
    """
    if not sizes or not ratios or min(*sizes, *ratios, 1) <= 0:
        raise ValueError(
            f"anchors need positive sizes and ratios, not {sizes} and {ratios}"
        )
    # Single precision in torchvision's order, so that halves are rounded alike.
    root = np.sqrt(np.asarray(ratios, np.float32))[:, None]
    size = np.asarray(sizes, np.float32)[None, :]
    half = np.stack([root * size, (1 / root) * size], -1).reshape(-1, 2) / 2
    half = np.round(half) if rounded else half
    return jnp.asarray(np.concatenate([-half, half], -1), jnp.float32)


def grid_anchors(
    base: Float[Array, "k 4"],
    grid: tuple[int, int],
    stride: tuple[Number, Number],
    *,
    offset: Number = 0,
) -> Float[Array, "n 4"]:
    """Returns the base anchors at every cell of a map: row by row, then by anchor.

    Args:
        base: Anchors of a cell, see `base_anchors`.
        grid: Rows and columns of the map.
        stride: Pixels of the image between two rows and between two columns.
        offset: Centre of the first cell, in strides: 0 as in torchvision, 0.5 for the
            middle of what the cell covers.
    """
    places = [
        (np.arange(count, dtype=np.float32) + offset) * step
        for count, step in zip(grid, stride, strict=True)
    ]
    y, x = np.meshgrid(*places, indexing="ij")
    corner = jnp.asarray(np.stack([y, x, y, x], -1).reshape(-1, 1, 4), base.dtype)
    return (corner + base[None]).reshape(-1, 4)


def pyramid_anchors(
    size: tuple[int, int],
    grids: Sequence[tuple[int, int]],
    sizes: Sequence[Sequence[Number]],
    ratios: Sequence[Number],
    *,
    offset: Number = 0,
    rounded: bool = True,
) -> tuple[Float[Array, "_ 4"], ...]:
    """Returns the anchors of each level of a pyramid of maps.

    Args:
        size: Height and width of the (padded) image in pixels. A level's stride is the
            image's side divided by the map's, rounded down.
        grids: Rows and columns of each map.
        sizes: Anchor sizes of each level, in pixels.
        ratios: Heights over widths, the same at every level.
        offset: See `grid_anchors`.
        rounded: See `base_anchors`.

    Raises:
        ValueError: If there is not one set of sizes a map.
    """
    if len(grids) != len(sizes):
        raise ValueError(
            f"{len(sizes)} sets of anchor sizes for {len(grids)} maps: one a map is "
            "needed"
        )
    return tuple(
        grid_anchors(
            base_anchors(of_level, ratios, rounded=rounded),
            grid,
            (size[0] // grid[0], size[1] // grid[1]),
            offset=offset,
        )
        for grid, of_level in zip(grids, sizes, strict=True)
    )


def anchor_fit(
    boxes: Float[Array, "b n 4"],
    present: Bool[Array, "b n"],
    anchors: Float[Array, "a 4"],
    *,
    positive: Number = 0.7,
) -> Metrics:
    """Returns how well anchors fit the objects of some images, as metrics that add up.

    Few objects above the threshold, or a low mean, say that sizes, ratios or the stride
    do not suit the data.

    - `best_iou`: mean over objects of the best IoU with an anchor.
    - `above_half`, `above_positive`: share of the objects whose best IoU is at least
      0.5, or at least `positive`.
    - `positives`: mean over images of the anchors whose IoU with an object is at least
      `positive`.

    Args:
        boxes: Objects of each image, padded.
        present: Which of them are objects.
        anchors: All anchors of an image.
        positive: IoU from which an anchor is positive in training, in (0, 1].
    """

    def one(row: tuple[Array, Array]) -> tuple[Array, Array]:
        overlaps = jnp.where(row[1][:, None], pairwise(iou, row[0], anchors), 0)
        return overlaps.max(1, initial=0), (overlaps >= positive).any(0).sum()

    # Image by image, since objects times anchors of one image may be millions.
    best, positives = jax.lax.map(one, (boxes, present))
    objects = present.sum(dtype=jnp.int32)

    def over_objects(values: Array) -> Mean:
        return Mean(jnp.where(present, values, 0).sum(dtype=jnp.float32), objects)

    return {
        "best_iou": over_objects(best),
        "above_half": over_objects(best >= 0.5),
        "above_positive": over_objects(best >= positive),
        "positives": Mean(
            positives.sum(dtype=jnp.float32), jnp.array(len(boxes), jnp.int32)
        ),
    }
