"""Outlines of objects as COCO writes them, polygons and run lengths, to masks.

Lin et al., "Microsoft COCO: common objects in context", 2014,
https://arxiv.org/abs/1405.0312; the format of `segmentation` at
https://cocodataset.org/#format-data. Departure: a pixel belongs to a polygon if its
centre does, by the even-odd rule, since corners move when an image is resized. COCO's
own program rounds corners to a fifth: `jaxnets.run_lengths.from_polygons`.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool

from jaxnets import run_lengths
from jaxnets.data.files.problems import FileError
from jaxnets.data.pictures import Placement
from jaxnets.run_lengths import RunLengths

_SLACK = 1.0  # pixels that a corner may be outside the image


class Outline(NamedTuple):
    """Where an object is: the union of polygons, or run lengths."""

    size: tuple[int, int]  # height and width of the image
    polygons: tuple[tuple[float, ...], ...] = ()  # x0, y0, x1, y1, ... of each
    runs: tuple[int, ...] | np.ndarray = ()  # out, in, out, ... down the columns


def outline(value: Any, size: tuple[int, int]) -> Outline | None:
    """The outline that the value of `segmentation` describes; None for a box alone.

    Tools that know boxes only write nothing, `[]` or `[[]]`. Beside a polygon, pieces
    of one or two points add nothing: they have no area.

    Args:
        value: None, a list of polygons, or an object with `size` and `counts`, where
            `counts` is a list of run lengths or COCO's compressed string.
        size: Height and width of the image.

    Raises:
        FileError: If it is neither, a number is not finite, a polygon has less than
            three corners or is outside the image, or the runs do not add up to it.
    """
    if value is None or value in ([], [[]]):
        return None
    if isinstance(value, list):
        whole = [p for p in value if not _is_point_or_line(p)] or value
        return Outline(size, polygons=tuple(_polygon(p, size) for p in whole))
    if not isinstance(value, dict) or not {"size", "counts"} <= set(value):
        raise FileError("the segmentation is neither polygons nor run lengths")
    if value["size"] != list(size):
        raise FileError(
            f"the run lengths are for {value['size']}, the image is {list(size)}"
        )
    counts = value["counts"]
    try:
        if isinstance(counts, str):
            runs = run_lengths.from_string(counts, size)
        else:
            runs = run_lengths.from_counts(counts if type(counts) is list else [], size)
    except ValueError as error:
        raise FileError(str(error)) from None
    return Outline(size, runs=tuple(runs.counts.tolist()))


def _is_point_or_line(value: Any) -> bool:
    return isinstance(value, list) and len(value) in (0, 2, 4)


def _polygon(value: Any, size: tuple[int, int]) -> tuple[float, ...]:
    if not isinstance(value, list) or len(value) < 6 or len(value) % 2:
        raise FileError("a polygon needs x and y of three corners or more")
    for i, number in enumerate(value):
        side = size[1 - i % 2]
        if type(number) not in (int, float) or not abs(number) < math.inf:
            raise FileError(f"a polygon holds {number!r}, which is no number")
        if not -_SLACK <= number <= side + _SLACK:
            raise FileError(
                f"a polygon's corner at {number!r} is not inside the image of "
                f"{size[0]} x {size[1]} pixels"
            )
    return tuple(float(number) for number in value)


def rasterized(
    shape: Outline, place: Placement, size: tuple[int, int]
) -> Bool[np.ndarray, "h w"]:
    """The mask of an outline in an image that was placed somewhere else.

    Args:
        shape: The outline, in pixels of the image as it is stored.
        place: Where that image's pixels went.
        size: Height and width of the mask.
    """
    if shape.polygons:
        mask = np.zeros(size, bool)
        for polygon in shape.polygons:
            corners = np.array(polygon).reshape(-1, 2)
            x = corners[:, 0] * place.scale_x + place.shift_x
            y = corners[:, 1] * place.scale_y + place.shift_y
            mask |= _filled(y, x, size)
        return mask
    height, width = shape.size
    whole = run_lengths.decode(RunLengths(shape.size, np.array(shape.runs, np.int32)))
    y = np.floor((np.arange(size[0]) + 0.5 - place.shift_y) / place.scale_y)
    x = np.floor((np.arange(size[1]) + 0.5 - place.shift_x) / place.scale_x)
    rows, columns = y.astype(np.int64), x.astype(np.int64)
    inside_y = (rows >= 0) & (rows < height)
    inside_x = (columns >= 0) & (columns < width)
    near = whole[np.ix_(rows.clip(0, height - 1), columns.clip(0, width - 1))]
    return near & inside_y[:, None] & inside_x[None, :]


def _filled(y: np.ndarray, x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The pixels whose centre is inside: an odd number of edges to its left."""
    height, width = size
    crossings = np.zeros((height, width + 1), np.int32)
    for y0, x0, y1, x1 in zip(y, x, np.roll(y, -1), np.roll(x, -1), strict=True):
        if y0 == y1:
            continue
        # Rows whose centre lies in [low, high): a corner counts for one edge only.
        low, high = sorted((y0, y1))
        first, end = math.ceil(low - 0.5), math.ceil(high - 0.5)
        rows = np.arange(max(first, 0), min(end, height))
        at = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
        columns = np.clip(np.ceil(at - 0.5), 0, width).astype(np.int64)
        crossings[rows, columns] += 1  # a row appears once an edge
    return np.cumsum(crossings, 1)[:, :width] % 2 == 1
