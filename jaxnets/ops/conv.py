"""The one seam to convolution: every model convolves through here.

So that a faster algorithm for one device has a single place to live.
"""

from collections.abc import Sequence

import jax
from jaxtyping import Array, Float


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
    return jax.lax.conv_general_dilated(
        x,
        kernel.astype(x.dtype),
        tuple(stride),
        padding if isinstance(padding, str) else tuple(padding),
        rhs_dilation=tuple(dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
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
    ends = [
        (size - 1 - low, size - 1 - high)
        for size, (low, high) in zip(kernel.shape, padding, strict=False)
    ]
    return jax.lax.conv_general_dilated(
        x,
        kernel[::-1, ::-1].astype(x.dtype),
        (1, 1),
        ends,
        lhs_dilation=tuple(stride),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
