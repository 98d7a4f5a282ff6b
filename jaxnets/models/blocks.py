"""Layers that more than one architecture is built from."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnets.ops.conv import conv

# He, Zhang, Ren & Sun, "Delving deep into rectifiers", 2015,
# https://arxiv.org/abs/1502.01852, equation 10: variance 2 / fan_in, where fan_in is
# the number of inputs that one output sees.
kaiming = jax.nn.initializers.variance_scaling(2.0, "fan_in", "normal")


class Conv(nn.Module):
    """A convolution over images, channels last, with torch's explicit padding.

    Attributes:
        features: Channels out.
        kernel_size: Side of the square kernel, in pixels.
        stride: Pixels between outputs.
        padding: Pixels of zeros on every side, or `"SAME"`.
        dilation: Pixels between the taps of the kernel.
        groups: Number of groups that the channels are split into.
        use_bias: Whether a bias is added. Leave it out before a norm: there its
            gradient is zero in mathematics and noise in practice.
        kernel_init: Draws the kernel; Kaiming's normal by default.
        dtype: Of the computation; the parameters stay float32.
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    padding: int | str = "SAME"
    dilation: int = 1
    groups: int = 1
    use_bias: bool = True
    kernel_init: Callable[..., Any] = kaiming
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b ho wo co"]:
        """Returns the feature maps of `x`.

        Raises:
            ValueError: If the channels do not divide into the groups.
        """
        channels, side, pad = x.shape[-1], self.kernel_size, self.padding
        if channels % self.groups or self.features % self.groups:
            raise ValueError(
                f"{channels} channels in and {self.features} out do not divide into "
                f"{self.groups} groups"
            )
        shape = (side, side, channels // self.groups, self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        x = conv(
            x.astype(self.dtype),
            kernel,
            stride=(self.stride,) * 2,
            padding=pad if isinstance(pad, str) else ((pad, pad),) * 2,
            dilation=(self.dilation,) * 2,
            groups=self.groups,
        )
        if not self.use_bias:
            return x
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        return x + bias.astype(self.dtype)[None, None, None, :]


class BatchNorm(nn.Module):
    """Batch normalisation over every axis but the last.

    Ioffe & Szegedy, "Batch normalization", 2015, https://arxiv.org/abs/1502.03167,
    algorithms 1 and 2. As in torch, and in the paper's algorithm 2, the running
    variance is the unbiased one (n - 1); Flax keeps the biased one. Padding rows would
    be seen: train on full batches.

    Attributes:
        momentum: How much of a running average one step keeps; torch's is 1 minus this.
        epsilon: Added to the variance.
        dtype: Of the output; the statistics are always float32.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b ..."], *, train: bool
    ) -> Float[Array, "b ..."]:
        """Returns `x` with mean 0 and variance 1 a channel, then scaled and shifted.

        Raises:
            ValueError: In training, if there is one value a channel: its variance is 0.
        """
        channels = (x.shape[-1],)
        scale = self.param("scale", nn.initializers.ones, channels, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, channels, jnp.float32)
        zeros, ones = nn.initializers.zeros, nn.initializers.ones
        running_mean = self.variable("batch_stats", "mean", zeros, None, channels)
        running_var = self.variable("batch_stats", "var", ones, None, channels)
        wide = x.astype(jnp.float32)
        if train:
            count = x.size // x.shape[-1]
            if count < 2:
                raise ValueError(
                    "batch norm needs two values a channel or more to train on, got "
                    f"images of shape {x.shape}: use a larger batch, or another norm"
                )
            axes = tuple(range(x.ndim - 1))
            mean, var = jnp.mean(wide, axes), jnp.var(wide, axes)
            keep, unbiased = self.momentum, var * (count / (count - 1))
            running_mean.value = keep * running_mean.value + (1 - keep) * mean
            running_var.value = keep * running_var.value + (1 - keep) * unbiased
        else:
            mean, var = running_mean.value, running_var.value
        row = (1,) * (x.ndim - 1) + channels
        factor = (jax.lax.rsqrt(var + self.epsilon) * scale).reshape(row)
        return ((wide - mean.reshape(row)) * factor + bias.reshape(row)).astype(
            self.dtype
        )
