"""The one seam to convolution: every model convolves through here.

So that a faster algorithm for one device has a single place to live, which is
`jaxnets.ops.trilinear`. Both functions take every transformation of JAX, to any order.
"""

from collections.abc import Sequence

from jax import lax
from jaxtyping import Array, Float

from jaxnets.ops.conv_forms import IMAGE, OUTPUT, Geometry
from jaxnets.ops.trilinear import form


def conv(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "kh kw ci co"],
    *,
    stride: Sequence[int] = (1, 1),
    padding: str | Sequence[tuple[int, int]] = "VALID",
    dilation: Sequence[int] = (1, 1),
    groups: int = 1,
) -> Float[Array, "b ho wo co"]:
    """Cross-correlates images with a kernel, as every deep-learning library does.

    Args:
        x: Images, channels last.
        kernel: `[height, width, channels in / groups, channels out]`.
        stride: Pixels between outputs, vertical and horizontal.
        padding: `"SAME"`, `"VALID"`, or explicit `((top, bottom), (left, right))`.
            `"SAME"` pads more at the end when the total is odd, torch never does.
        dilation: Pixels between the taps of the kernel.
        groups: Number of groups that the channels are split into.
    """
    sides, window, stride, dilation = (
        (int(high), int(wide))
        for high, wide in (x.shape[1:3], kernel.shape[:2], stride, dilation)
    )
    if isinstance(padding, str):
        reach = [d * (k - 1) + 1 for d, k in zip(dilation, window, strict=True)]
        padding = lax.padtype_to_pads(sides, reach, stride, padding)
    (top, bottom), (left, right) = padding
    ends = (int(top), int(bottom)), (int(left), int(right))
    geometry = Geometry(sides, window, stride, ends, dilation, groups)
    _check(x.shape[3], kernel.shape, geometry)
    return form(OUTPUT, geometry, x, kernel.astype(x.dtype))


def _check(channels: int, kernel: Sequence[int], geometry: Geometry) -> None:
    groups = geometry.groups
    if kernel[2] * groups != channels or kernel[3] % groups:
        raise ValueError(
            f"a kernel of {kernel[2]} channels to {kernel[3]}, in {groups} groups, "
            f"does not fit images of {channels} channels"
        )


def conv_transpose(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "kh kw ci co"],
    *,
    stride: Sequence[int] = (1, 1),
    padding: Sequence[tuple[int, int]] = ((0, 0), (0, 0)),
) -> Float[Array, "b ho wo co"]:
    """The transpose of `conv` with this stride and padding, as torch's layer has it.

    It is what the gradient of that convolution does to images of `co` channels, so a
    kernel of 4 with a stride of 2 and a padding of 1 doubles the image.

    Args:
        x: Images, channels last.
        kernel: `[height, width, channels in, channels out]`.
        stride: By how much the image grows.
        padding: Of the convolution that this is the transpose of.
    """
    stride, window = (int(stride[0]), int(stride[1])), kernel.shape[:2]
    (top, bottom), (left, right) = padding
    ends = (int(top), int(bottom)), (int(left), int(right))
    high, wide = (
        (side - 1) * step + taps - sum(each)
        for side, step, taps, each in zip(
            x.shape[1:3], stride, window, ends, strict=True
        )
    )
    geometry = Geometry((high, wide), (window[0], window[1]), stride, ends)
    # That convolution's kernel has the channels the other way round.
    turned = kernel.astype(x.dtype).swapaxes(2, 3)
    return form(IMAGE, geometry, turned, x)
