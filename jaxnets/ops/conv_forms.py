"""The three forms of a convolution: two of images, kernel and output give the third.

What the images and the kernel get from an output's gradient are forms as well as the
convolution itself (`jaxnets.ops.trilinear`). `portable` computes them as JAX derives
them from `lax.conv_general_dilated`, `on_cpu` faster on a CPU:

- The kernel's gradient is a matrix product of the images, shifted along their rows, and
  the output's gradient, shifted along its columns (`_shifted_both`), a few images at a
  time so that the shifted copies stay in the cache. XLA transposes both whole arrays
  and then convolves with a kernel as large as the image, and inside a loop it takes a
  hundred times as long.
- Maps smaller than the kernel are one product, of the pixels under each tap. XLA swaps
  maps and kernel there, and a step of VGG-11 on 32x32 takes six times as long.
- The images' gradient of a strided convolution is one small convolution for each phase
  of the stride, where XLA convolves with zeros in between.
- A convolution in groups is one convolution for each group (`_by_groups`). XLA's own
  takes four times as long with 2 groups, 1.2 to three times with 32, and its kernel
  gradient ten times and hundreds of times (AlexNet 2012, ResNeXt-50 on 32x32).
  Depthwise convolutions and their image gradients stay XLA's: half the time there.
"""

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

IMAGE, KERNEL, OUTPUT = range(3)
CACHED = 2**22  # bytes of shifted copies at a time; 2 to 8 MiB were equal
LAYOUT = ("NHWC", "HWIO", "NHWC")


