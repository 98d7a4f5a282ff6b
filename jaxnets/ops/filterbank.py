"""A grid of Gaussian filters that looks at, or writes on, a window of an image.

Gregor, Danihelka, Graves, Rezende & Wierstra, "DRAW: a recurrent neural network for
image generation", 2015, https://arxiv.org/abs/1502.04623, section 3.2. Pixels are
counted from 1 as in the paper, so that the middle of A of them is (A + 1) / 2.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

PARAMETERS = 5  # of a window
_SHARPEST = -20.0  # log of a filter's variance, in pixels squared


class Window(NamedTuple):
    """Where the filters are, of one window a row."""

    centre_y: Float[Array, " n"]  # g_Y, in pixels
    centre_x: Float[Array, " n"]  # g_X
    stride: Float[Array, " n"]  # delta, between the centres of two filters
    log_variance: Float[Array, " n"]  # of the filters, in pixels squared
    log_intensity: Float[Array, " n"]  # gamma


def window(
    parameters: Float[Array, "n 5"], height: int, width: int, points: int
) -> Window:
    """The window that a decoder asks for (equations 21 to 24).

    With parameters of zero it is as large as the image, in the middle of it.

    Args:
        parameters: (g_X, g_Y, log sigma^2, log delta, log gamma), as the paper orders
            them, relative to the image.
        height: B, of the image.
        width: A.
        points: N, filters along each side.
    """
    across, down, log_variance, log_stride, log_intensity = parameters.T
    largest = (max(height, width) - 1) / max(points - 1, 1)
    return Window(
        (height + 1) / 2 * (down + 1),
        (width + 1) / 2 * (across + 1),
        largest * jnp.exp(log_stride),
        log_variance,
        log_intensity,
    )


def filters(
    centre: Float[Array, " n"],
    stride: Float[Array, " n"],
    log_variance: Float[Array, " n"],
    points: int,
    pixels: int,
) -> Float[Array, "n p a"]:
    """F_X or F_Y: the weight of every pixel in every filter; rows sum to 1.

    Equations 19, 20, 25 and 26. The normalised Gaussian is a softmax, so that a filter
    outside of the image looks at its edge, where the quotient would be 0 / 0.
    """
    place = jnp.arange(1, points + 1) - points / 2 - 0.5
    means = centre[:, None] + place[None, :] * stride[:, None]
    distance = jnp.arange(1, pixels + 1)[None, None, :] - means[:, :, None]
    # Far below a pixel nothing changes any more, but infinity times zero would be NaN.
    sharp = 0.5 * jnp.exp(-jnp.maximum(log_variance, _SHARPEST))
    return jax.nn.softmax(-sharp[:, None, None] * distance**2, axis=-1)


def banks(
    at: Window, height: int, width: int, points: int
) -> tuple[Float[Array, "n p h"], Float[Array, "n p w"]]:
    """F_Y and F_X of a window."""
    down = filters(at.centre_y, at.stride, at.log_variance, points, height)
    across = filters(at.centre_x, at.stride, at.log_variance, points, width)
    return down, across


def glimpse(
    image: Float[Array, "n h w c"], at: Window, points: int
) -> Float[Array, "n p p c"]:
    """What a window shows, gamma F_Y x F_X^T: half of `read` (equation 27)."""
    down, across = banks(at, image.shape[1], image.shape[2], points)
    seen = jnp.einsum("nph,nhwc,nqw->npqc", down, image, across)
    return jnp.exp(at.log_intensity)[:, None, None, None] * seen


def stroke(
    patch: Float[Array, "n p p c"], at: Window, height: int, width: int
) -> Float[Array, "n h w c"]:
    """A patch on the image, 1 / gamma F_Y^T w F_X: `write` (equation 29)."""
    down, across = banks(at, height, width, patch.shape[1])
    painted = jnp.einsum("nph,npqc,nqw->nhwc", down, patch, across)
    return jnp.exp(-at.log_intensity)[:, None, None, None] * painted


def outline(at: Window, points: int) -> Float[Array, "n 5"]:
    """[y0, x0, y1, x1, thickness]: centres of the outer filters, and sigma.

    In pixels, where the centre of the first one is 0, as pictures are drawn.
    """
    reach = (points - 1) / 2 * at.stride
    y, x, thickness = at.centre_y - 1, at.centre_x - 1, jnp.exp(0.5 * at.log_variance)
    return jnp.stack([y - reach, x - reach, y + reach, x + reach, thickness], axis=-1)
