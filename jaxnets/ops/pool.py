"""Pooling over windows of an image, with torch's explicit padding and ceiling mode.

Maxima are taken between shifted slices: XLA's own gradient of a maximum over windows (a
select and a scatter) takes 18 times as long on a CPU, and its maximum is wrong in
bfloat16 where XLA 0.12 fuses it with a convolution (experiments/LOG.md).
"""

from collections.abc import Callable
from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxnets.errors import UserError

Image = Float[Array, "b h w c"]
Pooled = Float[Array, "b ho wo c"]


class ImageSizeError(UserError, ValueError):
    """The images are too small for the network; the message says where."""


def max_pool(
    x: Image, window: int, *, stride: int, padding: int = 0, ceil: bool = False
) -> Pooled:
    """The largest value in each square window; padding never wins, NaN always does.

    The gradient goes to the first of several equal maxima, row by row, as in torch.

    Args:
        x: Images, channels last.
        window: Side of the window, in pixels.
        stride: Pixels between windows.
        padding: Pixels around the image.
        ceil: Whether a last window that hangs over the edge counts too, as in Caffe and
            in the networks that were born there; by default it is left out.

    Raises:
        ImageSizeError: If no window fits into the image.
    """
    ends = _ends(x, window, stride, padding, ceil=ceil)
    x = _padded(x, ends, -jnp.inf)
    # Along rows first: so the first of equal maxima is the first row by row.
    rows = _along(first_largest, x, 2, window, stride)
    return _along(first_largest, rows, 1, window, stride)


def first_largest(a: Array, b: Array) -> Array:
    """Returns the larger of two numbers, or NaN; `a` has the gradient among equals."""
    return jnp.where((a >= b) | jnp.isnan(a), a, b)


def global_max(x: Image) -> Float[Array, "b c"]:
    """The largest value of each map, or NaN; the first of equals has the gradient.

    The derivative of `jnp.max` looks for elements equal to the maximum. XLA may compute
    them anew, rounded otherwise, and then it finds none (experiments/LOG.md).
    """
    maps = x.reshape(x.shape[0], -1, x.shape[-1])
    first = jnp.argmax(maps, axis=1)[:, None, :]
    pixels = jnp.arange(maps.shape[1])[None, :, None]
    return jnp.sum(jnp.where(pixels == first, maps, 0), axis=1)


def avg_pool(x: Image, window: int, *, stride: int, padding: int = 0) -> Pooled:
    """The mean of each square window; padding counts as zeros.

    Raises:
        ImageSizeError: If no window fits into the image.
    """
    ends = _ends(x, window, stride, padding, ceil=False)
    x = _padded(x, ends, 0.0)
    rows = _along(jnp.add, x, 2, window, stride)
    return _along(jnp.add, rows, 1, window, stride) / window**2


def _padded(x: Image, ends: list[tuple[int, int]], value: float) -> Pooled:
    around = ((0, 0, 0), *((*end, 0) for end in ends), (0, 0, 0))
    return jax.lax.pad(x, jnp.asarray(value, x.dtype), around)


def _along(
    combine: Callable[[Array, Array], Array],
    x: Image,
    axis: int,
    window: int,
    stride: int,
) -> Pooled:
    """One number of every window of an axis."""
    last = (x.shape[axis] - window) // stride * stride
    slices = (
        jax.lax.slice_in_dim(x, start, start + last + 1, stride, axis)
        for start in range(window)
    )
    return reduce(combine, slices)


def adaptive_avg_pool(x: Image, size: int) -> Float[Array, "b size size c"]:
    """The means over a grid of `size` x `size` cells that covers the image.

    As in torch, cell i of n covers the pixels floor(i h / n) to ceil((i + 1) h / n):
    they overlap when n does not divide h, and repeat pixels when n is larger.
    """
    if x.shape[1:3] == (size, size):
        return x
    rows, columns = (jnp.asarray(_cells(side, size), x.dtype) for side in x.shape[1:3])
    exact = jax.lax.Precision.HIGHEST
    return jnp.einsum("ih,bhwc,jw->bijc", rows, x, columns, precision=exact)


def _cells(side: int, size: int) -> np.ndarray:
    cell, pixel = np.arange(size)[:, None], np.arange(side)[None, :]
    inside = (pixel >= cell * side // size) & (pixel < -(-(cell + 1) * side // size))
    return inside / inside.sum(axis=1, keepdims=True)


def _ends(
    x: Image, window: int, stride: int, padding: int, *, ceil: bool
) -> list[tuple[int, int]]:
    """Padding before and after, vertical and horizontal."""
    if min(x.shape[1:3]) + 2 * padding < window:
        raise ImageSizeError(
            f"a pool over {window}x{window} pixels does not fit into maps of "
            f"{x.shape[1]}x{x.shape[2]}: use larger images (--size) or a stem that "
            "shrinks less"
        )
    ends = []
    for side in x.shape[1:3]:
        extra = -(side + 2 * padding - window) % stride if ceil else 0
        # A window must start on the image or on the padding before it.
        start = side + 2 * padding + extra - window
        ends.append((padding, padding + (extra if start < side + padding else 0)))
    return ends
