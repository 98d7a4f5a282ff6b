"""Boxes: areas, overlaps, offsets from anchors, and the cells of a grid.

A box is [y0, x0, y1, x1] in pixels. Edges are counted from the upper left corner, so
that pixel i covers [i, i + 1] and the whole image is [0, 0, h, w]. Ends are exclusive:
a box has y1 - y0 rows.

Overlaps compare box by box and broadcast: `iou(boxes, targets)` of two `[n, 4]` arrays
is `[n]`, and `pairwise(iou, boxes, targets)` is the matrix of all pairs. An empty box
has the area 0. All overlaps with a box that has a NaN or an infinite coordinate are 0.
No gradient is NaN in either case.

Padded boxes need a mask, which is called `present` everywhere.

- Rezatofighi et al., "Generalized intersection over union", 2019,
  https://arxiv.org/abs/1902.09630: `giou`, algorithm 1.
- Zheng et al., "Distance-IoU loss", 2020, https://arxiv.org/abs/1911.08287: `diou`,
  equation 7.
- Girshick et al., "Rich feature hierarchies for accurate object detection and semantic
  segmentation", 2014, https://arxiv.org/abs/1311.2524, appendix C: `encode`, `decode`.
- Girshick, "Fast R-CNN", 2015, https://arxiv.org/abs/1504.08083, equation 3:
  `smooth_l1`.
- Redmon et al., "You only look once", 2016, https://arxiv.org/abs/1506.02640, section
  2: `cell_targets`, `cell_boxes`.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

Number = float | int  # beartype does not take an int for a float
Boxes = Float[Array, "*#n 4"]  # of one array, or of two that broadcast
Row = Float[Array, "*#n"]  # one number a box

LARGEST_STRETCH = math.log(1000 / 16)
"""Largest log of a side's growth in `decode`: exp must not overflow in training."""

_SMALLEST_AREA = 1e-18  # of a divisor; the square of its reciprocal is still finite


class CellTargets(NamedTuple):
    """Boxes as YOLO predicts them, relative to the grid cell of their centre."""

    cell: Int[Array, "*n 2"]  # row and column of the cell, in [0, grid)
    offset: Float[Array, "*n 2"]  # (y, x) of the centre in the cell, in [0, 1]
    root: Float[Array, "*n 2"]  # square roots of (height, width) as shares of the image


def area(boxes: Boxes) -> Row:
    """Returns the area of each box in square pixels; 0 if it is turned over."""
    sides = jnp.maximum(_sides(_finite(boxes)), 0)
    return sides[..., 0] * sides[..., 1]


def intersection(first: Boxes, second: Boxes) -> Row:
    """Returns the area that two boxes share, in square pixels."""
    first, second = _finite(first), _finite(second)
    low = jnp.maximum(first[..., :2], second[..., :2])
    high = jnp.minimum(first[..., 2:], second[..., 2:])
    sides = jnp.maximum(high - low, 0)
    return sides[..., 0] * sides[..., 1]


def iou(first: Boxes, second: Boxes) -> Row:
    """Returns the intersection over union, in [0, 1]."""
    shared, union = _shared_and_union(first, second)
    return _ratio(shared, union)


def ioa(boxes: Boxes, regions: Boxes) -> Row:
    """Returns the share of each box that lies inside the region, in [0, 1].

    The intersection over the first box's area: the overlap with a crowd in COCO.
    """
    return _ratio(intersection(boxes, regions), area(boxes))


def dice(first: Boxes, second: Boxes) -> Row:
    """Returns the Dice coefficient 2 |A and B| / (|A| + |B|), in [0, 1]."""
    return _ratio(2 * intersection(first, second), area(first) + area(second))


def giou(first: Boxes, second: Boxes) -> Row:
    """Returns the generalised IoU, in (-1, 1]: the loss is 1 minus it.

    The IoU minus the share of the enclosing box that neither box covers. Two empty
    boxes at one place have 0.
    """
    shared, union = _shared_and_union(first, second)
    hull = area(_hull(first, second))
    value = _ratio(shared, union) - _ratio(hull - union, hull)
    return jnp.where(_are_finite(first) & _are_finite(second), value, 0)