class Geometry(NamedTuple):
    """Everything about a convolution but its numbers.

    Attributes:
        size: Height and width of the images.
        window: Height and width of the kernel.
        stride: Pixels between outputs.
        padding: Before and after, vertical and horizontal; negative ones crop.
        dilation: Pixels between the taps of the kernel.
        groups: That the channels are split into.
    """

    size: tuple[int, int]
    window: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]]
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    def output_size(self) -> tuple[int, int]:
        """Height and width of the output; 0 if the kernel does not fit."""
        height, width = (
            max(0, (size + before + after - dilation * (taps - 1) - 1) // stride + 1)
            for size, (before, after), dilation, taps, stride in zip(
                self.size,
                self.padding,
                self.dilation,
                self.window,
                self.stride,
                strict=True,
            )
        )
        return height, width


def operands_of(wanted: int) -> tuple[int, int]:
    """The two that are not wanted, in the order of all three."""
    first, second = (role for role in (IMAGE, KERNEL, OUTPUT) if role != wanted)
    return first, second


def shape_of(
    wanted: int, geometry: Geometry, left: Sequence[int], right: Sequence[int]
) -> tuple[int, ...]:
    """The shape of the wanted one, from those of the two others."""
    if wanted == OUTPUT:
        return (left[0], *geometry.output_size(), right[3])
    if wanted == IMAGE:
        return (right[0], *geometry.size, left[2] * geometry.groups)
    return (*geometry.window, left[3] // geometry.groups, right[3])


def multiply_adds(
    wanted: int, geometry: Geometry, left: Sequence[int], right: Sequence[int]
) -> int:
    """Multiplications of a convolution with operands of these shapes, or a gradient.

    All three take the same: every tap of every output, padding included.
    """
    shapes = dict(zip(operands_of(wanted), (left, right), strict=True))
    shapes[wanted] = shape_of(wanted, geometry, left, right)
    taps = math.prod(shapes[KERNEL][:3])
    return math.prod(shapes[OUTPUT]) * taps


def merged(array: Array, axis: int, into: int) -> Array:
    """With one axis merged into another, as its slower part."""
    array = jnp.moveaxis(array, axis, into)
    shape = array.shape
    return array.reshape(
        *shape[:into], shape[into] * shape[into + 1], *shape[into + 2 :]
    )


def split(array: Array, count: int, axis: int) -> Array:
    """`merged`, undone: `count` parts of that axis, along a new first axis."""
    shape = array.shape
    parted = (*shape[:axis], count, shape[axis] // count, *shape[axis + 1 :])
    return jnp.moveaxis(array.reshape(parted), axis, 0)


def _lax(image: Array, kernel: Array, geometry: Geometry) -> Array:
    return lax.conv_general_dilated(
        image,
        kernel,
        geometry.stride,
        geometry.padding,
        rhs_dilation=geometry.dilation,
        dimension_numbers=LAYOUT,
        feature_group_count=geometry.groups,
    )


def portable(wanted: int, geometry: Geometry, left: Array, right: Array) -> Array:
    """The same as `form`, as JAX derives it from `lax.conv_general_dilated`."""
    if wanted == OUTPUT:
        return _lax(left, right, geometry)
    shape = shape_of(wanted, geometry, left.shape, right.shape)
    if wanted == IMAGE:
        linear = lambda image: _lax(image, left, geometry)
    else:
        linear = lambda kernel: _lax(left, kernel, geometry)
    wrong = jax.ShapeDtypeStruct(shape, right.dtype)
    (gradient,) = jax.linear_transpose(linear, wrong)(right)
    return gradient


def on_cpu(wanted: int, geometry: Geometry, left: Array, right: Array) -> Array:
    """The same as `form`, by the algorithms that are fast on a CPU."""
    if 0 in (*left.shape, *right.shape):
        return portable(wanted, geometry, left, right)
    if geometry.groups != 1:
        return _by_groups(wanted, geometry, left, right)
    if wanted == KERNEL:
        return _kernel_by_products(geometry, left, right)
    if wanted == IMAGE and geometry.dilation == (1, 1):
        if geometry.stride != (1, 1):
            return _image_by_phases(geometry, left, right)
        # A convolution as well: of the gradient, with the kernel turned.
        turned = left[::-1, ::-1].swapaxes(2, 3)
        ends = [
            (taps - 1 - before, taps - 1 - after)
            for taps, (before, after) in zip(
                geometry.window, geometry.padding, strict=True
            )
        ]
        padding = ends[0], ends[1]
        size = right.shape[1], right.shape[2]
        back = Geometry(size, geometry.window, (1, 1), padding)
        return on_cpu(OUTPUT, back, right, turned)
    if wanted == OUTPUT and math.prod(geometry.window) > math.prod(geometry.size):
        return _output_by_products(geometry, left, right)
    return portable(wanted, geometry, left, right)


def _by_groups(wanted: int, geometry: Geometry, left: Array, right: Array) -> Array:
    """Groups in pairs, pair by pair; a kernel has them along its last axis."""
    kernel = {IMAGE: left, OUTPUT: right}.get(wanted)
    if kernel is not None and kernel.shape[2] == 1:
        return portable(wanted, geometry, left, right)
    one = geometry._replace(groups=1)
    pairs = [split(array, geometry.groups, 3) for array in (left, right)]
    # Without a loop two groups take a fifth less time. More at a time gain nothing, and
    # every copy of a convolution is compiled.
    _, parts = lax.scan(
        lambda _, pair: (None, on_cpu(wanted, one, *pair)), None, pairs, unroll=2
    )
    return merged(parts, 0, 3)


def _padded(array: Array, padding: Sequence[tuple[int, int]]) -> Array:
    """Zeros around height and width; negative numbers crop."""
    if not any(itertools.chain(*padding)):
        return array
    zero = jnp.zeros((), array.dtype)
    ends = ((0, 0, 0), *((*each, 0) for each in padding), (0, 0, 0))
    return lax.pad(array, zero, ends)


def _kernel_by_products(geometry: Geometry, image: Array, gradient: Array) -> Array:
    """What the kernel gets, some images at a time."""
    (height, width), taps = gradient.shape[1:3], geometry.window
    deep, wide = image.shape[3], gradient.shape[3]
    rows = height + taps[0] - 1
    # To shift the gradient as well costs its outer rows twice, but copies less, unless
    # the images have few channels next to the kernels.
    plain = geometry.stride == geometry.dilation == (1, 1)
    copies = rows * width * (taps[1] * deep + taps[0] * wide)
    columns = height * width * math.prod(taps) * deep
    if plain and rows <= 1.3 * height and copies < 2 * columns:
        part, copied = _shifted_both, copies
    else:
        part, copied = _shifted_image, columns
    batch = image.shape[0]
    most = max(1, CACHED // (copied * image.dtype.itemsize))
    at_once = max(n for n in range(1, min(most, batch) + 1) if batch % n == 0)
    sums = jnp.promote_types(image.dtype, jnp.float32)
    part = functools.partial(part, geometry, sums)
    if at_once == batch:
        return part(image, gradient).astype(image.dtype)
    some = [a.reshape(-1, at_once, *a.shape[1:]) for a in (image, gradient)]
    total = jnp.zeros((*taps, deep, wide), sums)
    total, _ = lax.scan(lambda sum_, each: (sum_ + part(*each), None), total, some)
    return total.astype(image.dtype)


def _shifted_both(
    geometry: Geometry, sums: Any, image: Array, gradient: Array
) -> Array:
    """One product: taps along a row times taps along a column.

    The entry of tap (u, v) is sum_{y,x} image[y + u, x + v] gradient[y, x]. Moved down
    by u, the gradient meets the same row of the image for every u.
    """
    (down, across), width = geometry.window, gradient.shape[2]
    image = _padded(image, geometry.padding)
    rows = gradient.shape[1] + down - 1
    image = image[:, :rows]
    along = [image[:, :, v : v + width] for v in range(across)]
    below = [_padded(gradient, ((u, down - 1 - u), (0, 0))) for u in range(down)]
    left, right = (
        jnp.concatenate(part, -1) if len(part) > 1 else part[0]
        for part in (along, below)
    )
    left, right = (a.reshape(-1, a.shape[-1]) for a in (left, right))
    product = jnp.einsum("nl,nr->lr", left, right, preferred_element_type=sums)
    shape = (across, image.shape[3], down, gradient.shape[3])
    return product.reshape(shape).transpose(2, 0, 1, 3)


def _shifted_image(
    geometry: Geometry, sums: Any, image: Array, gradient: Array
) -> Array:
    """One product: the pixels under each tap, side by side, times the gradient."""
    left = _columns(geometry, image)
    left, right = (a.reshape(-1, a.shape[-1]) for a in (left, gradient))
    product = jnp.einsum("nr,nl->rl", right, left, preferred_element_type=sums)
    shape = (*geometry.window, image.shape[3], gradient.shape[3])
    return product.T.reshape(shape)


def _output_by_products(geometry: Geometry, image: Array, kernel: Array) -> Array:
    """The convolution as one product."""
    columns = _columns(geometry, image)
    product = columns.reshape(-1, columns.shape[3]) @ kernel.reshape(
        -1, kernel.shape[3]
    )
    return product.reshape(*columns.shape[:3], kernel.shape[3])


def _columns(geometry: Geometry, image: Array) -> Array:
    """The pixels under every tap, side by side: `[b, ho, wo, kh kw ci]`."""
    image, columns = _padded(image, geometry.padding), []
    for tap in itertools.product(*map(range, geometry.window)):
        starts = [at * apart for at, apart in zip(tap, geometry.dilation, strict=True)]
        rows, across = (
            slice(start, start + (count - 1) * stride + 1, stride)
            for start, count, stride in zip(
                starts, geometry.output_size(), geometry.stride, strict=True
            )
        )
        columns.append(image[:, rows, across])
    return jnp.concatenate(columns, -1) if len(columns) > 1 else columns[0]


def _image_by_phases(geometry: Geometry, kernel: Array, gradient: Array) -> Array:
    """What the images get when the stride is not 1: one convolution a phase.

    Pixel p of the padded image, p = stride q + r, meets the taps r, r + stride, ...:
    its gradient is the one at q, q - 1, ... times those, a convolution of stride 1.
    """
    padded = [
        size + sum(ends)
        for size, ends in zip(geometry.size, geometry.padding, strict=True)
    ]
    places = [
        -(-size // stride) for size, stride in zip(padded, geometry.stride, strict=True)
    ]
    rows = [
        jnp.stack(
            [
                _phase(geometry, kernel, gradient, (r, s), places)
                for s in range(geometry.stride[1])
            ],
            3,
        )
        for r in range(geometry.stride[0])
    ]
    whole = jnp.stack(rows, 2)
    batch, high, down, wide, across, deep = whole.shape
    whole = whole.reshape(batch, high * down, wide * across, deep)
    ends = [
        (-before, size + before - length)
        for size, (before, _), length in zip(
            geometry.size, geometry.padding, whole.shape[1:3], strict=True
        )
    ]
    return _padded(whole, ends)


def _phase(
    geometry: Geometry,
    kernel: Array,
    gradient: Array,
    phase: tuple[int, int],
    places: Sequence[int],
) -> Array:
    """The gradient of every stride-th pixel of the padded images, from `phase` on."""
    taps = kernel[phase[0] :: geometry.stride[0], phase[1] :: geometry.stride[1]]
    batch, deep = gradient.shape[0], kernel.shape[2]
    if not taps.shape[0] or not taps.shape[1]:
        return jnp.zeros((batch, *places, deep), gradient.dtype)
    ends = [
        (count - 1, place - length)
        for count, place, length in zip(
            taps.shape[:2], places, gradient.shape[1:3], strict=True
        )
    ]
    turned = taps[::-1, ::-1].swapaxes(2, 3)
    return lax.conv_general_dilated(
        gradient, turned, (1, 1), ends, dimension_numbers=LAYOUT
    )
