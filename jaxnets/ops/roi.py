"""Features of regions of interest, brought to one size: RoIPool and RoIAlign.

- Girshick, "Fast R-CNN", 2015, https://arxiv.org/abs/1504.08083, section 2.1:
  `roi_pool`.
- He et al., "Mask R-CNN", 2017, https://arxiv.org/abs/1703.06870, section 3:
  `roi_align`.
- Lin et al., "Feature pyramid networks", 2017, https://arxiv.org/abs/1612.03144,
  equation 1: `fpn_level`.

The functions take the boxes of one image, so that a batch `[b, h, w, c]` with boxes
`[b, n, 4]` is `vmap`; that is faster than a flat list of boxes with an `image` each,
for which whole maps are copied.

RoIAlign is two matrix products with bilinear weights, `[n, p, h]` and `[n, q, w]`, and
no gather. On two CPU cores, forward and gradient of 8 x 32 regions on maps of
16x16x64 took 20 ms instead of 164; a gather was 4 times as fast only for few regions on
large maps (200x200x256). Its memory is n p w c numbers.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxnets.ops.boxes import Number, area
from jaxnets.ops.pool import first_largest

_EXACT = jax.lax.Precision.HIGHEST  # accelerators would round features to 10 bits


def roi_align(
    features: Float[Array, "*b h w c"],
    boxes: Float[Array, "n 4"],
    size: tuple[int, int],
    *,
    scale: Number,
    ratio: int | None = 2,
    aligned: bool = True,
    image: Int[Array, " n"] | None = None,
) -> Float[Array, "n p q c"]:
    """Returns the means of bilinear samples in a grid of bins over each box.

    Linear in the features and differentiable in them and in the boxes. Samples less
    than a pixel outside of the map repeat its border; those further out are 0.

    Args:
        features: The map of one image `[h, w, c]`; of several if `image` is given.
        boxes: [y0, x0, y1, x1] in pixels of the image.
        size: Bins along each side, p and q.
        scale: Pixels of the map per pixel of the image, for example 1/16.
        ratio: Samples along each side of a bin. None: as many as pixels of the map lie
            in it, rounded up; exact for boxes that are not longer than the map.
        aligned: Pixel i of the map has its centre at i + 0.5, as in detectron2. False:
            at i, and boxes have sides of one pixel of the map or more; the paper's form
            and torchvision's default, which weights trained with it need.
        image: Image of each box, in [0, b). None: there is one image, without an axis.

    Raises:
        ValueError: If `features` has no axis of images with `image`, or one without; or
            if `ratio` is less than 1.
    """
    _check_maps(features, image)
    if ratio is not None and ratio < 1:
        raise ValueError(
            f"the sampling ratio must be 1 or more, or None to adapt, not {ratio}"
        )
    of_each = features if image is None else features.at[image].get(mode="clip")
    sides = of_each.shape[-3:-1]
    corners = boxes * scale - (0.5 if aligned else 0)
    rows, columns = (
        _bilinear(corners[:, i], corners[:, i + 2], size[i], sides[i], ratio, aligned)
        for i in (0, 1)
    )
    maps = "hwc" if image is None else "nhwc"
    strips = jnp.einsum(f"nph,{maps}->npwc", rows, of_each, precision=_EXACT)
    bins = jnp.einsum("nqw,npwc->npqc", columns, strips, precision=_EXACT)
    return bins.astype(features.dtype)


def pyramid_roi_align(
    maps: Sequence[Float[Array, "_ _ c"]],
    boxes: Float[Array, "n 4"],
    size: tuple[int, int],
    *,
    scales: Sequence[Number],
    levels: Int[Array, " n"],
    ratio: int | None = 2,
    aligned: bool = True,
) -> Float[Array, "n p q c"]:
    """Returns RoIAlign of each box on one of several maps of an image.

    Computed on all maps and selected: where each map has half the side of the one
    before, that costs a third more than the first map alone.

    Args:
        maps: Maps of one image.
        boxes: [y0, x0, y1, x1] in pixels of the image.
        size: Bins along each side, p and q.
        scales: Pixels of each map per pixel of the image.
        levels: Position in `maps` of each box's map, see `fpn_level`.
        ratio: See `roi_align`.
        aligned: See `roi_align`.

    Raises:
        ValueError: If there is not one scale a map.
    """
    if len(maps) != len(scales):
        raise ValueError(f"{len(scales)} scales for {len(maps)} maps")
    found = jnp.zeros((len(boxes), *size, maps[0].shape[-1]), maps[0].dtype)
    for position, (features, scale) in enumerate(zip(maps, scales, strict=True)):
        here = (levels == position)[:, None, None, None]
        bins = roi_align(
            features, boxes, size, scale=scale, ratio=ratio, aligned=aligned
        )
        found = jnp.where(here, bins, found)
    return found


def fpn_level(
    boxes: Float[Array, "*n 4"],
    *,
    lowest: int = 2,
    highest: int = 5,
    canonical_level: int = 4,
    canonical_size: Number = 224,
) -> Int[Array, "*n"]:
    """Returns the level of a feature pyramid that a box belongs to.

    floor(4 + log2(sqrt(area) / 224)), limited to the levels there are. An empty box
    belongs to the lowest.

    Args:
        boxes: [y0, x0, y1, x1] in pixels of the image.
        lowest: First level, which has the largest map: level l has a stride of 2^l.
        highest: Last level.
        canonical_level: Level of a box of the canonical size.
        canonical_size: Side of that box in pixels.
    """
    size = jnp.sqrt(area(boxes)) / canonical_size
    # torchvision's margin: without it rounding may lower a box of exactly 112 pixels.
    level = jnp.floor(canonical_level + jnp.log2(size) + 1e-6)
    return jnp.clip(level, lowest, highest).astype(jnp.int32)


def roi_pool(
    features: Float[Array, "*b h w c"],
    boxes: Float[Array, "n 4"],
    size: tuple[int, int],
    *,
    scale: Number,
    image: Int[Array, " n"] | None = None,
) -> Float[Array, "n p q c"]:
    """Returns the largest value in each of a grid of bins over each box.

    Corners are rounded to pixels of the map, halves away from 0. Both corners' pixels
    belong to the region, so it has at least one. Bins overlap where they do not divide
    it; a bin outside of the map is 0. The gradient goes to one of equal maxima.

    Args:
        features: The map of one image `[h, w, c]`; of several if `image` is given.
        boxes: [y0, x0, y1, x1] in pixels of the image.
        size: Bins along each side, p and q.
        scale: Pixels of the map per pixel of the image, for example 1/16.
        image: Image of each box, in [0, b). None: there is one image, without an axis.

    Raises:
        ValueError: If `features` has no axis of images with `image`, or one without.
    """
    _check_maps(features, image)
    maps = features if image is not None else features[None]
    of_box = jnp.zeros(len(boxes), jnp.int32) if image is None else image
    corners = boxes * scale
    corners = (jnp.sign(corners) * jnp.floor(jnp.abs(corners) + 0.5)).astype(jnp.int32)
    rows, columns = (
        _bins(corners[:, i], corners[:, i + 2], size[i], maps.shape[1 + i])
        for i in (0, 1)
    )
    tables = [_doubled(table, 1) for table in _doubled(maps, 2)]
    shape = (len(tables), len(tables[0]), *maps.shape[:3])
    pixels = jnp.stack([jnp.stack(row) for row in tables]).reshape(-1, maps.shape[-1])

    def corner(y: Array, x: Array) -> Array:
        places = (columns.table[:, None], rows.table[..., None], of_box[:, None, None])
        places = (*places, y[..., None], x[:, None])
        index = jnp.ravel_multi_index(places, shape, mode="clip")
        return pixels.at[index].get(mode="clip")

    upper, lower = (
        first_largest(corner(y, columns.first), corner(y, columns.last))
        for y in (rows.first, rows.last)
    )
    some = rows.some[..., None, None] & columns.some[:, None, :, None]
    return jnp.where(some, first_largest(upper, lower), 0)


def _check_maps(features: Array, image: Array | None) -> None:
    wanted = "[h, w, c]" if image is None else "[b, h, w, c]"
    if features.ndim != 3 + (image is not None):
        raise ValueError(
            f"features of shape {features.shape} must be {wanted}: give the image of "
            "each box for several images, or use vmap"
        )


def _bilinear(
    low: Array,
    high: Array,
    bins: int,
    side: int,
    ratio: int | None,
    aligned: bool,  # noqa: FBT001
) -> Array:
    """Weights `[n, bins, side]` of a map's pixels in each bin, along one axis."""
    length = high - low
    if not aligned:
        length = jnp.maximum(length, 1)
    length = length[:, None, None] / bins
    most = ratio or -(-side // bins)
    samples = jnp.clip(jnp.ceil(length), 1, most) if ratio is None else ratio
    sample = jnp.arange(most)[None, None, :]
    place = jnp.arange(bins)[None, :, None] + (sample + 0.5) / samples
    place = low[:, None, None] + place * length
    counts = (place >= -1) & (place <= side) & (sample < samples)
    pixel = jnp.arange(side)[None, None, None, :]
    distance = jnp.abs(jnp.clip(place, 0, side - 1)[..., None] - pixel)
    weights = jnp.where(counts[..., None], jnp.maximum(1 - distance, 0), 0)
    return weights.sum(2) / samples


class _Bins(NamedTuple):
    """Bins `[n, bins]` of boxes along one axis, as two windows that cover each."""

    table: Array  # k; each window has 2^k pixels
    first: Array  # where the first window begins
    last: Array  # where the last window begins
    some: Array  # whether there is a pixel in the bin


def _bins(first: Array, last: Array, bins: int, side: int) -> _Bins:
    length = jnp.maximum(last - first + 1, 1)[:, None]
    position = jnp.arange(bins, dtype=jnp.int32)[None, :]
    low = jnp.clip(first[:, None] + position * length // bins, 0, side)
    high = jnp.clip(first[:, None] - -(position + 1) * length // bins, 0, side)
    count = jnp.maximum(high - low, 1)
    table = 31 - jax.lax.clz(count)
    return _Bins(table, low, low + count - (1 << table), high > low)


def _doubled(x: Array, axis: int) -> list[Array]:
    """Maxima over windows of 1, 2, 4, ... pixels that begin at each pixel of an axis.

    With them, the maximum over any window is the larger of two numbers.
    """
    levels, window = [x], 1
    while 2 * window <= x.shape[axis]:
        ends = [(0, 0, 0)] * x.ndim
        ends[axis] = (-window, window, 0)
        lowest = jnp.asarray(-jnp.inf, x.dtype)
        after = jax.lax.pad(levels[-1], lowest, ends)
        levels.append(first_largest(levels[-1], after))
        window *= 2
    return levels
