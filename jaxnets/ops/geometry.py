"""Flips, crops, resized crops and affine maps of an image, its boxes and its masks.

Every function here is told what to do and draws nothing; `jaxnets.ops.augment` draws. A
batch is any `NamedTuple` with a field `image`; where it also has these, they follow:

- `boxes`, `[b, n, 4]`: [y0, x0, y1, x1] in pixels, edges counted from the upper left
  corner, so that pixel i covers [i, i + 1] and the whole image is [0, 0, h, w];
- `masks`, `[b, ..., h, w]`: one an object, or one an image; what comes in from outside
  the picture is 0;
- `present`, `[b, n]`: which boxes are objects and not padding.

A box is cut to the picture. One of which nothing is left becomes [0, 0, 0, 0] and is
no longer present. After a rotation a box encloses its old corners, so it may be larger
than the object; `tightened` shrinks boxes to their masks.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from jaxnets.ops.boxes import Number, clip, valid

Fill = Number | Sequence[Number]  # of every channel, or of each


def flipped(batch: Any, which: Bool[Array, " b"], *, vertical: bool = False) -> Any:
    """Mirrors the chosen examples, left to right or upside down.

    Twice is once not at all, to the bit (boxes: to rounding).

    Args:
        batch: See the module.
        which: The examples to mirror.
        vertical: Upside down instead.
    """
    image_axis, mask_axis = (1, -2) if vertical else (2, -1)
    size = batch.image.shape[image_axis]

    def choose(new: Array, old: Array) -> Array:
        return jnp.where(which.reshape(-1, *[1] * (old.ndim - 1)), new, old)

    def boxes(old: Array) -> Array:
        y0, x0, y1, x1 = (old[..., i] for i in range(4))
        new = (
            (size - y1, x0, size - y0, x1)
            if vertical
            else (y0, size - x1, y1, size - x0)
        )
        return choose(jnp.stack(new, -1), old)

    return _moved(
        batch,
        lambda image: choose(jnp.flip(image, image_axis), image),
        boxes,
        lambda masks: choose(jnp.flip(masks, mask_axis), masks),
    )


def cropped(
    batch: Any,
    corner: Int[Array, "b 2"],
    size: tuple[int, int],
    *,
    pad: int = 0,
    fill: Fill = 0.0,
) -> Any:
    """Cuts a window of the same size out of every example, each at its own place.

    Args:
        batch: See the module.
        corner: Upper left pixel (y, x) of each window, in the padded picture; must be
            in [0, h + 2 pad - height] and [0, w + 2 pad - width].
        size: Height and width of the window.
        pad: Pixels added on all four sides first.
        fill: Their value in the image.

    Raises:
        ValueError: If the window is larger than the padded picture.
    """
    _, height, width, _ = batch.image.shape
    if size[0] > height + 2 * pad or size[1] > width + 2 * pad:
        raise ValueError(
            f"a window of {size} does not fit into {(height, width)} padded by {pad}"
        )

    def image(old: Array) -> Array:
        return _windows(framed(old, pad, fill), corner, size, 0)

    def boxes(old: Array) -> Array:
        offset = (corner - pad).astype(old.dtype)
        return old - jnp.tile(offset, 2)[:, None, :]

    def masks(old: Array) -> Array:
        sides = [(0, 0)] * (old.ndim - 2) + [(pad, pad)] * 2
        return _windows(jnp.pad(old, sides), corner, size, old.ndim - 3)

    return _moved(batch, image, boxes, masks)


def resized(
    batch: Any,
    window: Int[Array, "b 4"],
    size: tuple[int, int],
    *,
    antialias: bool = True,
) -> Any:
    """Cuts a window out of every example and brings it to one size.

    Images by the triangle filter, which is bilinear interpolation where it enlarges
    and, with `antialias`, an average over all pixels covered where it reduces; nothing
    outside the window is read. Masks by the nearest pixel. Equals cropping and then
    resizing with Pillow's `BILINEAR` to rounding.

    Args:
        batch: See the module.
        window: [y0, x0, y1, x1] of each, whole pixels, inside the picture, not empty.
        size: Height and width of the result.
        antialias: Without it a reduced image is sampled, which is how it gets noisy.
    """
    _, height, width, _ = batch.image.shape
    y0, x0, y1, x1 = (window[:, i].astype(batch.image.dtype) for i in range(4))

    def image(old: Array) -> Array:
        over = jax.vmap(
            lambda a, z, n, m: _triangle(a, z, n, m, antialias), (0, 0, None, None)
        )
        rows, columns = over(y0, y1, size[0], height), over(x0, x1, size[1], width)
        exact = jax.lax.Precision.HIGHEST  # accelerators would round pixels to 10 bits
        tall = jnp.einsum("bph,bhwc->bpwc", rows, old, precision=exact)
        return jnp.einsum("bqw,bpwc->bpqc", columns, tall, precision=exact)

    def boxes(old: Array) -> Array:
        origin = jnp.stack([y0, x0, y0, x0], -1)
        zoom = jnp.stack([size[0] / (y1 - y0), size[1] / (x1 - x0)] * 2, -1)
        return (old - origin[:, None, :]) * zoom[:, None, :]

    def masks(old: Array) -> Array:
        flat = old.reshape(old.shape[0], -1, height, width)
        rows = _nearest(window[:, 0], window[:, 2], size[0])[:, None, :, None]
        columns = _nearest(window[:, 1], window[:, 3], size[1])[:, None, None, :]
        flat = jnp.take_along_axis(flat, rows, 2, mode="clip")
        flat = jnp.take_along_axis(flat, columns, 3, mode="clip")
        return flat.reshape(*old.shape[:-2], *size)

    return _moved(batch, image, boxes, masks)


def warped(batch: Any, matrix: Float[Array, "b 2 3"], *, fill: Fill = 0.0) -> Any:
    """Moves every point p = (y, x) of the picture to `matrix @ [p, 1]`.

    Images by bilinear interpolation, against `fill` at the border; masks by the nearest
    pixel. Equals `scipy.ndimage.affine_transform(order=1, mode="grid-constant")` with
    the inverse map, to rounding.

    Args:
        batch: See the module.
        matrix: The map of each example, in pixels as boxes are (the centre of the first
            pixel is (0.5, 0.5)); must be invertible.
        fill: What lies outside the picture.
    """
    linear, shift = matrix[..., :2], matrix[..., 2]
    a, b, c, d = (linear[:, i, j] for i in range(2) for j in range(2))
    inverse = jnp.stack([d, -b, -c, a], -1) / (a * d - b * c)[:, None]

    height, width = batch.image.shape[1:3]
    y = (jnp.arange(height) + 0.5).reshape(1, -1, 1)
    x = (jnp.arange(width) + 0.5).reshape(1, 1, -1)
    y = y - shift[:, 0].reshape(-1, 1, 1)
    x = x - shift[:, 1].reshape(-1, 1, 1)
    ia, ib, ic, id_ = (inverse[:, i].reshape(-1, 1, 1) for i in range(4))
    source_y, source_x = ia * y + ib * x, ic * y + id_ * x  # [b, h, w]

    def image(old: Array) -> Array:
        return _bilinear(framed(old, 1, fill), source_y + 0.5, source_x + 0.5)

    def boxes(old: Array) -> Array:
        ys, xs = old[..., jnp.array([0, 0, 2, 2])], old[..., jnp.array([1, 3, 1, 3])]
        a_, b_, c_, d_ = (v.reshape(-1, 1, 1) for v in (a, b, c, d))
        new_y = a_ * ys + b_ * xs + shift[:, 0].reshape(-1, 1, 1)
        new_x = c_ * ys + d_ * xs + shift[:, 1].reshape(-1, 1, 1)
        return jnp.stack(
            [new_y.min(-1), new_x.min(-1), new_y.max(-1), new_x.max(-1)], -1
        )

    def masks(old: Array) -> Array:
        flat = old.reshape(old.shape[0], -1, height * width)
        row, column = jnp.floor(source_y), jnp.floor(source_x)
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        index = (row * width + column).astype(jnp.int32).reshape(-1, 1, height * width)
        moved = jnp.take_along_axis(flat, index, 2, mode="clip")
        moved = jnp.where(inside.reshape(index.shape), moved, jnp.zeros((), old.dtype))
        return moved.reshape(old.shape)

    return _moved(batch, image, boxes, masks)


def tightened(batch: Any) -> Any:
    """The batch with every box shrunk to the extent of its mask.

    Args:
        batch: With `boxes` `[b, n, 4]` and `masks` `[b, n, h, w]`.
    """
    return _with_boxes(batch, mask_extents(batch.masks).astype(batch.boxes.dtype))


def without_slivers(batch: Any, shortest: Number = 1.0) -> Any:
    """The batch without objects that augmentation cut down to a sliver.

    An object is no longer `present` if a side of its box is shorter than `shortest`, or
    if it has a mask and no pixel of it is left. Its box and its mask become 0.

    Args:
        batch: With `boxes` `[b, n, 4]` and `present` `[b, n]`; see the module.
        shortest: In pixels, above 0.
    """
    sides = batch.boxes[..., 2:] - batch.boxes[..., :2]
    left = batch.present & (sides >= shortest).all(-1)
    masks = getattr(batch, "masks", None)
    if masks is not None:
        left = left & (masks != 0).any((-2, -1))
        nothing = jnp.zeros((), masks.dtype)
        batch = batch._replace(masks=jnp.where(left[..., None, None], masks, nothing))
    return batch._replace(
        present=left, boxes=jnp.where(left[..., None], batch.boxes, 0)
    )


def mask_extents(masks: Shaped[Array, "*n h w"]) -> Float[Array, "*n 4"]:
    """The smallest box around what is not 0, [0, 0, 0, 0] where there is nothing.

    Args:
        masks: Of any type.
    """
    parts = []
    for axis in (-1, -2):  # rows, then columns
        hit = (masks != 0).any(axis)
        first = jnp.argmax(hit, -1)
        last = hit.shape[-1] - jnp.argmax(jnp.flip(hit, -1), -1)
        some = hit.any(-1)
        parts.append((jnp.where(some, first, 0), jnp.where(some, last, 0)))
    (y0, y1), (x0, x1) = parts
    return jnp.stack([y0, x0, y1, x1], -1).astype(jnp.float32)


def framed(
    image: Float[Array, "b h w c"], pad: int, fill: Fill
) -> Float[Array, "b height width c"]:
    """The images with `pad` pixels of value `fill` on all four sides."""
    sides = ((0, 0), (pad, pad), (pad, pad), (0, 0))
    if isinstance(fill, float | int):
        return jnp.pad(image, sides, constant_values=fill)
    shape = [n + sum(s) for n, s in zip(image.shape, sides, strict=True)]
    canvas = jnp.broadcast_to(
        jnp.asarray(fill, image.dtype).reshape(1, 1, 1, -1), shape
    )
    return jax.lax.dynamic_update_slice(canvas, image, (0, pad, pad, 0))


def _moved(
    batch: Any,
    image: Callable[[Array], Array],
    boxes: Callable[[Array], Array],
    masks: Callable[[Array], Array],
) -> Any:
    if getattr(batch, "masks", None) is not None:
        batch = batch._replace(masks=masks(batch.masks))
    batch = batch._replace(image=image(batch.image))
    if getattr(batch, "boxes", None) is not None:
        batch = _with_boxes(batch, boxes(batch.boxes))
    return batch


def _with_boxes(batch: Any, boxes: Array) -> Any:
    """Cuts boxes to the picture and forgets those of which nothing is left."""
    boxes = clip(boxes, batch.image.shape[1:3])
    left = valid(boxes)
    batch = batch._replace(boxes=jnp.where(left[..., None], boxes, 0))
    if getattr(batch, "present", None) is not None:
        batch = batch._replace(present=batch.present & left)
    return batch


def _windows(rows: Array, corner: Array, size: tuple[int, int], before: int) -> Array:
    """Slices two axes of every row; `before` axes come in front of them.

    Under vmap this is one gather of whole windows, the cheapest of seven ways tried
    (benchmarked: gathers by index, matrix products, selects). Corners are in range; a
    slice would otherwise be moved inside.
    """

    def one(row: Array, at: Array) -> Array:
        after = row.shape[before + 2 :]
        start = (*[0] * before, at[0], at[1], *[0] * len(after))
        return jax.lax.dynamic_slice(row, start, (*row.shape[:before], *size, *after))

    return jax.vmap(one)(rows, corner)


def _triangle(low: Array, high: Array, out: int, size: int, antialias: bool) -> Array:  # noqa: FBT001
    """Weights `[out, size]` of the pixels in [low, high) for each of `out` samples."""
    step = (high - low) / out
    reach = jnp.maximum(step, 1) if antialias else jnp.ones_like(step)
    centre = (low + (jnp.arange(out, dtype=step.dtype) + 0.5) * step)[:, None]
    pixel = (jnp.arange(size, dtype=step.dtype) + 0.5)[None, :]
    weights = jnp.maximum(0, 1 - jnp.abs(pixel - centre) / reach)
    weights = jnp.where((pixel > low) & (pixel < high), weights, 0)
    return weights / weights.sum(1, keepdims=True)


def _nearest(low: Array, high: Array, out: int) -> Array:
    """Index `[b, out]` of the pixel under the centre of each sample; exact."""
    odd = 2 * jnp.arange(out)[None, :] + 1
    return low[:, None] + odd * (high - low)[:, None] // (2 * out)


def _bilinear(framed_image: Array, y: Array, x: Array) -> Array:
    """Samples `[b, h, w, c]` at coordinates of pixel centres, inside the frame."""
    b, height, width, c = framed_image.shape
    y, x = jnp.clip(y, 0, height - 1), jnp.clip(x, 0, width - 1)
    top, left = jnp.floor(y), jnp.floor(x)
    down, right = (y - top)[..., None], (x - left)[..., None]
    index = (top * width + left).astype(jnp.int32)
    pixels = framed_image.reshape(b, height * width, c)

    def tap(offset: int) -> Array:
        # The last row and column have weight 0 beyond them, so "clip" adds nothing.
        return jax.vmap(lambda p, i: p.at[i].get(mode="clip"))(pixels, index + offset)

    upper = tap(0) * (1 - right) + tap(1) * right
    lower = tap(width) * (1 - right) + tap(width + 1) * right
    return upper * (1 - down) + lower * down
