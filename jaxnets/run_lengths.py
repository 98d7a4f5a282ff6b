"""Masks as run lengths: the form in which COCO stores, sends and compares masks.

Lin et al., "Microsoft COCO: common objects in context", 2014,
https://arxiv.org/abs/1405.0312. The rules are those of the program that papers report,
`maskApi.c` of https://github.com/cocodataset/cocoapi, except where a docstring says so.
Everything is computed on the host from the runs. Masks are drawn by `decode` only.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

_BLOCK = 2**21  # runs that are compared at once: bounds the memory
_LONGEST = 8  # characters of one number in COCO's string: 40 bits
_FINER = 5  # steps a pixel when the edges of a polygon are drawn


class RunLengths(NamedTuple):
    """One mask as the lengths of its runs, down the columns, background first."""

    size: tuple[int, int]  # height and width of the image
    counts: Int[np.ndarray, " runs"]  # in pixels; they add up to height x width


def encode(mask: Bool[np.ndarray, "h w"]) -> RunLengths:
    """Returns the run lengths of a mask."""
    height, width = mask.shape
    flat = np.zeros(mask.size + 1, bool)  # one pixel of background in front
    flat[1:] = mask.T.reshape(-1)
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    return _between((height, width), edges)


def decode(mask: RunLengths) -> Bool[np.ndarray, "h w"]:
    """Returns the mask that run lengths describe."""
    height, width = mask.size
    inside = np.arange(len(mask.counts)) % 2 == 1
    return np.repeat(inside, mask.counts).reshape(width, height).T


def from_counts(counts: Sequence[int], size: tuple[int, int]) -> RunLengths:
    """Returns run lengths that were checked.

    Args:
        counts: Lengths of the runs, background first.
        size: Height and width of the image.

    Raises:
        ValueError: If a length is no whole number, or they do not add up to the image.
    """
    whole = all(type(count) is int and count >= 0 for count in counts)
    if not whole or sum(counts) != size[0] * size[1]:
        raise ValueError(
            f"the run lengths do not add up to {size[0]} x {size[1]} pixels"
        )
    return RunLengths(size, np.array(counts, np.int32))


def to_string(mask: RunLengths) -> str:
    """Returns COCO's compressed string of a mask.

    From the fourth run on, the difference to the run two before is written. A number
    takes five bits a character, lowest first. Bit 32 says that more follow, and bit 16
    of the last character that the number is negative.
    """
    values = mask.counts.astype(np.int64)
    values[3:] -= mask.counts[1:-2]
    shifts = 5 * np.arange(_LONGEST)
    low = (values[:, None] >> shifts) & 31
    # A character is the last one if what lies above it only repeats its sign bit.
    rest = values[:, None] >> (shifts + 4)
    more = (rest != 0) & (rest != -1)
    used = np.cumsum(~more, axis=1) - ~more == 0
    return (48 + low + 32 * more)[used].astype(np.uint8).tobytes().decode("ascii")


def from_string(text: str, size: tuple[int, int]) -> RunLengths:
    """Returns the mask of COCO's compressed string; `to_string` describes the form.

    Args:
        text: The string.
        size: Height and width of the image.

    Raises:
        ValueError: If the string is damaged or cut off, or the run lengths do not add
            up to the image.
    """
    codes = np.frombuffer(text.encode("utf-8"), np.uint8).astype(np.int64) - 48
    if codes.size and not 0 <= codes.min() <= codes.max() < 64:
        raise ValueError("the compressed run lengths are damaged")
    last = np.flatnonzero(codes < 32)
    if codes.size and (not last.size or last[-1] != codes.size - 1):
        raise ValueError("the compressed run lengths are cut off")
    first = np.concatenate([[0], last[:-1] + 1])[: last.size]
    lengths = last - first + 1
    if lengths.size and lengths.max() > _LONGEST:
        raise ValueError("the compressed run lengths are damaged")
    shifts = 5 * (np.arange(codes.size) - np.repeat(first, lengths))
    bits = np.concatenate([[0], np.cumsum((codes & 31) << shifts)])
    values = bits[last + 1] - bits[first]
    values -= np.where(codes[last] & 16, 1 << (5 * lengths), 0)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return from_counts(values.tolist(), size)


def from_polygons(
    polygons: Sequence[Sequence[float | int]], size: tuple[int, int]
) -> RunLengths:
    """Returns the union of polygons, drawn as COCO's program draws them.

    Corners are rounded to a fifth of a pixel, and edges are drawn on that grid. An edge
    separates the pixels of a column where it passes the middle of that column.

    Args:
        polygons: x0, y0, x1, y1, ... of each, in pixels.
        size: Height and width of the image.

    Raises:
        ValueError: If a polygon has less than three corners or a number is not finite.
    """
    return union([_filled(polygon, size) for polygon in polygons], size)


def union(masks: Sequence[RunLengths], size: tuple[int, int]) -> RunLengths:
    """Returns the pixels that are in any of the masks.

    Args:
        masks: All of this size; of none the union is empty.
        size: Height and width of the image.

    Raises:
        ValueError: If a mask has another size.
    """
    runs = _Foreground.of(masks)
    if masks and (runs.sizes != size).any():
        raise ValueError(f"a mask is not of {size[0]} x {size[1]} pixels")
    starts, ends = runs.starts, runs.ends
    places = np.concatenate([starts, ends])
    steps = np.repeat([1, -1], [starts.size, ends.size])
    order = np.lexsort((-steps, places))
    depth = np.cumsum(steps[order])
    edges = np.flatnonzero((depth > 0) != (np.r_[0, depth[:-1]] > 0))
    return _between(size, places[order][edges])


def areas(masks: Sequence[RunLengths]) -> Int[np.ndarray, " n"]:
    """Returns the pixels in each mask."""
    runs = _Foreground.of(masks)
    total = np.concatenate([[0], np.cumsum(runs.ends - runs.starts)])
    return np.diff(total[runs.splits])


def boxes(masks: Sequence[RunLengths]) -> Float[np.ndarray, "n 4"]:
    """Returns the box [y0, x0, y1, x1] around each mask; [0, 0, 0, 0] if it is empty.

    The ends are exclusive: a mask of pixel (2, 3) alone has the box [2, 3, 3, 4].
    """
    runs = _Foreground.of(masks)
    made = np.zeros((len(masks), 4))
    if not runs.starts.size:
        return made
    height = runs.sizes[runs.owners, 0]
    x0, y0 = np.divmod(runs.starts, height)
    x1, y1 = np.divmod(runs.ends - 1, height)
    several = x1 > x0  # such a run reaches the last row and goes on in the first
    y0, y1 = np.where(several, 0, y0), np.where(several, height - 1, y1)
    first = np.flatnonzero(np.diff(runs.owners, prepend=-1))
    for column, values in ((0, y0), (1, x0)):
        made[runs.owners[first], column] = np.minimum.reduceat(values, first)
    for column, values in ((2, y1), (3, x1)):
        made[runs.owners[first], column] = np.maximum.reduceat(values, first) + 1
    return made


def intersection(
    left: Sequence[RunLengths], right: Sequence[RunLengths]
) -> Int[np.ndarray, "n m"]:
    """Returns the pixels that each mask on the left shares with each on the right.

    Raises:
        ValueError: If two masks have different sizes.
    """
    i, j = np.indices((len(left), len(right))).reshape(2, -1)
    return paired_intersection(left, right, i, j).reshape(len(left), len(right))


def iou(
    left: Sequence[RunLengths],
    right: Sequence[RunLengths],
    crowd: Bool[np.ndarray, " m"] | None = None,
) -> Float[np.ndarray, "n m"]:
    """Returns intersection over union, in [0, 1], of every two masks; 0 if both empty.

    Args:
        left: Masks, for example of detections.
        right: Masks of the same size, for example the truth.
        crowd: Which on the right are crowds. There the denominator is the area on the
            left alone. None: none is.

    Raises:
        ValueError: If two masks have different sizes.
    """
    shared = intersection(left, right)
    own, other = areas(left)[:, None], areas(right)
    whole = own + other - shared
    if crowd is not None:
        whole = np.where(crowd, own, whole)
    return np.divide(shared, whole, out=np.zeros(shared.shape), where=whole > 0)


def paired_intersection(
    left: Sequence[RunLengths],
    right: Sequence[RunLengths],
    i: Int[np.ndarray, " pairs"],
    j: Int[np.ndarray, " pairs"],
) -> Int[np.ndarray, " pairs"]:
    """Returns the pixels that `left[i]` shares with `right[j]`, for lists of indices.

    Masks of many images may stand in one list, if both masks of a pair have one size.

    Raises:
        ValueError: If the masks of a pair have different sizes.
    """
    a, b = _Foreground.of(left), _Foreground.of(right)
    if (differ := (a.sizes[i] != b.sizes[j]).any(axis=-1)).any():
        one, other = (
            " x ".join(map(str, sizes[index[differ][0]].tolist()))
            for sizes, index in ((a.sizes, i), (b.sizes, j))
        )
        raise ValueError(f"masks of {one} and {other} pixels cannot be compared")
    runs = a.splits[i + 1] - a.splits[i]
    shared = np.zeros(len(i), np.int64)
    blocks = np.cumsum(runs) // _BLOCK
    for block in np.split(np.arange(len(i)), np.flatnonzero(np.diff(blocks)) + 1):
        count = runs[block]
        ends = np.cumsum(count)
        within = np.arange(count.sum()) - np.repeat(ends - count, count)
        run = np.repeat(a.splits[i[block]], count) + within
        shift = np.repeat(b.offsets[j[block]], count)
        both = b.before(a.ends[run] + shift) - b.before(a.starts[run] + shift)
        total = np.concatenate([[0], np.cumsum(both)])
        shared[block] = total[ends] - total[ends - count]
    return shared


class _Foreground(NamedTuple):
    """The runs inside of many masks, one after the other."""

    sizes: np.ndarray  # [n, 2]: height and width of each mask
    starts: np.ndarray  # [runs]: first pixel of each run, counted in its mask
    ends: np.ndarray  # [runs]: the pixel behind each run
    owners: np.ndarray  # [runs]: the mask of each run
    splits: np.ndarray  # [n + 1]: where the runs of each mask begin
    offsets: np.ndarray  # [n]: pixels in all masks before

    @classmethod
    def of(cls, masks: Sequence[RunLengths]) -> "_Foreground":
        sizes = np.array([mask.size for mask in masks], np.int64).reshape(-1, 2)
        counts = np.concatenate([np.zeros(0, np.int64), *(m.counts for m in masks)])
        lengths = np.array([len(mask.counts) for mask in masks], np.int64)
        pixels = sizes.prod(axis=1)
        offsets = np.cumsum(pixels) - pixels
        owners = np.repeat(np.arange(len(masks)), lengths)
        place = np.arange(counts.size) - (np.cumsum(lengths) - lengths)[owners]
        inside = (place % 2 == 1) & (counts > 0)
        ends = np.cumsum(counts)[inside]
        owners = owners[inside]
        ends -= offsets[owners]
        splits = np.searchsorted(owners, np.arange(len(masks) + 1))
        return cls(sizes, ends - counts[inside], ends, owners, splits, offsets)

    def before(self, places: np.ndarray) -> np.ndarray:
        """Pixels inside before each place, counted through all masks."""
        if not self.starts.size:
            return np.zeros(places.shape, np.int64)
        starts = self.starts + self.offsets[self.owners]
        lengths = self.ends - self.starts
        whole = np.concatenate([[0], np.cumsum(lengths)])
        run = np.searchsorted(starts, places, side="right")  # runs that begin before
        last = np.maximum(run - 1, 0)
        within = np.clip(places - starts[last], 0, lengths[last])
        return whole[last] + within


def _between(size: tuple[int, int], edges: np.ndarray) -> RunLengths:
    """The mask that changes at these pixels, in rising order."""
    places = np.concatenate([[0], edges, [size[0] * size[1]]])
    counts = np.diff(places)
    if counts.size > 1 and not counts[-1]:
        counts = counts[:-1]
    return RunLengths(size, counts.astype(np.int32))


def _filled(polygon: Sequence[float | int], size: tuple[int, int]) -> RunLengths:
    """One polygon: pixels behind an odd number of crossings of the edges."""
    numbers = np.array(polygon, np.float64)
    if numbers.size < 6 or numbers.size % 2:
        raise ValueError("a polygon needs x and y of three corners or more")
    if not np.isfinite(numbers).all():
        raise ValueError(f"a polygon holds {polygon}, not all of them finite numbers")
    height, width = size
    corners = np.trunc(_FINER * numbers.reshape(-1, 2) + 0.5).astype(np.int64)
    x, y = _points(corners, np.roll(corners, -1, axis=0))
    # Columns are left at their middle, the third of five steps, and entered there.
    column, rest = np.divmod(np.minimum(x[1:], x[:-1]) - _FINER // 2, _FINER)
    cross = (x[1:] != x[:-1]) & (rest == 0) & (column >= 0) & (column < width)
    highest = np.minimum(y[1:], y[:-1])[cross] - _FINER // 2
    row = np.clip(-(-highest // _FINER), 0, height)
    places, count = np.unique(column[cross] * height + row, return_counts=True)
    edges = places[count % 2 == 1]
    return _between(size, edges[edges < height * width])


def _points(begin: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The points x and y along edges, a step of the longer side apart."""
    long = np.abs(end - begin).max(axis=1)
    begin, end, long = begin[long > 0], end[long > 0], long[long > 0]
    edge = np.repeat(np.arange(long.size), long + 1)
    step = np.arange(edge.size) - np.repeat(np.cumsum(long + 1) - long - 1, long + 1)
    axis = (np.abs(end - begin)[:, 0] < long).astype(int)  # 0: wide, 1: tall
    rows = np.arange(long.size)
    # Computed from the lower end, whatever the direction, so that rounding agrees.
    swap = begin[rows, axis] > end[rows, axis]
    low = np.where(swap[:, None], end, begin)
    high = np.where(swap[:, None], begin, end)
    slope = (high - low)[rows, 1 - axis] / long
    t = np.where(swap[edge], long[edge] - step, step)
    main = low[rows, axis][edge] + t
    cross = np.trunc(low[rows, 1 - axis][edge] + slope[edge] * t + 0.5).astype(np.int64)
    tall = axis[edge] == 1
    return np.where(tall, cross, main), np.where(tall, main, cross)
