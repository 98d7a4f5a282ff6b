"""Normalisation: over the batch, over groups of channels, over neighbouring channels.

- Batch norm: Ioffe & Szegedy, "Batch normalization: accelerating deep network training
  by reducing internal covariate shift", 2015, https://arxiv.org/abs/1502.03167,
  algorithm 1, and the gradient of section 3.
- Group norm: Wu & He, "Group normalization", 2018, https://arxiv.org/abs/1803.08494,
  equation 7. One group is layer norm (Ba, Kiros & Hinton, 2016,
  https://arxiv.org/abs/1607.06450), a channel a group is instance norm (Ulyanov,
  Vedaldi & Lempitsky, 2016, https://arxiv.org/abs/1607.08022).
- Local response norm: Krizhevsky, Sutskever & Hinton, "ImageNet classification with
  deep convolutional neural networks", 2012, section 3.3.

Channels come last. Statistics are computed in float32 or wider, whatever the input is,
and the output has the input's dtype.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Channels = Float[Array, " c"]


def widen(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`x` in float32, or as it is if that is wider."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def affine(
    x: Float[Array, "*shape c"], factor: Channels, offset: Channels
) -> Float[Array, "*shape c"]:
    """`factor * x + offset`, one number a channel."""
    row = (1,) * (x.ndim - 1) + x.shape[-1:]
    return x * factor.reshape(row) + offset.reshape(row)


def batch_statistics(x: Float[Array, "b ..."]) -> tuple[Channels, Channels]:
    """Mean and biased variance of each channel, over every other axis.

    In one pass over `x`, as mean of squares less square of the mean. What is squared is
    the distance to the channel's first value, so that a channel whose mean is many
    deviations away from 0 loses no digits.
    """
    axes, x = tuple(range(x.ndim - 1)), widen(x)
    first = jax.lax.stop_gradient(x[(0,) * len(axes)])
    distance = affine(x, jnp.ones_like(first), -first)
    mean, squares = jnp.mean(distance, axes), jnp.mean(distance**2, axes)
    return first + mean, jnp.maximum(squares - mean**2, 0)


def batch_norm(
    x: Float[Array, "b ..."],
    scale: Channels,
    bias: Channels,
    mean: Channels,
    var: Channels,
    *,
    epsilon: float = 1e-5,
) -> Float[Array, "b ..."]:
    """`x` with `mean` and `var` taken out of each channel, then scaled and shifted."""
    factor = scale * jax.lax.rsqrt(var + epsilon)
    centred = affine(widen(x), jnp.ones_like(mean), -mean)
    return affine(centred, factor, bias).astype(x.dtype)


def batch_norm_gradient(
    x: Float[Array, "b ..."],
    scale: Channels,
    output_gradient: Float[Array, "b ..."],
    *,
    epsilon: float = 1e-5,
) -> tuple[Float[Array, "b ..."], Channels, Channels]:
    """The hand-derived backward pass of batch norm by the batch's own statistics.

    With m values a channel, x^ = (x - mean) / sigma and g = dL/dy, the six sums of the
    paper's section 3 collapse to

        dL/dx = scale / (m sigma) (m g - sum(g) - x^ sum(g x^)).

    Returns:
        The gradients with respect to `x`, `scale` and the bias.
    """
    mean, var = batch_statistics(x)
    inverse = jax.lax.rsqrt(var + epsilon)
    count, axes = x.size // x.shape[-1], tuple(range(x.ndim - 1))
    normal = affine(widen(x), inverse, -mean * inverse)
    incoming = widen(output_gradient)
    bias_gradient = jnp.sum(incoming, axes)
    scale_gradient = jnp.sum(incoming * normal, axes)
    rest = affine(normal, scale_gradient, bias_gradient) / count
    gradient = affine(incoming - rest, scale * inverse, jnp.zeros_like(mean))
    return gradient.astype(x.dtype), scale_gradient, bias_gradient


def group_norm(
    x: Float[Array, "b ... c"],
    scale: Channels,
    bias: Channels,
    *,
    groups: int,
    epsilon: float = 1e-5,
) -> Float[Array, "b ... c"]:
    """Each group of channels of each image with mean 0 and variance 1, then affine.

    Raises:
        ValueError: If the channels do not divide into the groups.
    """
    batch, channels = x.shape[0], x.shape[-1]
    if channels % groups:
        raise ValueError(f"{channels} channels do not divide into {groups} groups")
    grouped = widen(x).reshape(batch, -1, groups, channels // groups)
    mean = jnp.mean(grouped, (1, 3), keepdims=True)
    var = jnp.var(grouped, (1, 3), keepdims=True)
    normal = (grouped - mean) * jax.lax.rsqrt(var + epsilon)
    return affine(normal.reshape(x.shape), scale, bias).astype(x.dtype)


def local_response_norm(
    x: Float[Array, "*shape c"],
    *,
    size: int = 5,
    k: float = 2.0,
    alpha: float = 1e-4,
    beta: float = 0.75,
) -> Float[Array, "*shape c"]:
    """Divides by (k + alpha * sum of squares over `size` neighbour channels) ** beta.

    The constants are AlexNet's. `torch.nn.LocalResponseNorm` averages where the paper
    sums: its alpha is `size` times this one.
    """
    wide = widen(x)
    window = (1,) * (x.ndim - 1) + (size,)
    ends = ((0, 0),) * (x.ndim - 1) + ((size // 2, (size - 1) // 2),)
    # NumPy's zero: inside `jit` one of JAX is traced, and a sum that begins with such a
    # number has no gradient.
    zero = np.zeros((), wide.dtype)
    squares = jax.lax.reduce_window(
        wide**2, zero, jax.lax.add, window, (1,) * x.ndim, ends
    )
    # On a CPU a power takes 2.5 times as long, and its gradient too.
    inverse = jnp.exp(-beta * jnp.log(k + alpha * squares))
    return (wide * inverse).astype(x.dtype)