def diou(first: Boxes, second: Boxes) -> Row:
    """Returns the distance IoU, in (-1, 1]: the loss is 1 minus it.

    The IoU minus the squared distance of the centres over the squared diagonal of the
    enclosing box. Two empty boxes at one place have 0.
    """
    diagonal = (_sides(_hull(first, second)) ** 2).sum(-1)
    apart = to_centres(_finite(first)) - to_centres(_finite(second))
    distance = (apart[..., :2] ** 2).sum(-1)
    value = iou(first, second) - _ratio(distance, diagonal)
    return jnp.where(_are_finite(first) & _are_finite(second), value, 0)


def pairwise(
    overlap: Callable[[Array, Array], Array],
    first: Float[Array, "*b n 4"],
    second: Float[Array, "*b m 4"],
) -> Float[Array, "*b n m"]:
    """Returns the overlap of every first box with every second one.

    Args:
        overlap: `iou` or another overlap of this module.
        first: Boxes of the rows.
        second: Boxes of the columns.
    """
    return overlap(first[..., :, None, :], second[..., None, :, :])


def encode(
    boxes: Boxes,
    anchors: Boxes,
    *,
    weights: tuple[Number, Number, Number, Number] = (1, 1, 1, 1),
    present: Bool[Array, "*#n"] | None = None,
) -> Boxes:
    """Returns the offsets (dy, dx, dh, dw) from anchors to boxes: regression targets.

    Shifts of the centre are in units of the anchor's side; dh and dw are natural
    logarithms of the ratios of the sides.

    Args:
        boxes: Boxes to describe. Present ones must not be empty.
        anchors: Anchor or proposal of each box, not empty either.
        weights: Factors of the four offsets: 10, 10, 5, 5 in the heads of Fast R-CNN
            and its successors, 1 in the RPN.
        present: Which pairs count; the others have offsets of 0, whatever they hold.
    """
    if present is not None:
        unit = _as_row((0, 0, 1, 1), boxes)
        boxes = jnp.where(present[..., None], boxes, unit)
        anchors = jnp.where(present[..., None], anchors, unit)
    box, anchor = to_centres(boxes), to_centres(anchors)
    shift = (box[..., :2] - anchor[..., :2]) / anchor[..., 2:]
    stretch = jnp.log(box[..., 2:] / anchor[..., 2:])
    offsets = jnp.concatenate([shift, stretch], -1)
    return offsets * _as_row(weights, offsets)


def decode(
    offsets: Boxes,
    anchors: Boxes,
    *,
    weights: tuple[Number, Number, Number, Number] = (1, 1, 1, 1),
    largest_stretch: Number = LARGEST_STRETCH,
) -> Boxes:
    """Returns the boxes at offsets (dy, dx, dh, dw) from anchors: inverts `encode`.

    The boxes may leave the image; `clip` cuts them.

    Args:
        offsets: Predictions. With one set a class, `[n, classes, 4]`, the anchors are
            `[n, 1, 4]`.
        anchors: Anchor or proposal of each box.
        weights: Factors that `encode` multiplied the offsets by.
        largest_stretch: Upper limit of dh and dw; by default a side grows at most 62.5
            times. The gradient is 0 beyond it.
    """
    offsets = offsets / _as_row(weights, offsets)
    anchor = to_centres(anchors)
    sides = anchor[..., 2:]
    centre = anchor[..., :2] + offsets[..., :2] * sides
    sides = sides * jnp.exp(jnp.minimum(offsets[..., 2:], largest_stretch))
    return from_centres(jnp.concatenate([centre, sides], -1))


def clip(
    boxes: Float[Array, "*n 4"], size: tuple[Number, Number] | Float[Array, " 2"]
) -> Float[Array, "*n 4"]:
    """Returns the boxes cut to the image; one outside of it becomes empty.

    Args:
        boxes: Boxes in one image.
        size: Its height and width in pixels.
    """
    height, width = size
    edge = jnp.stack([jnp.asarray(v, boxes.dtype) for v in (height, width)] * 2)
    return jnp.clip(boxes, 0, edge.reshape((1,) * (boxes.ndim - 1) + (4,)))


def valid(
    boxes: Float[Array, "*n 4"], *, smallest_side: Number = 0
) -> Bool[Array, "*n"]:
    """Returns which boxes have an area and sides of a minimum length.

    False for boxes that are turned over, NaN or infinite.

    Args:
        boxes: Any boxes.
        smallest_side: Least height and width in pixels; a side of exactly this length
            is allowed, except for 0.
    """
    sides = _sides(boxes)
    large = ((sides > 0) & (sides >= smallest_side)).all(-1)
    return large & _are_finite(boxes)


def to_centres(boxes: Float[Array, "*n 4"]) -> Float[Array, "*n 4"]:
    """Returns [y, x, height, width] of boxes, where (y, x) is the centre."""
    middle = (boxes[..., :2] + boxes[..., 2:]) / 2
    return jnp.concatenate([middle, _sides(boxes)], -1)


def from_centres(centres: Float[Array, "*n 4"]) -> Float[Array, "*n 4"]:
    """Returns the boxes of [y, x, height, width], where (y, x) is the centre."""
    middle, half = centres[..., :2], centres[..., 2:] / 2
    return jnp.concatenate([middle - half, middle + half], -1)


def smooth_l1(
    difference: Float[Array, "*n"], *, beta: Number = 1
) -> Float[Array, "*n"]:
    """Returns d^2 / (2 beta) where |d| < beta, and |d| - beta / 2 elsewhere.

    Args:
        difference: Prediction minus target, d.
        beta: Where the parabola ends; 1 in Fast R-CNN, 1/9 in its common RPN; 0: |d|.

    Raises:
        ValueError: If `beta` is negative.
    """
    if beta < 0:
        raise ValueError(f"beta of smooth L1 must be 0 or more, not {beta}")
    size = jnp.abs(difference)
    if beta == 0:
        return size
    return jnp.where(size < beta, difference**2 / (2 * beta), size - beta / 2)


def cell_targets(
    boxes: Float[Array, "*n 4"], size: tuple[int, int], grid: tuple[int, int]
) -> CellTargets:
    """Returns which cell of YOLO's grid predicts each box, and the box relative to it.

    A centre on the line between two cells belongs to the later one, and on the far edge
    of the image to the last one, with an offset of 1.

    Args:
        boxes: Boxes inside the image. Of padding, what comes back has no meaning.
        size: Height and width of the image in pixels.
        grid: Cells along each side; (7, 7) in the paper.
    """
    form = to_centres(boxes)
    cells = _as_row(grid, boxes)
    share = _as_row(size, boxes)
    place = form[..., :2] / share * cells
    cell = jnp.clip(jnp.floor(place), 0, cells - 1)
    root = jnp.sqrt(jnp.maximum(form[..., 2:] / share, 0))
    return CellTargets(cell.astype(jnp.int32), place - cell, root)


def cell_boxes(
    targets: CellTargets, size: tuple[int, int], grid: tuple[int, int]
) -> Float[Array, "*n 4"]:
    """Returns the boxes of YOLO's predictions: inverts `cell_targets`.

    Args:
        targets: Cells, offsets of the centres, and roots of the sides.
        size: Height and width of the image in pixels.
        grid: Cells along each side.
    """
    share = _as_row(size, targets.offset)
    centre = (targets.cell + targets.offset) / _as_row(grid, targets.offset) * share
    sides = targets.root**2 * share
    return from_centres(jnp.concatenate([centre, sides], -1))


def _sides(boxes: Array) -> Array:
    return boxes[..., 2:] - boxes[..., :2]


def _are_finite(boxes: Array) -> Array:
    return jnp.isfinite(boxes).all(-1)


def _finite(boxes: Array) -> Array:
    """The boxes, where those with a NaN or an infinity are [0, 0, 0, 0]."""
    return jnp.where(_are_finite(boxes)[..., None], boxes, 0)


def _shared_and_union(first: Array, second: Array) -> tuple[Array, Array]:
    shared = intersection(first, second)
    return shared, area(first) + area(second) - shared


def _hull(first: Array, second: Array) -> Array:
    """The smallest box around two boxes."""
    first, second = _finite(first), _finite(second)
    low = jnp.minimum(first[..., :2], second[..., :2])
    high = jnp.maximum(first[..., 2:], second[..., 2:])
    return jnp.concatenate([low, high], -1)


def _ratio(part: Array, whole: Array) -> Array:
    """The quotient, or 0 where the divisor is 0, without a NaN in the gradient."""
    some = whole > _SMALLEST_AREA
    return jnp.where(some, part / jnp.where(some, whole, 1), 0)


def _as_row(values: tuple[Number, ...], like: Array) -> Array:
    """The values along the last axis, of the rank and the type of an array."""
    row = np.asarray(values).reshape((1,) * (like.ndim - 1) + (-1,))
    return jnp.asarray(row, like.dtype)
